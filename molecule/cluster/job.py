"""A job whose tasks run on every worker, with a Delta table in object storage as its result.

    docker exec --interactive <spark-connect> python3 - <address of a worker>... < job.py

Raises:
    AssertionError: the table is not what was written, or a worker had no part in it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyspark.sql import SparkSession

TABLE = "s3a://delta/cluster"
ROWS = 10_000


def signed(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    """Add to each row which worker made it."""
    for batch in batches:
        host = pyarrow.array([socket.gethostname()] * batch.num_rows)
        yield pyarrow.RecordBatch.from_arrays([batch.column(0), host], ["id", "worker"])


def main(workers: list[str]) -> None:
    """Write the table on all workers, and read it again."""
    token = Path("/run/secrets/spark_connect_token").read_text().strip()
    spark = SparkSession.builder.remote(f"sc://localhost:15002/;token={token}").getOrCreate()
    rows = spark.range(0, ROWS, 1, 2 * len(workers)).mapInArrow(signed, "id long, worker string")
    rows.write.format("delta").mode("overwrite").save(TABLE)
    table = spark.read.format("delta").load(TABLE)
    assert table.selectExpr("count(DISTINCT id)").first()[0] == ROWS
    shares = {row["worker"]: row["count"] for row in table.groupBy("worker").count().collect()}
    assert set(shares) == set(workers), f"{sorted(shares)} worked, and not {workers}"
    print(f"{TABLE} has {ROWS} rows: " + ", ".join(f"{count} by {worker}" for worker, count in sorted(shares.items())))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
