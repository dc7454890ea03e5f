"""A Delta table's past: any version can be read by number or by time, listed, and brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from cdc_workstation.fixtures.spark import DeltaTableLocation


pytestmark = pytest.mark.uses()


def write_versions(spark: SparkSession, table: DeltaTableLocation) -> DeltaTableLocation:
    """Make a table with three versions: 10 rows, 20 rows, and 5 rows after an overwrite."""
    for count, mode in ((10, "append"), (10, "append"), (5, "overwrite")):
        spark.range(count).coalesce(1).write.format("delta").mode(mode).save(table.path)
    return table


@pytest.fixture(scope="module")
def versions(spark_connect_session: SparkSession, shared_delta_table: DeltaTableLocation) -> DeltaTableLocation:
    """Such a table, to be read."""
    return write_versions(spark_connect_session, shared_delta_table)


def count(spark: SparkSession, table: DeltaTableLocation, clause: str = "") -> int:
    return int(spark.sql(f"SELECT count(*) AS n FROM {table.identifier} {clause}").first()["n"])


def test_update_keeps_the_previous_version_readable(
    spark_connect_session: SparkSession, versions: DeltaTableLocation
) -> None:
    assert [count(spark_connect_session, versions, f"VERSION AS OF {version}") for version in range(3)] == [10, 20, 5]
    assert count(spark_connect_session, versions) == 5


def test_table_can_be_read_as_of_a_time(spark_connect_session: SparkSession, versions: DeltaTableLocation) -> None:
    history = (
        spark_connect_session.sql(f"DESCRIBE HISTORY {versions.identifier}")
        .selectExpr("version", "CAST(timestamp AS string) AS committed")
        .collect()
    )
    committed = {row.version: row.committed for row in history}
    at_second_commit = (
        spark_connect_session.read.format("delta").option("timestampAsOf", committed[1]).load(versions.path)
    )
    assert at_second_commit.count() == 20
    assert count(spark_connect_session, versions, f"TIMESTAMP AS OF '{committed[0]}'") == 10


def test_history_shows_what_each_version_did(spark_connect_session: SparkSession, versions: DeltaTableLocation) -> None:
    history = spark_connect_session.sql(f"DESCRIBE HISTORY {versions.identifier}").orderBy("version").collect()
    assert [(row.version, row.operation, row.operationParameters["mode"]) for row in history] == [
        (0, "WRITE", "Append"),
        (1, "WRITE", "Append"),
        (2, "WRITE", "Overwrite"),
    ]
    assert [row.operationMetrics["numOutputRows"] for row in history] == ["10", "10", "5"]


def test_restore_creates_a_new_version(spark_connect_session: SparkSession, delta_table: DeltaTableLocation) -> None:
    versions = write_versions(spark_connect_session, delta_table)
    spark_connect_session.sql(f"RESTORE TABLE {versions.identifier} TO VERSION AS OF 1")
    assert count(spark_connect_session, versions) == 20
    latest = spark_connect_session.sql(f"DESCRIBE HISTORY {versions.identifier} LIMIT 1").first()
    assert (latest.version, latest.operation) == (3, "RESTORE")
    assert count(spark_connect_session, versions, "VERSION AS OF 2") == 5
