"""Which records are applied, skipped, sent to the dead-letter table, or stop the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sink_model import (
    ModelTable,
    broken,
    change,
    keyed_by,
    postgres,
    retyped,
    tombstone,
    without_key,
)

from cdc_workstation.sink.events import Position, Record
from cdc_workstation.sink.steps import Commit, DeleteOlder, StoppedError


@pytest.fixture
def table() -> ModelTable:
    return ModelTable()


# Order


def test_changes_are_applied_in_order(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2), change(2, 1, "u"), change(3, 2, "d"), tombstone(4, 2))

    assert table.values() == [2]
    assert table.state is not None
    assert table.state.offsets == {0: 4}
    assert table.state.positions == {0: Position(40, 0)}


def test_records_that_were_applied_are_not_applied_again(table: ModelTable) -> None:
    sent = [change(0, 1), change(1, 1, "d"), tombstone(2, 1), change(3, 1)]
    table.apply(*sent)
    steps = len(table.steps)

    table.apply(*sent)

    assert len(table.steps) == steps
    assert table.values() == [3]


def test_change_before_the_last_position_is_skipped(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    table.apply(change(2, 1, "u", at=15))

    assert table.values() == [0, 1]
    assert table.skipped == [2]


def test_change_applied_twice_at_later_offsets_counts_once(table: ModelTable) -> None:
    """Debezium repeats what it had sent since it last stored its offsets."""
    sent = [change(0, 1), change(1, 1, "d"), tombstone(2, 1), change(3, 2)]
    table.apply(*sent)

    table.apply(*(record._replace(offset=record.offset + 4) for record in sent))

    assert table.values() == [3]
    assert table.stopped is None


def test_log_that_went_back_stops_the_table(table: ModelTable) -> None:
    table.apply(change(0, 1, at=5_000_000))

    table.apply(change(1, 2, at=7, ts_ms=9000))

    assert "the source's log went back" in str(table.stopped)
    assert table.dead == [(1, "stopped")]
    table.apply(change(2, 3, "r", snapshot="last", at=9, ts_ms=9001))
    assert table.stopped is None
    assert table.values() == [2]


@pytest.mark.parametrize("is_open_again", [True, False])
def test_snapshot_of_another_log_replaces_the_rows(table: ModelTable, is_open_again: bool) -> None:
    table.apply(change(0, 1, at=5_000_000), change(1, 2, at=6_000_000))
    if is_open_again:
        table.open()

    table.apply(change(2, 3, "r", snapshot="last", at=7, ts_ms=9000))

    assert table.values() == [2]
    replaced = next(step for step in table.steps if isinstance(step, DeleteOlder))
    # Delta skips a commit whose transaction has the offset of the last one.
    assert not replaced.transaction
    assert replaced.state.offsets == {0: 1}


def test_transaction_that_began_before_the_snapshot_comes_after_it(table: ModelTable) -> None:
    sent = [
        postgres(0, 1, 500, None, "r", snapshot="first"),
        postgres(1, 2, 500, None, "r", snapshot="last"),
        postgres(2, 1, 480, None, "u"),
        postgres(3, 3, 490, None),
        postgres(4, 2, 495, 510, "d"),
    ]
    for record in sent:
        table.apply(record)
    assert table.values() == [2, 3]

    # All of it again, behind a second snapshot.
    table.apply(postgres(5, 1, 900, None, "r", snapshot="first"), postgres(6, 3, 900, None, "r", snapshot="last"))
    table.apply(*(record._replace(offset=record.offset + 7) for record in sent))
    assert table.values() == [5, 6]


def test_partitions_have_positions_of_their_own() -> None:
    table = ModelTable({0: 0, 1: 0})
    table.apply(change(0, 1, at=100))
    table.apply(change(0, 2, at=50, partition=1))

    assert table.values("id") == [1, 2]
    assert table.state is not None
    assert table.state.positions == {0: Position(100, 0), 1: Position(50, 0)}
    assert table.state.offsets == {0: 0, 1: 0}


# Commits


def test_first_commit_creates_the_table_and_appends(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.apply(change(1, 1, "u"))

    first, second = (step for step in table.steps if isinstance(step, Commit))
    assert (first.creates, first.mode) == (True, "append")
    assert (second.creates, second.mode) == (False, "upsert")


def test_rows_of_one_snapshot_are_inserted_only(table: ModelTable) -> None:
    table.apply(change(0, 1, "r", at=90, snapshot="first"))
    table.apply(change(1, 2, "r", at=90, snapshot="true"), change(2, 3, "r", at=90, snapshot="last"))
    table.apply(change(3, 3, "u", at=95))

    assert [step.mode for step in table.steps if isinstance(step, Commit)] == ["append", "insert", "upsert"]


def test_commits_carry_deltas_transaction_from_time_to_time() -> None:
    table = ModelTable(transaction_interval=2)
    for offset in range(4):
        table.apply(change(offset, 1))

    assert [step.transaction for step in table.steps if isinstance(step, Commit)] == [True, False, True, False]


def test_each_commit_without_key_carries_deltas_transaction(table: ModelTable) -> None:
    for offset in range(3):
        table.apply(without_key(change(offset, 1)))

    assert all(step.transaction for step in table.steps if isinstance(step, Commit))


def test_failed_commit_does_not_count(table: ModelTable) -> None:
    table.apply(change(0, 1))
    next(step for step in table.sequencer.sequence(0, [change(1, 2)]) if isinstance(step, Commit))

    assert table.sequencer.state is not None
    assert table.sequencer.state.offsets == {0: 0}
    assert table.sequencer.next_offsets == {0: 1}
    table.apply(change(1, 2), change(2, 3))
    assert table.values() == [0, 1, 2]


def test_state_of_a_commit_does_not_change_afterwards(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 1, "d"))
    [first] = [step for step in table.steps if isinstance(step, Commit)]
    said = first.state.metadata("t")

    table.apply(change(3, 2))

    assert first.state.metadata("t") == said


# Dead letters


def test_dead_letter_belongs_to_the_commit_that_passes_it(table: ModelTable) -> None:
    for step in table.sequencer.sequence(0, [change(0, 1), broken(1), change(2, 2), broken(3)]):
        assert isinstance(step, Commit)
        assert [one.record.offset for one in step.dead_letters] == [1, 3]
        break


def test_dead_letters_alone_need_no_commit(table: ModelTable) -> None:
    table.apply(broken(0), broken(1))

    assert table.state is None
    assert table.dead == [(0, "not_json"), (1, "not_json")]


def test_row_without_key_in_a_table_with_one_is_a_dead_letter(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.apply(without_key(change(1, 2)), change(2, 3))

    assert table.dead == [(1, "no_key")]
    assert table.values() == [0, 2]


# Tombstones


@pytest.mark.parametrize("together", [True, False])
def test_tombstone_that_kafka_no_longer_has_is_not_missed(table: ModelTable, together: bool) -> None:
    deleted = [change(0, 1), change(1, 2), change(2, 2, "d"), tombstone(3, 2)]
    table.apply(*deleted if together else deleted[:3])

    assert table.restart({0: 4}) == {0: 4}
    assert table.sequencer.continuity.lost() is None
    table.apply(change(4, 3))

    assert table.stopped is None
    assert table.values() == [0, 4]


def test_lone_tombstone_deletes_also_after_reading_started_again(table: ModelTable) -> None:
    """As for each table when a topic is recreated."""
    table.apply(change(0, 1), change(1, 2))
    assert table.open() == {0: 2}

    table.apply(tombstone(2, 1), change(3, 3), change(4, 3, "d"))
    assert table.values() == [1]
    assert table.open() == {0: 5}

    # The one of the delete before it, and not of the row that has come back.
    table.apply(tombstone(5, 3), change(6, 3))
    assert table.values() == [1, 6]


def test_tombstone_of_a_table_without_key_is_ignored(table: ModelTable) -> None:
    table.apply(without_key(change(0, 1)), without_key(tombstone(1, 1)))

    assert table.dead == []
    assert table.values() == [0]


# Truncates


def test_truncate_deletes_all_rows(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2), change(2, 0, "t"), change(3, 3))

    assert table.values() == [3]


def test_truncate_holds_for_all_partitions() -> None:
    """It comes in one of them: older changes may follow in the others."""
    table = ModelTable({0: 0, 1: 0})
    table.apply(change(0, 1, at=10))
    table.apply(change(1, 0, "t", at=50))
    table.apply(change(0, 2, at=40, partition=1), change(1, 3, at=60, partition=1))

    assert table.values("id") == [3]


def test_truncate_keeps_later_rows_of_other_partitions() -> None:
    table = ModelTable({0: 0, 1: 0})
    table.apply(change(0, 2, at=60, partition=1))
    table.apply(change(0, 1, at=10), change(1, 0, "t", at=50))

    assert table.values("id") == [2]


# Tables without primary key


def test_table_without_key_stops_if_that_is_chosen() -> None:
    table = ModelTable(without_key="stop")

    table.apply(without_key(change(0, 1)), without_key(change(1, 1)))

    assert table.stopped == "the table has no primary key"
    assert table.state is None
    assert table.dead == [(0, "stopped"), (1, "stopped")]


def test_repeated_batch_counts_once_without_key(table: ModelTable) -> None:
    sent = [without_key(change(offset, 1)) for offset in range(3)]

    table.apply(*sent, *(record._replace(offset=record.offset + 3) for record in sent))
    assert table.values() == [0, 1, 2]

    table.apply(*(record._replace(offset=record.offset + 6) for record in sent))
    assert table.values() == [0, 1, 2]


def test_copied_rows_at_one_position_all_count_without_key(table: ModelTable) -> None:
    """PostgreSQL's COPY writes many rows in one record of its log."""
    table.apply(*(without_key(postgres(offset, 1, 500, 400)) for offset in range(3)))

    assert table.values() == [0, 1, 2]


