"""Change events as plain data: what a record does to a row, and where in the source's log that was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cdc_workstation.sink.columns import Column, column

# A tombstone alone is later than everything before it in its partition.
AFTER_ALL = 2**63 - 1


class MalformedError(ValueError):
    """The record is no change event that can be applied; `reason` is one word for statistics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Position(NamedTuple):
    """A place in the source's log; later changes of a key have greater ones.

    MySQL: the binlog file's number and the event's position in it (`order`), the row's index in the event
    (`suborder`). PostgreSQL: the LSN of the last commit before the change's transaction, the LSN of the change; rows of
    a snapshot have its LSN and 0. Both never decrease along a partition, unlike PostgreSQL's bare LSN where
    transactions overlap.
    """

    order: int
    suborder: int

    def after(self, order: int) -> Position:
        """Return the position of PostgreSQL's change that follows one with `order`.

        The first transaction behind a snapshot knows no commit before it, or one from before the snapshot. It may have
        begun before, too, and comes after the snapshot's rows all the same.
        """
        if self.order < order and (not self.order or self.suborder > order):
            return Position(order, self.suborder)
        return self if self.order else Position(self.suborder, self.suborder)


class Record(NamedTuple):
    """What Kafka holds."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, eq=False)
class RowSchema:
    """The columns of a captured table, as one version of its events has them."""

    columns: tuple[Column, ...]
    by_name: dict[str, Column] = field(repr=False)

    @classmethod
    def of(cls, fields: list[dict[str, Any]]) -> RowSchema:
        """Read a Connect struct schema's fields."""
        columns = tuple(column(one) for one in fields)
        return cls(columns, {one.name: one for one in columns})

    @property
    def names(self) -> list[str]:
        """The columns' names, in the source's order."""
        return [one.name for one in self.columns]


@dataclass(slots=True)
class Event:
    """One change of one row (or, if `op` is `t`, of all)."""

    record: Record
    op: str
    position: Position
    source_position: str
    """The GTID or LSN, for people."""
    ts_ms: int
    snapshot: str
    schema: RowSchema | None
    key_schema: RowSchema | None
    key: tuple[Any, ...] | None
    raw: dict[str, Any] | None
    """The row after the change (before a delete), as JSON."""
    connector: str = ""
    unavailable: frozenset[str] = frozenset()
    """Columns whose value the event does not carry because it did not change."""
    begins: bool = False
    """Whether it is the first row of a snapshot."""
    resets: bool = False
    """Whether a complete snapshot begins here that replaces what was applied before."""
    collection: str = ""
    """The table as the source names it, `database.table` or `schema.table`; empty if the event does not say."""

    @property
    def is_delete(self) -> bool:
        """Whether the row is gone afterwards."""
        return self.op == "d"


@dataclass(slots=True)
class Tombstone:
    """A record without value: the key is gone. Debezium writes one after each delete."""

    record: Record
    key_schema: RowSchema
    key: tuple[Any, ...]
