"""Something that happened to a table of a source, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cdc_workstation.sink.events import Position

Kind = Literal["created", "replaced", "rows_changed", "altered", "dropped", "snapshot_empty", "unparsed"]


@dataclass(frozen=True)
class ColumnDefinition:
    """A column after the statement."""

    name: str
    type: str
    optional: bool
    default: str | None
    """The default as the source writes it; None also if it is an expression (MySQL)."""
    enum_values: tuple[str, ...] | None = None
    """Literals with their quotes, as MySQL writes them."""
    missing: str | None = None
    """PostgreSQL: the value as text that rows have which are older than the column."""


@dataclass(frozen=True)
class TableChange:
    """Something that happened to a table."""

    topic: str
    """The table's topic; ends in `.*` if all tables of a database are gone."""
    kind: Kind
    position: Position | None
    """Where in the source's log; None for an empty snapshot whose notification does not say."""
    timestamp_ms: int
    """Kafka's timestamp of the record."""
    source_id: int | None
    """PostgreSQL's oid of the table."""
    columns: tuple[ColumnDefinition, ...] | None
    snapshot: bool
    """Whether a snapshot wrote it, which tells the table's definition and nothing else."""
    detail: str
    """A sentence for people."""
    namespace: str = ""
    """The table's database (MySQL) or schema, and its name, as the source writes them."""
    table: str = ""
    added: tuple[str, ...] = ()
    """Columns that the statement adds. If Delta has one already (it was dropped before), old rows have wrong values."""
    dropped: tuple[str, ...] = ()
