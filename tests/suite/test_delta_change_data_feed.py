"""Delta's change data feed: every row change with its kind, before and after, by version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from cdc_workstation.fixtures.spark import DeltaTableLocation

pytestmark = pytest.mark.uses()

# (kind of change, id, quantity, version of the commit)
Change = tuple[str, int, int, int]


def changes(spark: SparkSession, table: DeltaTableLocation, first: int, last: int | None = None) -> list[Change]:
    """Read the feed of the versions `first` to `last`, both included."""
    reader = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", first)
    if last is not None:
        reader = reader.option("endingVersion", last)
    frame = reader.load(table.path).orderBy("_commit_version", "id", "_change_type")
    return [(row._change_type, row.id, row.quantity, row._commit_version) for row in frame.collect()]


def create(spark: SparkSession, table: DeltaTableLocation, properties: str) -> None:
    spark.sql(f"CREATE TABLE {table.identifier} (id long, quantity int) USING delta {properties}")


@pytest.fixture(scope="module")
def feed(spark_connect_session: SparkSession, shared_delta_table: DeltaTableLocation) -> DeltaTableLocation:
    """A table that had its feed from the start: an insert is version 1, an update 2, a delete 3."""
    create(spark_connect_session, shared_delta_table, "TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    spark_connect_session.sql(f"INSERT INTO {shared_delta_table.identifier} VALUES (1, 10), (2, 20)")
    spark_connect_session.sql(f"UPDATE {shared_delta_table.identifier} SET quantity = 11 WHERE id = 1")
    spark_connect_session.sql(f"DELETE FROM {shared_delta_table.identifier} WHERE id = 2")
    return shared_delta_table


def test_feed_enabled_on_create_has_before_and_after_images(
    spark_connect_session: SparkSession, feed: DeltaTableLocation
) -> None:
    assert changes(spark_connect_session, feed, first=0) == [
        ("insert", 1, 10, 1),
        ("insert", 2, 20, 1),
        ("update_postimage", 1, 11, 2),
        ("update_preimage", 1, 10, 2),
        ("delete", 2, 20, 3),
    ]


def test_range_of_versions_includes_both_ends(spark_connect_session: SparkSession, feed: DeltaTableLocation) -> None:
    assert {change[3] for change in changes(spark_connect_session, feed, first=1, last=2)} == {1, 2}
    assert changes(spark_connect_session, feed, first=3, last=3) == [("delete", 2, 20, 3)]


def test_sql_reads_the_same_feed(spark_connect_session: SparkSession, feed: DeltaTableLocation) -> None:
    frame = spark_connect_session.sql(
        f"SELECT _change_type, id FROM table_changes_by_path('{feed.path}', 2, 3) ORDER BY 1"
    )
    assert [tuple(row) for row in frame.collect()] == [("delete", 2), ("update_postimage", 1), ("update_preimage", 1)]


def test_feed_enabled_later_starts_there(spark_connect_session: SparkSession, delta_table: DeltaTableLocation) -> None:
    create(spark_connect_session, delta_table, "")
    spark_connect_session.sql(f"INSERT INTO {delta_table.identifier} VALUES (1, 10)")
    spark_connect_session.sql(
        f"ALTER TABLE {delta_table.identifier} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )
    spark_connect_session.sql(f"INSERT INTO {delta_table.identifier} VALUES (2, 20)")
    assert changes(spark_connect_session, delta_table, first=2) == [("insert", 2, 20, 3)]
    from pyspark.errors import PySparkException

    with pytest.raises(PySparkException, match=r"(?i)change data|cdf"):
        changes(spark_connect_session, delta_table, first=0)
