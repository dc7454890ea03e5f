"""A table of the sink by itself, where the stack's own sink has other settings or would take years to get there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.errors import ParseException
from pyspark.sql import SparkSession

from cdc_workstation.fixtures.spark import DeltaTableLocation
from cdc_workstation.sink import evolution
from cdc_workstation.sink.canary import event
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.table import Table

pytestmark = pytest.mark.timeout(300)

TOPIC = "debezium.elsewhere.journal"


@pytest.fixture
def spark(spark_connect_session: SparkSession) -> Iterator[SparkSession]:
    """The run's session; what a commit of the sink says is its own affair and not that of the next test."""
    yield spark_connect_session
    for name in ("write.txnAppId", "write.txnVersion", "commitInfo.userMetadata"):
        spark_connect_session.conf.unset(f"spark.databricks.delta.{name}")


@pytest.fixture
def settings(delta_table: DeltaTableLocation) -> SinkSettings:
    return SinkSettings(tables=delta_table.path, table_path="{table}")


def keyless(offset: int, note: str = "") -> Record:
    """A change of a table without primary key."""
    return change(offset, 1, note=note)._replace(key=None)


def change(offset: int, key: int, op: str = "c", *, note: str | None = None, **source: Any) -> Record:
    """A change of the row with `key`, ten bytes of the binlog after that of the offset before."""
    row, place = {"id": key, "sent_ms": offset, "note": note}, source.pop("at", 10 * offset + 10)
    identity, value = event(row, place, op)
    envelope = json.loads(value)
    envelope["payload"]["source"].update(source)
    return Record(TOPIC, 0, offset, 0, identity, json.dumps(envelope).encode())


def tombstone(offset: int, key: int) -> Record:
    return change(offset, key)._replace(value=None)


def rows(path: str) -> list[int]:
    return sorted(DeltaTable(path).to_pyarrow_table(columns=["sent_ms"])["sent_ms"].to_pylist())


def test_a_table_without_primary_key_is_set_aside_where_that_is_chosen(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings.model_copy(update={"keyless": "stop"}), TOPIC)
    assert table.open("topic-1", {0: 0}) == {0: 0}

    table.apply(spark, 0, [keyless(0), keyless(1)])

    assert str(table.stopped) == "the table has no primary key"
    assert table.location.open() is None
    dead = settings.dead_letters.open()
    assert dead is not None
    found = dead.to_pyarrow_table().to_pylist()
    assert sorted((one["offset"], one["reason"], one["detail"]) for one in found) == [
        (offset, "stopped", "the table has no primary key") for offset in (0, 1)
    ]


def test_behind_many_commits_of_others_deltas_own_transaction_says_where_to_go_on(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [keyless(0), keyless(1)])
    assert rows(table.path) == [0, 1]

    others = DeltaTable(table.path)
    for number in range(201):
        others.alter.set_table_description(f"note {number}")
    assert not any("userMetadata" in commit for commit in others.history(200))

    restarted = Table(settings, TOPIC)
    assert restarted.open("topic-1", {0: 0}) == {0: 2}
    restarted.apply(spark, 0, [keyless(0), keyless(1), keyless(2)])
    assert rows(table.path) == [0, 1, 2]
    assert restarted.stopped is None


def test_what_a_failed_commit_would_have_reached_does_not_count(
    spark: SparkSession, settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1)])
    with monkeypatch.context() as broken:
        broken.setattr(evolution, "merge_statement", lambda *_: "MERGE INTO nothing")
        with pytest.raises(ParseException):
            table.apply(spark, 0, [change(1, 2)])

    assert table.state is not None
    assert table.state.offsets == {0: 0}
    table.apply(spark, 0, [change(1, 2), change(2, 3)])
    assert rows(table.path) == [0, 1, 2]


def broken(offset: int) -> Record:
    return change(offset, 1)._replace(value=b"{this is no JSON")


def dead_offsets(settings: SinkSettings) -> list[int]:
    table = settings.dead_letters.open()
    return [] if table is None else sorted(table.to_pyarrow_table()["offset"].to_pylist())


