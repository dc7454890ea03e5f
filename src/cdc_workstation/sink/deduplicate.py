"""Many changes of one key in a batch: only the latest by log position counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdc_workstation.sink.events import Event


def deduplicate(events: Iterable[Event]) -> list[Event]:
    """Return the latest event of each key, by log position; of equal ones the later in Kafka.

    A column that an update does not carry because it did not change (PostgreSQL's TOAST) takes the value of the key's
    event before; if there is none in `events` it stays in the event's `unavailable`. An update that changes the key is
    a delete and a create at one position: its values are those of the old key.
    """
    last: dict[tuple[Any, ...], Event] = {}
    moved: tuple[Event, Event] | None = None
    for event in events:
        if event.key is None:
            raise ValueError("an event without key cannot be deduplicated")
        before = last.get(event.key)
        if before is not None and event.position < before.position:
            continue
        if event.is_delete:
            moved = (event, before) if before is not None else None
        elif event.op == "c" and moved is not None and moved[0].position == event.position:
            before = moved[1]
        if event.unavailable and before is not None and not before.is_delete and before.raw and event.raw:
            carried = {name: before.raw.get(name) for name in event.unavailable if name not in before.unavailable}
            event.raw = {**event.raw, **carried}
            event.unavailable = event.unavailable & before.unavailable
            if event.unavailable and before.op == "c":
                event.op = "c"
        last[event.key] = event
    return list(last.values())
