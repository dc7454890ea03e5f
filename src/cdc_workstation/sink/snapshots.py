"""Recognises snapshots among a table's events: where one begins, and whether it replaces what was applied."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_workstation.sink.events import Event, Position
from cdc_workstation.sink.state import State


def is_last(found: Event) -> bool:
    """Whether an event is marked as the last row of a snapshot, which may be the only one."""
    return found.op == "r" and found.snapshot.startswith("last")


def begins(found: Event, before: Event | None) -> bool:
    """Whether an event is the first row of a snapshot: marked so, or the last one and alone.

    Args:
        found: the event.
        before: the event right before it in its partition, `None` if there is none.
    """
    if not is_last(found):
        return found.op == "r" and found.snapshot.startswith("first")
    return (
        before is None
        or before.op != "r"
        or before.position.order != found.position.order
        or before.snapshot.startswith("last")
    )


def replaces(
    found: Event, events: Sequence[Event], state: State | None, high: Position | None, *, is_whole: bool
) -> bool:
    """Whether a snapshot takes the place of what was applied, by another key or a second time.

    Args:
        found: its first row.
        events: what is about to be applied before it.
        state: what was applied.
        high: the greatest position so far.
        is_whole: whether the topic has one partition: of several each has some of a snapshot's rows, and what one
            begins says nothing about the others.
    """
    known = state.keys if state else None
    if known is not None and found.key_schema is not None and found.key_schema.names != known:
        return high is None or found.position >= high
    # Its rows have one position, so those of a snapshot that was cut off and begins again look like more of them.
    # Without a key, another snapshot has all rows once more.
    again = high is not None and found.position >= high
    return is_whole and again and _has_no_key(found, events, state)


def is_repeated(found: Event, events: Sequence[Event], state: State | None) -> bool:
    """Whether a change at the last position, of a table without primary key, is that change once more.

    Each of MySQL's changes has a position of its own, unlike the rows of a snapshot and those of PostgreSQL's COPY.
    """
    return _has_no_key(found, events, state) and found.op in "cud" and found.connector != "postgresql"


def _has_no_key(found: Event, events: Sequence[Event], state: State | None) -> bool:
    keyed = state.keyed if state else any(event.key is not None for event in events)
    return not keyed and found.key is None
