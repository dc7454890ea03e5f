"""One table from records to Delta, with the embedded engine: it is a library and needs no stack."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from prometheus_client import REGISTRY
from sink_model import TOPIC, broken, change, tombstone, without_key

from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.events import Position
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.state import State


@pytest.fixture
def settings(tmp_path: Path) -> SinkSettings:
    return SinkSettings(
        tables=str(tmp_path), table_path="{table}", table_properties={"delta.enableChangeDataFeed": "true"}
    )


def applier(settings: SinkSettings) -> Applier:
    """A table's applier as a new process makes it."""
    writer = DeltaRsWriter(settings.location_of(TOPIC), settings.retention_seconds)
    return Applier(settings, TOPIC, writer, DeadLetters(settings.dead_letters))


@pytest.fixture
def table(settings: SinkSettings) -> Applier:
    table = applier(settings)
    assert table.open("topic-1", {0: 0}) == {0: 0}
    return table


def rows(table: Applier) -> list[int]:
    return sorted(DeltaTable(str(table.location)).to_pyarrow_table(columns=["sent_ms"])["sent_ms"].to_pylist())


def dead_letters(settings: SinkSettings) -> list[dict[str, Any]]:
    path = str(settings.dead_letters)
    if not DeltaTable.is_deltatable(path):
        return []
    return sorted(DeltaTable(path).to_pyarrow_table().to_pylist(), key=lambda one: int(one["offset"]))


def metric(name: str, table: Applier, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"table": table.name} | labels)


def test_changes_reach_the_table(table: Applier) -> None:
    table.apply(0, [change(0, 1), change(1, 2)])
    table.apply(0, [change(2, 1, "u"), change(3, 2, "d"), tombstone(4, 2)])

    assert rows(table) == [2]
    assert table.applied == {0: 5}


def test_new_process_goes_on_where_the_table_says(table: Applier, settings: SinkSettings) -> None:
    table.apply(0, [change(0, 1), change(1, 2)])

    restarted = applier(settings)

    assert restarted.open("topic-1", {0: 0}) == {0: 2}
    assert restarted.sequencer.state == table.sequencer.state
    assert restarted.sequencer.columns == table.sequencer.columns


def test_deltas_transaction_says_where_to_go_on_behind_others(table: Applier, settings: SinkSettings) -> None:
    table.apply(0, [without_key(change(0, 1)), without_key(change(1, 2))])
    others = DeltaTable(str(table.location))
    for number in range(201):
        others.alter.set_table_description(f"note {number}")
    assert not any("userMetadata" in commit for commit in others.history(200))

    restarted = applier(settings)

    assert restarted.open("topic-1", {0: 0}) == {0: 2}
    restarted.apply(0, [without_key(change(offset, 1)) for offset in range(3)])
    assert rows(table) == [0, 1, 2]
    assert restarted.stopped is None


