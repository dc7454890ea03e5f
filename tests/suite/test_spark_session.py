"""Both ways into Spark: a classic driver on this host, and the Connect server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import requests
from deltalake import DeltaTable, write_deltalake
from tenacity import Retrying, stop_after_delay, wait_fixed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from cdc_workstation.fixtures.spark import DeltaTableLocation
    from cdc_workstation.settings import Settings


pytestmark = pytest.mark.uses()


@pytest.fixture
def classic(spark_session: SparkSession) -> SparkSession:
    if not hasattr(spark_session, "_jsc"):
        pytest.skip("this Python is not of the workers' version, so spark_session is a Connect session")
    return spark_session


def test_job_runs_on_the_worker(classic: SparkSession) -> None:
    hosts = classic.sparkContext.parallelize(range(4), 2).map(lambda _: Path("/etc/hostname").read_text()).distinct()
    assert [name.strip() for name in hosts.collect()] == ["spark-worker"]


def test_rows_and_functions_of_this_python_run_on_the_worker(
    classic: SparkSession, delta_table: DeltaTableLocation
) -> None:
    from pyspark.sql.functions import pandas_udf, udf

    # From a table and not from memory: Spark 4.2.0 hangs there unless it is configured not to (SPARK-58241).
    classic.createDataFrame([(1,), (2,)], "id long").write.format("delta").save(delta_table.path)
    frame = classic.read.format("delta").load(delta_table.path)
    shouted = udf(lambda value: f"{value}!", "string")
    doubled = pandas_udf(lambda series: series * 2, "long")
    rows = frame.select(shouted("id").alias("shouted"), doubled("id").alias("doubled")).collect()
    assert sorted((row.shouted, row.doubled) for row in rows) == [("1!", 2), ("2!", 4)]


def test_function_runs_through_connect(spark_connect_session: SparkSession, delta_table: DeltaTableLocation) -> None:
    from pyspark.sql.functions import udf

    spark_connect_session.range(3).write.format("delta").save(delta_table.path)
    frame = spark_connect_session.read.format("delta").load(delta_table.path)
    rows = frame.select(udf(lambda value: f"{value}!", "string")("id").alias("shouted")).collect()
    assert sorted(row.shouted for row in rows) == ["0!", "1!", "2!"]


def test_processes_start_beside_a_connect_session(spark_connect_session: SparkSession) -> None:
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            spark_connect_session.range(1).count()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            # As the classic session starts its JVM: code before exec() makes Python fork().
            started = [subprocess.Popen(["true"], preexec_fn=lambda: None).wait() for _ in range(100)]
        finally:
            stop.set()
        asking.result()
    assert not any(started)


def test_one_table_serves_both_sessions_and_delta_rs(
    spark_session: SparkSession, spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    spark_session.range(3).write.format("delta").save(delta_table.path)
    spark_connect_session.range(3, 6).write.format("delta").mode("append").save(delta_table.path)
    write_deltalake(delta_table.path, pa.table({"id": pa.array([6], pa.int64())}), mode="append")
    assert sorted(DeltaTable(delta_table.path).to_pyarrow_table()["id"].to_pylist()) == list(range(7))
    for session in (spark_session, spark_connect_session):
        assert session.read.format("delta").load(delta_table.path).count() == 7


def test_event_log_of_a_job_is_kept(classic: SparkSession) -> None:
    classic.range(1).count()
    directory = Path(classic.conf.get("spark.eventLog.dir").removeprefix("file:"))
    logs = [path for path in directory.rglob("*") if classic.sparkContext.applicationId in path.name and path.is_file()]
    assert sum(path.stat().st_size for path in logs) > 0


def test_master_refuses_a_driver_without_the_secret(stack_settings: Settings, tmp_path: Path) -> None:
    assert stack_settings.spark_conf_dir
    defaults = (stack_settings.spark_conf_dir / "spark-defaults.conf").read_text().splitlines()
    # It is refused before anybody calls it, and the address for that is not this machine's where the stack is in a VM.
    left_out = ("spark.authenticate.secret ", "spark.driver.host ", "spark.driver.bindAddress ")
    wrong = [line for line in defaults if not line.startswith(left_out)]
    (tmp_path / "spark-defaults.conf").write_text("\n".join([*wrong, "spark.authenticate.secret guessed", ""]))
    program = "from pyspark.sql import SparkSession; print(SparkSession.builder.getOrCreate().range(1).count())"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment | {"SPARK_CONF_DIR": str(tmp_path), "SPARK_LOCAL_IP": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as driver:
        assert driver.stdout
        try:
            said = []
            for line in driver.stdout:
                said.append(line)
                # It would try again for a minute.
                if "SaslException" in line:
                    break
        finally:
            with suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
    assert "Mismatched response" in said[-1], "".join(said[-20:])
    assert "1\n" not in said


def test_connect_refuses_a_client_without_the_token(stack_settings: Settings) -> None:
    assert stack_settings.spark_remote
    parts = urlsplit(stack_settings.spark_remote)
    if ";token=" not in stack_settings.spark_remote:
        pytest.skip("this line of Spark has no token")
    from pyspark.errors import PySparkException
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    stranger = ConnectSession.builder.remote(f"sc://{parts.hostname}:{parts.port}").create()
    try:
        with pytest.raises(PySparkException, match=r"(?i)unauthenticated"):
            stranger.range(1).count()
    finally:
        # The first session of a process is its default, which functions of other tests would ask.
        stranger.stop()


def test_master_tells_prometheus_how_many_workers_are_alive(stack_settings: Settings, http: requests.Session) -> None:
    assert stack_settings.spark_master_url
    host = urlsplit(stack_settings.spark_master_url).hostname
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True):
        with attempt:
            lines = http.get(f"http://{host}:8080/metrics/master/prometheus", timeout=10).text.splitlines()
            assert any(line.startswith("metrics_master_aliveWorkers_Value") and line[-1] != "0" for line in lines)
