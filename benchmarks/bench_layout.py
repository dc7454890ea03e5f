"""What small, frequent commits cost by the layout of a table: deletion vectors and auto-compaction, on and off."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from deltalake import DeltaTable, QueryBuilder

from benchmarks.bench_spark import remove_left_behind
from cdc_workstation.settings import get_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = int(os.environ.get("BENCH_LAYOUT_ROWS", "1000000"))
CHANGES = 50
COMMITS = 20
WARM_UP = 5
# Files small enough that a commit of changes all over the table does not rewrite all of it in one.
FILES = 8


def _seconds(action: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def _create(spark: SparkSession, path: Path, *, vectors: bool, compaction: bool) -> None:
    properties = {
        "delta.enableChangeDataFeed": "true",
        "delta.enableDeletionVectors": str(vectors).lower(),
        "delta.autoOptimize.autoCompact": str(compaction).lower(),
    }
    listed = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    columns = "id BIGINT, revision BIGINT, note STRING"
    spark.sql(f"CREATE TABLE delta.`{path}` ({columns}) USING delta TBLPROPERTIES ({listed})")
    spark.sql(
        f"INSERT INTO delta.`{path}` SELECT /*+ REPARTITION_BY_RANGE({FILES}, id) */ id, 0, repeat('x', 50) "
        f"FROM range({ROWS})"
    )


def _merge(spark: SparkSession, path: Path, revision: int) -> None:
    # Neighbouring keys, as changes of the newest rows are.
    first = random.Random(revision).randrange(ROWS - CHANGES)  # noqa: S311
    spark.sql(
        f"MERGE INTO delta.`{path}` t USING (SELECT id FROM range({first}, {first + CHANGES})) s ON t.id = s.id "
        f"WHEN MATCHED THEN UPDATE SET revision = {revision}"
    )


def _read_by_delta_rs(path: Path) -> None:
    table = DeltaTable(str(path))
    QueryBuilder().register("t", table).execute("SELECT sum(revision), count(*) FROM t").read_all()


def bench_layout() -> Iterator[tuple[str, float, str, str]]:
    """Measure each layout on a table of `ROWS` rows through the Connect server; yield `(name, value, unit, target)`."""
    settings = get_settings()
    if settings.spark_remote is None:
        sys.exit("the stack has no Spark")
    # Straight from its module: the builder of `pyspark.sql` would make this a Connect process for good.
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    remove_left_behind(settings.delta_tables_dir)
    directory = settings.delta_tables_dir / f"bench-{os.getpid()}-{uuid4().hex[:8]}"
    directory.mkdir(mode=0o777)
    spark = ConnectSession.builder.remote(settings.spark_remote).create()
    try:
        for vectors, compaction in product((False, True), repeat=2):
            path = directory / f"{vectors}-{compaction}"
            what = f"vectors {'on' if vectors else 'off'}, compaction {'on' if compaction else 'off'}"
            _create(spark, path, vectors=vectors, compaction=compaction)
            commits = []
            for revision in range(1, WARM_UP + COMMITS + 1):
                taken = _seconds(_merge, spark, path, revision)
                if revision > WARM_UP:
                    commits.append(taken)
            yield f"{what}: MERGE of {CHANGES} rows into {ROWS}, p50", statistics.median(commits), "s", ""
            reads = [_seconds(_read_by_delta_rs, path) for _ in range(5)]
            yield f"{what}: reading it by delta-rs afterwards, p50", statistics.median(reads), "s", ""
            size = sum(file.stat().st_size for file in path.rglob("*.parquet")) / 2**20
            yield f"{what}: files on disk afterwards", size, "MiB", ""
            shutil.rmtree(path, ignore_errors=True)
    finally:
        spark.stop()
        shutil.rmtree(directory, ignore_errors=True)