@pytest.mark.parametrize("together", [True, False])
def test_snapshot_that_begins_again_counts_once_without_key(table: ModelTable, together: bool) -> None:
    def read(offset: int, snapshot: str) -> object:
        return without_key(change(offset, 1, "r", at=90, snapshot=snapshot))

    cut_off = [read(0, "first"), read(1, "true")]
    again = [read(2, "first"), read(3, "true"), read(4, "last")]
    for batch in [cut_off + again] if together else [cut_off, again]:
        table.apply(*batch)  # type: ignore[arg-type]
    assert table.values() == [2, 3, 4]

    # One whose only row is its last is whole each time.
    table.apply(read(5, "last"))  # type: ignore[arg-type]
    assert table.values() == [5]
    assert table.stopped is None


def test_table_that_got_a_key_stops_until_a_new_snapshot(table: ModelTable) -> None:
    table.apply(without_key(change(0, 1)))
    table.apply(change(1, 2))

    assert "has a primary key now" in str(table.stopped)
    table.apply(change(2, 7, "r", snapshot="first"), change(3, 8, "r", snapshot="last", at=30))
    assert table.stopped is None
    assert table.values() == [2, 3]


# Lost records


def test_lost_change_stops_the_table(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 1, "d"), tombstone(2, 1))

    table.restart({0: 4})
    table.apply(change(4, 3))

    assert "Kafka no longer has offsets 3 to 3" in str(table.stopped)
    assert table.dead == [(4, "stopped")]


