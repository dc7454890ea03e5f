"""What remains of many changes: for each key the last one by log position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdc_workstation.sink.events import Event


def fold(events: Iterable[Event]) -> list[Event]:
    """Return the last event of each key, by log position; of equal ones the later in Kafka.

    A column that an update does not carry because it did not change (PostgreSQL's TOAST) takes the value of the key's
    event before; where there is none in `events` it stays in the event's `kept`.
    """
    last: dict[tuple[Any, ...], Event] = {}
    for event in events:
        if event.key is None:
            raise ValueError("an event without key cannot be folded")
        before = last.get(event.key)
        if before is not None:
            if event.position < before.position:
                continue
            if event.kept and not before.is_delete and before.raw is not None and event.raw is not None:
                carried = {name: before.raw.get(name) for name in event.kept if name not in before.kept}
                event.raw = {**event.raw, **carried}
                event.kept = event.kept & before.kept
        last[event.key] = event
    return list(last.values())