def test_a_dead_letter_is_written_before_the_commit_that_passes_it(
    spark: SparkSession, settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    monkeypatch.setattr(table, "_committed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        table.apply(spark, 0, [change(0, 1), broken(1), change(2, 2), broken(3)])

    restarted = Table(settings, TOPIC)
    assert restarted.open("topic-1", {0: 0}) == {0: 4}
    assert dead_offsets(settings) == [1, 3]


@pytest.mark.parametrize("together", [True, False])
def test_a_tombstone_that_kafka_no_longer_has_is_not_missed(
    spark: SparkSession, settings: SinkSettings, together: bool
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    deleted = [change(0, 1), change(1, 2), change(2, 2, "d"), tombstone(3, 2)]
    table.apply(spark, 0, deleted if together else deleted[:3])

    restarted = Table(settings, TOPIC)
    assert restarted.open("topic-1", {0: 4}) == {0: 4}
    restarted.apply(spark, 0, [change(4, 3)])

    assert restarted.stopped is None
    assert rows(table.path) == [0, 4]


def test_a_tombstone_alone_is_one_also_where_reading_has_just_started_anew(
    spark: SparkSession, settings: SinkSettings
) -> None:
    """As for each table when a topic is made anew."""
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1), change(1, 2)])
    assert table.open("topic-1", {0: 0}) == {0: 2}

    table.apply(spark, 0, [tombstone(2, 1), change(3, 3), change(4, 3, "d")])
    assert rows(table.path) == [1]
    assert table.open("topic-1", {0: 0}) == {0: 5}

    # The one of the delete before it, and not of the row that has come back.
    table.apply(spark, 0, [tombstone(5, 3), change(6, 3)])
    assert rows(table.path) == [1, 6]


def test_a_change_that_kafka_no_longer_has_stops_the_table(spark: SparkSession, settings: SinkSettings) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1), change(1, 1, "d"), tombstone(2, 1)])

    restarted = Table(settings, TOPIC)
    restarted.open("topic-1", {0: 4})
    restarted.apply(spark, 0, [change(4, 3)])

    assert "Kafka no longer has offsets 3 to 3" in str(restarted.stopped)
    assert dead_offsets(settings) == [4]


def test_changes_that_kafka_drops_while_the_sink_runs_stop_the_table_behind_those_before(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1)])
    # One of a transaction's own records lies between.
    assert table.has_gap(0, [change(2, 2)])
    table.apply(spark, 0, [change(2, 2)])
    assert table.stopped is None

    batch = [change(3, 3), change(9, 4), change(10, 5)]
    assert table.has_gap(0, batch)
    table.earliest[0] = 9
    table.apply(spark, 0, batch)

    assert "Kafka no longer has offsets 4 to 8" in str(table.stopped)
    assert rows(table.path) == [0, 2, 3]
    assert dead_offsets(settings) == [9, 10]
    table.apply(spark, 0, [change(11, 1, "r", snapshot="first"), change(12, 4, "r", snapshot="last")])
    assert table.stopped is None


def test_a_reset_right_behind_a_transaction_is_not_skipped(spark: SparkSession, settings: SinkSettings) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1, at=5_000_000), change(1, 2, at=6_000_000)])
    table.open("topic-1", {0: 0})

    table.apply(spark, 0, [change(2, 3, "r", snapshot="last", at=7, ts_ms=9000)])

    assert rows(table.path) == [2]


def test_a_batch_that_comes_twice_at_once_counts_once(spark: SparkSession, settings: SinkSettings) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    sent = [keyless(offset) for offset in range(3)]
    again = [record._replace(offset=record.offset + 3) for record in sent]

    table.apply(spark, 0, sent + again)
    assert rows(table.path) == [0, 1, 2]

    table.apply(spark, 0, [record._replace(offset=record.offset + 6) for record in sent])
    assert rows(table.path) == [0, 1, 2]


@pytest.mark.parametrize("together", [True, False])
def test_a_snapshot_that_is_cut_off_and_begins_again_counts_once_without_a_key(
    spark: SparkSession, settings: SinkSettings, together: bool
) -> None:
    def read(offset: int, snapshot: str) -> Record:
        return change(offset, 1, "r", at=90, snapshot=snapshot)._replace(key=None)

    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    cut_off = [read(0, "first"), read(1, "true")]
    again = [read(2, "first"), read(3, "true"), read(4, "last")]
    for batch in [cut_off + again] if together else [cut_off, again]:
        table.apply(spark, 0, batch)
    assert rows(table.path) == [2, 3, 4]

    # One whose only row is its last is whole each time.
    table.apply(spark, 0, [read(5, "last")])
    assert rows(table.path) == [5]
    assert table.stopped is None


