"""What remains of many changes: for each key the last one by log position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdc_workstation.sink.events import Event


def fold(events: Iterable[Event]) -> list[Event]:
    """Return the last event of each key, by log position; of equal ones the later in Kafka.

    A column that an update does not carry because it did not change (PostgreSQL's TOAST) takes the value of the key's
    event before; where there is none in `events` it stays in the event's `kept`. An update that changes the key is a
    delete and a create at one position: its values are those of the old key.
    """
    last: dict[tuple[Any, ...], Event] = {}
    moved: tuple[Event, Event] | None = None
    for event in events:
        if event.key is None:
            raise ValueError("an event without key cannot be folded")
        before = last.get(event.key)
        if before is not None and event.position < before.position:
            continue
        if event.is_delete:
            moved = (event, before) if before is not None else None
        elif event.op == "c" and moved is not None and moved[0].position == event.position:
            before = moved[1]
        if event.kept and before is not None and not before.is_delete and before.raw and event.raw:
            carried = {name: before.raw.get(name) for name in event.kept if name not in before.kept}
            event.raw = {**event.raw, **carried}
            event.kept = event.kept & before.kept
            if event.kept and before.op == "c":
                event.op = "c"
        last[event.key] = event
    return list(last.values())