def test_lost_change_of_an_idle_topic_is_seen(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    assert table.sequencer.continuity.lost() is None

    table.sequencer.log_start[0] = 5

    lost = table.sequencer.continuity.lost()
    assert lost is not None
    assert lost.recovers
    assert "Kafka no longer has offsets 2 to 4" in str(lost)


def test_read_record_that_kafka_drops_afterwards_is_not_lost(table: ModelTable) -> None:
    table.apply(change(0, 1), broken(1))
    table.sequencer.log_start[0] = 2

    assert table.sequencer.continuity.lost() is None


def test_records_dropped_while_the_sink_runs_stop_the_table(table: ModelTable) -> None:
    table.apply(change(0, 1))
    # One of a transaction's own records lies between.
    assert table.sequencer.continuity.has_gap(0, [change(2, 2)])
    table.apply(change(2, 2))
    assert table.stopped is None

    batch = [change(3, 3), change(9, 4), change(10, 5)]
    assert table.sequencer.continuity.has_gap(0, batch)
    table.sequencer.log_start[0] = 9
    table.apply(*batch)

    assert "Kafka no longer has offsets 4 to 8" in str(table.stopped)
    assert table.values() == [0, 2, 3]
    assert table.dead == [(9, "stopped"), (10, "stopped")]
    table.apply(change(11, 1, "r", snapshot="first"), change(12, 4, "r", snapshot="last"))
    assert table.stopped is None


def test_topic_whose_beginning_is_lost_needs_a_snapshot() -> None:
    table = ModelTable({0: 5})
    table.apply(change(5, 1), change(6, 2))

    assert "Kafka no longer has offsets 0 to 4" in str(table.stopped)
    assert table.state is None
    assert table.dead == [(5, "stopped"), (6, "stopped")]

    table.apply(change(7, 1, "r", at=90, snapshot="first"), change(8, 2, "r", at=90, snapshot="last"))
    assert table.stopped is None
    assert table.values() == [7, 8]


def test_topic_whose_beginning_is_lost_may_begin_with_a_snapshot() -> None:
    table = ModelTable({0: 7})
    table.apply(change(7, 1, "r", at=90, snapshot="first"), change(8, 2, "r", at=90, snapshot="last"))

    assert table.stopped is None
    assert table.values() == [7, 8]


@pytest.mark.parametrize(("op", "stops"), [("r", False), ("u", True)])
def test_recreated_topic_must_begin_with_a_snapshot(table: ModelTable, op: str, stops: bool) -> None:
    table.apply(change(0, 1))

    table.open(topic_id="topic of another broker")
    table.apply(change(0, 2, op, at=2000))

    assert (table.stopped is not None) is stops


def test_recreated_topic_may_repeat_what_was_applied(table: ModelTable) -> None:
    sent = [change(0, 1), change(1, 2)]
    table.apply(*sent)

    assert table.open(topic_id="topic-2") == {0: 0}
    table.apply(*sent, change(2, 3))

    assert table.stopped is None
    assert table.values() == [0, 1, 2]


# Snapshots


def test_complete_snapshot_deletes_the_rows_it_did_not_read(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2), change(2, 3))
    table.apply(change(3, 2, "r", at=90, snapshot="first"), change(4, 4, "r", at=90, snapshot="last"))

    assert table.values() == [3, 4]
    assert table.state is not None
    assert table.state.sweep is None


