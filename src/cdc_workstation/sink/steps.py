"""What the sequencer decides: the steps that an applier carries out, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cdc_workstation.sink.events import Event, Position, Record, RowSchema
from cdc_workstation.sink.schema import Change
from cdc_workstation.sink.state import State


class StoppedError(Exception):
    """The table takes no more changes; `recovers` says whether a new snapshot repairs it."""

    def __init__(self, detail: str, *, recovers: bool = False) -> None:
        super().__init__(detail)
        self.recovers = recovers


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be applied, the reason in a word, and in a sentence."""

    record: Record
    reason: str
    detail: str


@dataclass
class Commit:
    """Rows to write in one commit, together with the state that it reaches."""

    partition: int
    state: State
    events: list[Event]
    """The changes, all of them."""
    rows: list[Event]
    """The changes that are left of them: the latest of each key, or all if there is no key."""
    schema: RowSchema | None
    """The rows' columns; `None` if there are deletes alone, whose events carry no row."""
    keys: tuple[str, ...]
    mode: Literal["append", "upsert", "insert"]
    """`append`: nothing to compare with; `insert`: rows that are there are of the same snapshot, and equal."""
    creates: bool
    replaces: bool
    """Whether the new table takes the place of one that cannot hold the columns."""
    change: Change
    transaction: bool = False
    """Whether the commit carries Delta's own transaction, too."""
    dead_letters: list[DeadLetter] = field(default_factory=list)


@dataclass
class DeleteOlder:
    """Rows to delete: those before a position, or all."""

    partition: int
    state: State
    position: Position | None = None
    events: list[Event] = field(default_factory=list)
    transaction: bool = False
    dead_letters: list[DeadLetter] = field(default_factory=list)


@dataclass
class Skipped:
    """An event that is older than what the table has."""

    event: Event


@dataclass
class Stopped:
    """From here on records become dead letters."""

    error: StoppedError


@dataclass
class Recovered:
    """A new snapshot begins: the table takes changes again."""


Step = Commit | DeleteOlder | Skipped | Stopped | Recovered | list[DeadLetter]