def test_a_topic_whose_beginning_kafka_lost_makes_no_table_without_a_snapshot(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 5})
    table.apply(spark, 0, [change(5, 1), change(6, 2)])

    assert "Kafka no longer has offsets 0 to 4" in str(table.stopped)
    assert table.location.open() is None
    assert dead_offsets(settings) == [5, 6]

    table.apply(spark, 0, [change(7, 1, "r", snapshot="first"), change(8, 2, "r", snapshot="last")])
    assert table.stopped is None
    assert rows(table.path) == [7, 8]

    begins = Table(settings.model_copy(update={"table_path": "other_{table}"}), TOPIC)
    begins.open("topic-1", {0: 7})
    begins.apply(spark, 0, [change(7, 1, "r", snapshot="first"), change(8, 2, "r", snapshot="last")])
    assert begins.stopped is None
    assert rows(begins.path) == [7, 8]


def test_a_snapshot_whose_first_rows_kafka_lost_neither_mends_nor_sweeps(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1), change(1, 2)])
    snapshot = {"op": "r", "at": 900}

    restarted = Table(settings, TOPIC)
    restarted.open("topic-1", {0: 5})
    restarted.apply(spark, 0, [change(5, 2, snapshot="true", **snapshot), change(6, 3, snapshot="last", **snapshot)])
    assert restarted.stopped is not None
    assert rows(table.path) == [0, 1]

    snapshot["at"] = 950
    restarted.apply(
        spark,
        0,
        [change(7, 2, snapshot="first_in_data_collection", **snapshot), change(8, 3, snapshot="last", **snapshot)],
    )
    restarted.apply(spark, 0, [change(9, 4, at=960)])
    assert restarted.stopped is None
    assert rows(table.path) == [7, 8, 9]


def postgres(offset: int, key: int, lsn: int, last_commit: int | None, op: str = "c", **source: Any) -> Record:
    """A change as PostgreSQL's connector locates it."""
    sequence = json.dumps([last_commit and str(last_commit), str(lsn)])
    return change(offset, key, op, connector="postgresql", lsn=lsn, sequence=sequence, **source)


def keyed_by(record: Record, column: str) -> Record:
    """The change with another column as its key."""
    assert record.key is not None
    assert record.value is not None
    after = json.loads(record.value)["payload"]["after"]
    key = json.loads(record.key)
    key["schema"]["fields"] = [{"type": "int64", "optional": False, "field": column}]
    key["payload"] = {column: after[column]}
    return record._replace(key=json.dumps(key).encode())


def test_another_primary_key_stops_the_table_until_a_new_snapshot(spark: SparkSession, settings: SinkSettings) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    table.apply(spark, 0, [change(0, 1), change(1, 2), keyed_by(change(2, 2, "u"), "sent_ms")])

    assert str(table.stopped) == "the primary key was (id) and is (sent_ms); take a new snapshot"
    assert rows(table.path) == [0, 1]
    assert dead_offsets(settings) == [2]

    snapshot = [change(3, 7, "r", snapshot="first", at=90), change(4, 7, "r", snapshot="last", at=90)]
    table.apply(spark, 0, [keyed_by(record, "sent_ms") for record in snapshot])
    assert table.stopped is None
    assert rows(table.path) == [3, 4]

    # An older snapshot by the former key, as when the topic is read again, replaces nothing.
    table.apply(spark, 0, [change(5, 1, "r", snapshot="first", at=5), keyed_by(change(6, 8, at=95), "sent_ms")])
    assert table.stopped is None
    assert rows(table.path) == [3, 4, 6]


def test_a_transaction_that_began_before_the_snapshot_comes_after_it(
    spark: SparkSession, settings: SinkSettings
) -> None:
    table = Table(settings, TOPIC)
    table.open("topic-1", {0: 0})
    sent = [
        postgres(0, 1, 500, None, "r", snapshot="first"),
        postgres(1, 2, 500, None, "r", snapshot="last"),
        postgres(2, 1, 480, None, "u"),
        postgres(3, 3, 490, None),
        postgres(4, 2, 495, 510, "d"),
    ]
    for record in sent:
        table.apply(spark, 0, [record])
    assert rows(table.path) == [2, 3]

    # All of it again, behind a second snapshot.
    table.apply(
        spark, 0, [postgres(5, 1, 900, None, "r", snapshot="first"), postgres(6, 3, 900, None, "r", snapshot="last")]
    )
    table.apply(spark, 0, [record._replace(offset=record.offset + 7) for record in sent])
    assert rows(table.path) == [5, 6]