def test_rows_missing_from_a_snapshot_stay_if_that_is_chosen() -> None:
    table = ModelTable(delete_missing=False)
    table.apply(change(0, 1), change(1, 2))
    table.apply(change(2, 2, "r", at=90, snapshot="first"), change(3, 4, "r", at=90, snapshot="last"))

    assert table.values() == [0, 2, 3]


def test_missing_rows_are_deleted_after_a_crash_between_commits(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    steps = table.stepwise(change(2, 2, "r", at=90, snapshot="first"), change(3, 4, "r", at=90, snapshot="last"))
    assert isinstance(next(steps), Commit)
    assert table.values() == [0, 2, 3]

    table.restart()
    table.apply(change(4, 5, at=95))

    assert table.values() == [2, 3, 4]


def test_incomplete_snapshot_does_not_delete_rows(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    table.apply(change(2, 2, "r", at=90, snapshot="first"), change(3, 4, "r", at=90, snapshot="true"))
    table.apply(change(4, 5, at=95))

    assert table.values() == [0, 2, 3, 4]


def test_incremental_snapshot_deletes_nothing(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    table.apply(change(2, 1, "r", at=90, snapshot="incremental"))

    assert table.values() == [1, 2]


def test_snapshot_without_its_first_rows_neither_recovers_nor_deletes(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))

    table.restart({0: 5})
    table.apply(change(5, 2, "r", at=900, snapshot="true"), change(6, 3, "r", at=900, snapshot="last"))
    assert table.stopped is not None
    assert table.values() == [0, 1]

    table.apply(
        change(7, 2, "r", at=950, snapshot="first_in_data_collection"),
        change(8, 3, "r", at=950, snapshot="last"),
    )
    table.apply(change(9, 4, at=960))
    assert table.stopped is None
    assert table.recovered == 1
    assert table.values() == [7, 8, 9]


def test_another_primary_key_stops_the_table_until_a_snapshot(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2), keyed_by(change(2, 2, "u"), "sent_ms"))

    assert table.stopped == "the primary key was (id) and is (sent_ms); take a new snapshot"
    assert table.values() == [0, 1]
    assert table.dead == [(2, "stopped")]

    snapshot = [change(3, 7, "r", snapshot="first", at=90), change(4, 7, "r", snapshot="last", at=90)]
    table.apply(*(keyed_by(record, "sent_ms") for record in snapshot))
    assert table.stopped is None
    assert table.values() == [3, 4]

    # An older snapshot by the former key, as when the topic is read again, replaces nothing.
    table.apply(change(5, 1, "r", snapshot="first", at=5), keyed_by(change(6, 8, at=95), "sent_ms"))
    assert table.stopped is None
    assert table.values() == [3, 4, 6]


def test_what_waits_for_a_snapshot_that_is_asked_for_is_no_dead_letter() -> None:
    table = ModelTable(asks_for_snapshots=True)
    place = {"db": "elsewhere", "table": "journal"}
    table.apply(change(0, 1, **place), keyed_by(change(1, 2, "u", **place), "sent_ms"), change(2, 3, **place))
    assert table.sequencer.waits_for_snapshot
    assert table.sequencer.collection == "elsewhere.journal"
    table.apply(change(3, 4, **place))
    assert (table.values(), table.dead) == ([0], [])

    table.apply(change(4, 7, "r", snapshot="last", at=90, **place))
    assert table.stopped is None
    assert table.values() == [4]


def test_stopped_table_whose_source_is_not_known_waits_for_no_snapshot() -> None:
    table = ModelTable(asks_for_snapshots=True)
    table.apply(change(0, 1), keyed_by(change(1, 2, "u"), "sent_ms"))

    assert not table.sequencer.waits_for_snapshot
    assert table.dead == [(1, "stopped")]


@pytest.mark.parametrize(
    ("before", "stops", "after"),
    [
        (change(0, 1), keyed_by(change(1, 2, "u"), "sent_ms"), lambda record: keyed_by(record, "sent_ms")),
        (change(0, 1), retyped(change(1, 2)), retyped),
        (without_key(change(0, 1)), change(1, 2), lambda record: record),
    ],
    ids=["another key", "another type", "a first key"],
)
def test_snapshot_repairs_what_stopped_the_table_in_its_batch(
    table: ModelTable, before: Record, stops: Record, after: Callable[[Record], Record]
) -> None:
    """As after the sink was down for a while."""
    table.apply(before)

    snapshot = [change(2, 7, "r", at=90, snapshot="first"), change(3, 8, "r", at=90, snapshot="last")]
    table.apply(stops, *map(after, snapshot))

    assert table.stopped is None
    assert table.recovered == 1
    assert table.values() == [2, 3]


# What DDL and snapshots of empty tables say


def test_rows_of_a_former_table_are_deleted(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))

    table.begins_empty(25, at_ms=0)
    assert table.values() == []

    # Changes of the former table still come, behind those of the new one or not.
    table.apply(change(2, 3, at=22), change(3, 4, at=40))
    assert table.values() == [3]
    assert table.skipped == [2]


