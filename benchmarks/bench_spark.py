"""How long Spark takes to start, by both ways in, and to append 1,000 rows to a Delta table, beside delta-rs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from cdc_workstation.settings import get_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPOSITORY = Path(__file__).parents[1]
STARTS = 5
APPENDS = 20
WARM_UP = 5
TARGET_DRIVER_SECONDS = 5.0
TARGET_CONNECT_SECONDS = 0.1
TARGET_APPEND_SECONDS = 0.7

# What every writer gets, as Python has it: making a data frame of it is part of the append.
ROWS = [(number, f"product {number}", Decimal(number) / 100) for number in range(1000)]
SPARK_SCHEMA = "product_id long, product_name string, price decimal(10,2)"
ARROW_SCHEMA = pa.schema([("product_id", pa.int64()), ("product_name", pa.string()), ("price", pa.decimal128(10, 2))])
# The line of spark-defaults.conf that says which Python the workers have.
WORKER_PYTHON = "spark.workstation.workerPython"


def seconds(action: Callable[[], object]) -> float:
    """Run `action` and return the seconds that it took."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def first_job(spark: SparkSession) -> None:
    """Run a small job."""
    assert spark.range(1000).count() == 1000


def append_by_spark(spark: SparkSession, path: Path) -> None:
    """Append the rows as a pipeline does."""
    spark.createDataFrame(ROWS, SPARK_SCHEMA).write.format("delta").mode("append").save(str(path))


def append_by_delta_rs(path: Path) -> None:
    """Append the same rows without Spark."""
    columns = [list(values) for values in zip(*ROWS, strict=True)]
    write_deltalake(path, pa.table(columns, schema=ARROW_SCHEMA), mode="append")


def appends(append: Callable[[], None], path: Path) -> list[float]:
    """Append to a table of its own, warm; return the seconds of each append."""
    for _ in range(WARM_UP):
        append()
    measured = [seconds(append) for _ in range(APPENDS)]
    found = DeltaTable(path).count()
    assert found == len(ROWS) * (WARM_UP + APPENDS), f"{path} has {found} rows"
    return measured


def host_driver(path: Path | None) -> dict[str, Any]:
    """Be a driver on this host: start a session, run a first job and, given a path, append to a table there."""
    began = time.perf_counter()
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("bench").getOrCreate()
    session = time.perf_counter() - began
    job = seconds(lambda: first_job(spark))
    result: dict[str, Any] = {"session": session, "job": job, "spark": spark.version, "appends": []}
    # Rows of another Python cannot be exchanged with the workers.
    if path and spark.conf.get(WORKER_PYTHON, "") == "{}.{}".format(*sys.version_info):
        result["appends"] = appends(lambda: append_by_spark(spark, path), path)
    spark.stop()
    return result


def in_a_fresh_process(path: Path | None = None) -> dict[str, Any]:
    """Run `host_driver` in a process of its own, which knows the cluster by SPARK_CONF_DIR alone."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_spark", "driver", *([str(path)] if path else [])],
        cwd=REPOSITORY,
        env=environment | {"SPARK_CONF_DIR": str(get_settings().spark_conf_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        sys.exit(f"the driver on this host failed:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def connect_session(remote: str) -> SparkSession:
    """Start a session of the Connect server and run a first job in it."""
    # Straight from its module: the builder of `pyspark.sql` would make this a Connect process for good.
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    spark = ConnectSession.builder.remote(remote).create()
    first_job(spark)
    return spark


def connect_starts(remote: str, rounds: int) -> list[float]:
    """Return the seconds of session and first job, a fresh session each, after one that is not counted."""
    connect_session(remote).stop()
    starts = []
    for _ in range(rounds):
        began = time.perf_counter()
        spark = connect_session(remote)
        starts.append(time.perf_counter() - began)
        spark.stop()
    return starts


def connect_appends(remote: str, path: Path) -> list[float]:
    """Return the seconds of warm appends in one session."""
    spark = connect_session(remote)
    try:
        return appends(lambda: append_by_spark(spark, path), path)
    finally:
        spark.stop()


def remove_left_behind(root: Path) -> None:
    """Remove the tables of benchmarks that were killed."""
    for directory in root.glob("bench-*-*"):
        pid = directory.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(directory, ignore_errors=True)


def bench_spark(rounds: int = STARTS) -> list[tuple[str, float, str, str]]:
    """Measure both ways into Spark and a Delta append by each; return `(name, value, unit, target)` of each figure.

    A start counts from the import of pyspark (host driver) or the request for a session (Connect) to the answer of a
    first job. An append counts from rows in Python to the commit.
    """
    settings = get_settings()
    if settings.spark_conf_dir is None or settings.spark_remote is None:
        sys.exit("the stack has no Spark")
    remove_left_behind(settings.delta_tables_dir)
    directory = settings.delta_tables_dir / f"bench-{os.getpid()}-{uuid4().hex[:8]}"
    # The directory's default ACL lets the containers in; a narrower mode would mask it.
    directory.mkdir(mode=0o777)
    try:
        drivers = [in_a_fresh_process() for _ in range(rounds)]
        by_driver = in_a_fresh_process(directory / "driver")["appends"]
        by_remote = connect_starts(settings.spark_remote, rounds)
        by_connect = connect_appends(settings.spark_remote, directory / "connect")
        by_delta_rs = appends(lambda: append_by_delta_rs(directory / "delta-rs"), directory / "delta-rs")
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    print(
        f"Spark {drivers[0]['spark']}, medians of {rounds} starts and of {APPENDS} appends after {WARM_UP}; "
        f"Python {platform.python_version()}; Connect at {urlsplit(settings.spark_remote).netloc}"
    )
    neighbour = statistics.median(by_delta_rs)
    starts = [run["session"] + run["job"] for run in drivers]
    figures = [
        ("Spark, host driver: session", statistics.median(run["session"] for run in drivers), "s", ""),
        ("Spark, host driver: session + first job", statistics.median(starts), "s", f"< {TARGET_DRIVER_SECONDS:g}"),
        ("Spark Connect: session + first job", statistics.median(by_remote), "s", f"< {TARGET_CONNECT_SECONDS:g}"),
    ]
    ways = [("host driver", by_driver), ("Connect", by_connect)]
    for way, measured in ways:
        if measured:
            target = f"< {TARGET_APPEND_SECONDS:g}"
            figures.append((f"Delta append of 1,000 rows, {way}", statistics.median(measured), "s", target))
        else:
            print(f"No append by {way}: the workers have another Python.")
    figures.append(("Delta append of 1,000 rows, delta-rs", neighbour, "s", ""))
    figures += [
        (f"Delta append, {way} / delta-rs", statistics.median(measured) / neighbour, "times", "")
        for way, measured in ways
        if measured
    ]
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["driver"]:
        print(json.dumps(host_driver(Path(sys.argv[2]) if sys.argv[2:] else None)))
    else:
        for name, value, unit, target in bench_spark():
            print(f"{name}: {value:.3g} {unit} {target}")