def test_failed_commit_does_not_count(table: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    table.apply(0, [change(0, 1)])
    with monkeypatch.context() as failing:
        failing.setattr(table.writer, "upsert", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            table.apply(0, [change(1, 2)])
    assert table.applied == {0: 1}

    table.open("topic-1", {0: 0})
    table.apply(0, [change(1, 2), change(2, 3)])

    assert rows(table) == [0, 1, 2]


def test_commit_that_was_not_noticed_counts_once(table: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process is killed right behind it."""
    with monkeypatch.context() as failing:
        failing.setattr(table.sequencer, "committed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            table.apply(0, [without_key(change(0, 1)), without_key(change(1, 1))])

    assert table.open("topic-1", {0: 0}) == {0: 2}
    assert rows(table) == [0, 1]


def test_dead_letter_is_written_before_the_commit_that_passes_it(
    table: Applier, settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table.sequencer, "committed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        table.apply(0, [change(0, 1), broken(1), change(2, 2), broken(3)])

    assert applier(settings).open("topic-1", {0: 0}) == {0: 4}
    assert [one["offset"] for one in dead_letters(settings)] == [1, 3]


def test_dead_letter_is_written_once(table: Applier, settings: SinkSettings) -> None:
    table.apply(0, [broken(0), broken(1)])
    again = applier(settings)
    again.open("topic-1", {0: 0})
    again.apply(0, [broken(0), broken(1), broken(2)])

    [first, _, _] = dead_letters(settings)
    assert [one["offset"] for one in dead_letters(settings)] == [0, 1, 2]
    assert (first["topic"], first["table"], first["reason"]) == (TOPIC, "journal", "not_json")
    assert first["value"] == b"{this is no JSON"


def test_stopped_table_says_why(settings: SinkSettings) -> None:
    table = applier(settings.model_copy(update={"without_key": "stop"}))
    table.open("topic-1", {0: 0})
    table.apply(0, [without_key(change(0, 1)), without_key(change(1, 1))])

    assert str(table.stopped) == "the table has no primary key"
    assert not DeltaTable.is_deltatable(str(table.location))
    assert [(one["offset"], one["reason"], one["detail"]) for one in dead_letters(settings)] == [
        (offset, "stopped", "the table has no primary key") for offset in (0, 1)
    ]
    assert metric("cdc_sink_table_stopped", table) == 1


def test_stopped_table_that_somebody_changed_is_worth_a_try(table: Applier) -> None:
    table.apply(0, [without_key(change(0, 1))])
    table.apply(0, [change(1, 2)])
    assert table.stopped is not None
    assert not table.was_repaired()

    DeltaTable(str(table.location)).alter.set_table_description("repaired")

    assert table.was_repaired()


def test_recreated_topic_starts_over_with_the_rows_that_are_there(table: Applier) -> None:
    table.apply(0, [change(0, 1), change(1, 2)])

    assert table.open("topic-2", {0: 0}) == {0: 0}
    table.begins_empty(Position(25, 0), 0)

    assert rows(table) == []


def test_rows_of_a_former_table_are_deleted(table: Applier, settings: SinkSettings) -> None:
    table.apply(0, [change(0, 1), change(1, 2), change(2, 3)])
    table.begins_empty(Position(25, 0), 0)
    assert rows(table) == [2]

    restarted = applier(settings)
    restarted.open("topic-1", {0: 0})
    assert restarted.sequencer.state is not None
    assert restarted.sequencer.state.ddl == Position(25, 0)


def test_missing_rows_are_deleted_at_the_next_start(table: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink was killed behind a complete snapshot, and the table may be idle from then on."""
    table.apply(0, [change(0, 1), change(1, 2)])
    snapshot = [change(2, 2, "r", at=90, snapshot="first"), change(3, 4, "r", at=90, snapshot="last")]
    with monkeypatch.context() as failing:
        failing.setattr(table.writer, "delete_older", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            table.apply(0, snapshot)
    assert rows(table) == [0, 2, 3]

    table.open("topic-1", {0: 0})

    assert rows(table) == [2, 3]


def test_records_without_effect_are_not_missed_once_kafka_has_removed_them(
    table: Applier, settings: SinkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.apply(0, [change(0, 1)])
    # A delete of no row, its tombstone, and a change that was applied before.
    table.apply(0, [change(1, 9, "d"), tombstone(2, 9), change(3, 1, at=5)])
    assert not table.progress_is_due()
    monkeypatch.setattr("cdc_workstation.sink.applier._IDLE_SECONDS", 0.0)
    assert table.progress_is_due()
    table.record_progress()
    assert not table.progress_is_due()

    restarted = applier(settings)

    assert restarted.open("topic-1", {0: 4}) == {0: 4}
    assert restarted.sequencer.continuity.lost() is None
    assert restarted.sequencer.open("topic-1", {0: 5}, restarted.sequencer.state, None)
    assert "offsets 4 to 4" in str(restarted.sequencer.continuity.lost())


def test_records_of_a_stopped_table_never_count_as_read(table: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_workstation.sink.applier._IDLE_SECONDS", 0.0)
    table.apply(0, [without_key(change(0, 1))])
    table.apply(0, [change(1, 2)])

    assert table.stopped is not None
    assert not table.progress_is_due()


def test_changed_retention_reaches_tables_that_exist(table: Applier, settings: SinkSettings) -> None:
    table.apply(0, [change(0, 1)])

    applier(settings.model_copy(update={"retention_seconds": 7200})).open("topic-1", {0: 0})

    found = DeltaTable(str(table.location)).metadata().configuration
    assert found["delta.deletedFileRetentionDuration"] == found["delta.logRetentionDuration"] == "interval 7200 seconds"


def test_lag_grows_while_records_wait(table: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()

    def lag_after(seconds: float, offsets: int) -> float | None:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        table.show_lag(offsets)
        return metric("cdc_sink_lag_seconds", table)

    table.sequencer.open("topic-1", {0: 0}, State(ts_ms=int(now * 1000) - 3_600_000), None)
    lag_after(0, 0)
    # It was quiet for an hour: that is no lag.
    before = metric("cdc_sink_lag_seconds", table)
    assert lag_after(5, 1) == before
    assert lag_after(35, 2) == pytest.approx(30)
    # What is applied meanwhile counts.
    table.sequencer.open("topic-1", {0: 0}, State(ts_ms=int((now + 38) * 1000)), None)
    assert lag_after(40, 2) == pytest.approx(2, abs=0.01)