def test_changes_of_a_former_table_are_skipped_after_a_restart(table: ModelTable) -> None:
    """Also before the sink hears again that the table was recreated."""
    table.apply(change(0, 1))
    table.begins_empty(25, at_ms=100)

    table.restart()
    table.apply(change(1, 2), change(2, 3, at=30))
    table.begins_empty(25, at_ms=100)

    assert table.values() == [2]
    assert table.skipped == [1]


def test_statements_of_a_replaced_log_delete_nothing(table: ModelTable) -> None:
    """The server's logs were reset since: positions are small again, and the statement is told at each start."""
    table.apply(change(0, 1, at=5_000_000))
    table.begins_empty(6_000_000, at_ms=100)
    snapshot = change(1, 2, "r", snapshot="last", at=7, ts_ms=9000)._replace(timestamp_ms=9001)
    table.apply(snapshot)

    table.restart()
    table.begins_empty(6_000_000, at_ms=100)
    table.apply(change(2, 3, at=20, ts_ms=9100))
    assert table.stopped is None
    assert table.values() == [1, 2]

    # One of the new log counts.
    table.begins_empty(30, at_ms=9200)
    assert table.values() == []


def test_newer_change_before_a_recreated_table_stops_it(table: ModelTable) -> None:
    """The log went back since the table was created."""
    table.begins_empty(5_000_000, at_ms=100)
    table.apply(change(0, 1, at=7, ts_ms=9000))

    assert "the source's log went back" in str(table.stopped)


