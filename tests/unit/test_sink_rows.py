"""The rows of a commit, and what the lag of a table says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.events import Decoder, Event, Record
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.table import Dead, State, Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(SinkSettings(tables=str(tmp_path)), "debezium.db.rows")


def decoded(offset: int, sent_ms: int) -> Event:
    key, value = event({"id": offset, "sent_ms": sent_ms, "note": None}, offset + 1)
    found = Decoder().decode(Record("debezium.db.rows", 0, offset, 0, key, value))
    assert isinstance(found, Event)
    return found


def test_a_number_that_is_too_large_for_its_type_is_set_aside_and_the_others_stay(table: Table) -> None:
    table.columns = {}
    events = [decoded(0, 1), decoded(1, 2**70), decoded(2, 3)]
    dead: list[Dead] = []

    rows, _ = table._rows(events, events[0].schema, ("id",), dead)

    assert rows["sent_ms"].to_pylist() == [1, 3]
    assert [(record.offset, reason) for record, reason, _ in dead] == [(1, "value")]


def test_a_row_that_lacks_a_value_of_its_old_key_is_set_aside(table: Table) -> None:
    table.columns = {}
    moved = decoded(0, 1)
    moved.op, moved.kept = "c", frozenset({"note"})
    dead: list[Dead] = []

    rows, _ = table._rows([moved, decoded(1, 2)], moved.schema, ("id",), dead)

    assert rows["sent_ms"].to_pylist() == [2]
    assert [(record.offset, reason) for record, reason, _ in dead] == [(0, "unavailable")]


def test_the_lag_grows_while_records_wait(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()

    def lag_after(seconds: float, offsets: int) -> float | None:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        table.show_lag(offsets)
        return REGISTRY.get_sample_value("cdc_sink_lag_seconds", {"table": table.name})

    table.state = State(ts_ms=int(now * 1000) - 3_600_000)
    assert lag_after(0, 0) is None
    # It was quiet for an hour: that is no lag.
    assert lag_after(5, 1) is None
    assert lag_after(35, 2) == pytest.approx(30)
    # What is applied meanwhile counts.
    table.state = State(ts_ms=int((now + 38) * 1000))
    assert lag_after(40, 2) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(("op", "stops"), [("r", False), ("u", True)])
def test_a_topic_that_was_made_anew_may_begin_with_a_snapshot_alone(table: Table, op: str, stops: bool) -> None:
    # As the canary's does, where the broker has lost its data or is another.
    table.open("topic of another broker", {0: 0})
    table.state = State(positions={0: decoded(0, 1000).position}, keyed=True)
    row = {"id": 0, "sent_ms": 2000, "note": "canary"}

    table._check_anew(0, [Record(table.topic, 0, 0, 0, *event(row, 2_000_000, op))])

    assert (table.stopped is not None) is stops
