"""Many changes of one key in a batch: only the latest by log position counts."""

from __future__ import annotations

from typing import Any

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.decoder import Decoder
from cdc_workstation.sink.deduplicate import deduplicate
from cdc_workstation.sink.events import Event, Record
from cdc_workstation.sink.unavailable import UNAVAILABLE


def decoded(row: dict[str, Any], moment: int, op: str = "u") -> Event:
    """An event as PostgreSQL's: the connector alone that leaves values out."""
    found = Decoder().decode(
        Record("debezium.db.t", 0, moment, 0, *event({"sent_ms": 0, "note": None} | row, moment, op))
    )
    assert isinstance(found, Event)
    found.unavailable = frozenset(name for name, value in row.items() if value == UNAVAILABLE)
    return found


def test_latest_change_of_a_key_by_log_position_remains() -> None:
    events = [
        decoded({"id": 1, "note": "a"}, 10),
        decoded({"id": 2, "note": "b"}, 11),
        decoded({"id": 1, "note": "c"}, 30),
        decoded({"id": 1, "note": "older"}, 20),
        decoded({"id": 2}, 12, op="d"),
    ]

    remaining = {one.key: one for one in deduplicate(events)}

    assert remaining[(1,)].raw is not None
    assert remaining[(1,)].raw["note"] == "c"
    assert remaining[(2,)].is_delete


def test_unavailable_value_is_taken_from_the_event_before() -> None:
    events = [decoded({"id": 1, "note": "long"}, 1), decoded({"id": 1, "note": UNAVAILABLE, "sent_ms": 5}, 2)]

    [only] = deduplicate(events)

    assert only.raw == {"id": 1, "note": "long", "sent_ms": 5}
    assert only.unavailable == frozenset()


def test_unavailable_value_without_an_event_before_is_the_tables() -> None:
    [only] = deduplicate([decoded({"id": 1, "note": UNAVAILABLE}, 2)])

    assert only.unavailable == {"note"}


def test_changed_key_takes_the_values_of_the_old_one_along() -> None:
    events = [
        decoded({"id": 1, "note": "long"}, 1),
        decoded({"id": 1}, 2, "d"),
        decoded({"id": 2, "note": UNAVAILABLE, "sent_ms": 5}, 2, "c"),
        decoded({"id": 2, "note": UNAVAILABLE, "sent_ms": 6}, 3),
    ]

    deleted, moved = deduplicate(events)

    assert deleted.is_delete
    assert moved.raw == {"id": 2, "note": "long", "sent_ms": 6}
    assert moved.unavailable == frozenset()


def test_changed_key_without_the_old_row_still_lacks_its_values() -> None:
    events = [
        decoded({"id": 1}, 2, "d"),
        decoded({"id": 2, "note": UNAVAILABLE}, 2, "c"),
        decoded({"id": 2, "note": UNAVAILABLE}, 3),
    ]

    assert [(one.op, one.unavailable) for one in deduplicate(events)] == [("d", frozenset()), ("c", {"note"})]