def test_recreated_table_may_have_another_key_or_none(table: ModelTable) -> None:
    table.apply(change(0, 1), change(1, 2))
    table.begins_empty(25, at_ms=0)

    table.apply(without_key(change(2, 1)), without_key(change(3, 1)))

    assert (table.stopped, table.dead) == (None, [])
    assert table.values() == [2, 3]


def test_table_that_lost_its_key_stops_until_a_snapshot(table: ModelTable) -> None:
    place = {"db": "elsewhere", "table": "journal"}
    table.apply(change(0, 1, **place), without_key(change(1, 2, **place)))
    assert table.stopped == "the source's table has no primary key any more; take a new snapshot"

    snapshot = without_key(change(2, 3, "r", snapshot="last", at=90, **place))
    table.apply(snapshot)
    assert table.stopped is None
    assert table.values() == [2]


def test_table_created_twice_in_the_log_is_emptied_once(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.begins_empty(25, at_ms=0)
    table.restart()

    assert table.sequencer.begins_empty(Position(25, 0), 0) == []
    assert table.sequencer.begins_empty(Position(20, 0), 0) == []
    assert len(table.sequencer.begins_empty(Position(26, 0), 0)) == 1


def test_table_that_was_never_made_has_nothing_to_delete(table: ModelTable) -> None:
    assert table.sequencer.begins_empty(Position(25, 0), 0) == []


def test_rows_reflect_ddl_before_the_newest_snapshot_began(table: ModelTable) -> None:
    assert table.sequencer.reflected is None
    table.apply(change(0, 1, "r", at=90, snapshot="first"))
    reflected = table.sequencer.reflected

    assert reflected is not None
    assert Position(90, 5) < reflected < Position(91, 0)


# Stopping


def test_stopped_table_sends_changes_to_the_dead_letters(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.stop(StoppedError("told to"))
    table.apply(change(1, 2), change(2, 3, "d"), tombstone(3, 3))

    assert table.dead == [(1, "stopped"), (2, "stopped")]
    assert table.state is not None
    assert table.state.offsets == {0: 0}


def test_snapshot_does_not_repair_what_it_cannot(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.stop(StoppedError("the table was not made by this sink"))
    table.apply(change(1, 2, "r", snapshot="first"), change(2, 3, "r", snapshot="last"))

    assert table.stopped is not None
    assert table.values() == [0]


def test_incompatible_column_stops_the_table_until_a_snapshot(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.apply(retyped(change(1, 2, note="x")), change(2, 3))

    assert table.stopped is not None
    assert "take a new snapshot" in table.stopped
    assert table.values() == [0]

    snapshot = [change(3, 2, "r", at=90, snapshot="first"), change(4, 3, "r", at=90, snapshot="last")]
    table.apply(*(retyped(record) for record in snapshot))
    assert table.stopped is None
    assert table.values() == [3, 4]


def test_open_gives_a_stopped_table_another_try(table: ModelTable) -> None:
    table.apply(change(0, 1))
    table.stop(StoppedError("told to"))
    table.apply(change(1, 2))

    assert table.open() == {0: 1}
    table.apply(change(1, 2))

    assert table.values() == [0, 1]
