"""A job whose tasks run on every worker, with a Delta table in object storage as its result; and a row of MySQL there.

    docker exec --interactive <spark-connect> python3 - <product_id of the row> <address of a worker>... < job.py

Raises:
    AssertionError: the table is not what was written, a worker had no part in it, or the row did not come.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyspark.sql import SparkSession

TABLE = "s3a://delta/cluster"
# What the sink makes of MySQL's sample table.
PRODUCTS = "s3a://delta/cdc/cdcdb/products"
TASKS, ROWS, ROUNDS = 40, 20_000, 1_000
# Executors come one after another, when there is work: a job that ends before the last has come is repeated.
SECONDS = 300.0
POLL = 1.0


def signed(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    """Add to each row its digest, which is some work, and the worker that made it."""
    for batch in batches:
        digests = [hashlib.pbkdf2_hmac("sha256", b"%d" % row, b"", ROUNDS).hex() for row in batch.column(0).to_pylist()]
        columns = [batch.column(0), pyarrow.array(digests), pyarrow.array([socket.gethostname()] * batch.num_rows)]
        yield pyarrow.RecordBatch.from_arrays(columns, ["id", "digest", "worker"])


def work(spark: SparkSession, workers: list[str]) -> None:
    """Write the table on all workers, and read it again."""
    shares: dict[str, int] = {}
    deadline = time.monotonic() + SECONDS
    while set(shares) != set(workers) and time.monotonic() < deadline:
        rows = spark.range(0, ROWS, 1, TASKS).mapInArrow(signed, "id long, digest string, worker string")
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(TABLE)
        table = spark.read.format("delta").load(TABLE)
        assert table.selectExpr("count(DISTINCT id)").first()[0] == ROWS
        shares = {row["worker"]: row["count"] for row in table.groupBy("worker").count().collect()}
    assert set(shares) == set(workers), f"{sorted(shares)} worked, and not {workers}"
    print(f"{TABLE} has {ROWS} rows: " + ", ".join(f"{count} by {worker}" for worker, count in sorted(shares.items())))  # noqa: T201


def wait_for(spark: SparkSession, product: str) -> None:
    """Wait for the row of MySQL."""
    deadline = time.monotonic() + SECONDS
    while not (rows := spark.read.format("delta").load(PRODUCTS).where(f"product_id = {product}").collect()):
        assert time.monotonic() < deadline, f"{PRODUCTS} has no product {product} after {SECONDS:.0f} s"
        time.sleep(POLL)
    print(f"{PRODUCTS} has {rows[0]['product_name']}, as MySQL does.")  # noqa: T201


def main(product: str, workers: list[str]) -> None:
    """Run the job, and see what the sink did meanwhile."""
    token = Path("/run/secrets/spark_connect_token").read_text().strip()
    spark = SparkSession.builder.remote(f"sc://localhost:15002/;token={token}").getOrCreate()
    work(spark, workers)
    wait_for(spark, product)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
