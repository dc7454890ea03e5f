"""The source's side of a comparison: what a database server is asked, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cdc_workstation.verify.canonical import Value
from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.values import CanonicalRow, Family, from_source

# Rows that are fetched, and converted, at a time.
CHUNK = 5_000
# Keys of one query.
KEYS = 500


class NotComparableError(Exception):
    """A table cannot be compared; the text says why and what to do."""


class WithoutKeyError(NotComparableError):
    """A table without a primary key has its changes in Delta and not its rows; the text says what to do."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of a source's table.

    Attributes:
        name: its name.
        type: its type, as the database names it.
        family: what its values are compared as.
        expression: what to select, in SQL.
        is_captured: whether Debezium captures columns of this type at all.
    """

    name: str
    type: str
    family: Family
    expression: str
    is_captured: bool = True


@dataclass(frozen=True)
class SourceTable:
    """A table of a source: its columns in their order, and those of its primary key (none if it has no key)."""

    name: TableName
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]


class SourceDatabase(Protocol):
    """One database server that is captured; each query sees one state of the database."""

    def tables(self, connector: Connector) -> dict[TableName, int]:
        """Return the tables that a connector captures, with the number of rows that the database estimates."""

    def describe(self, table: TableName) -> SourceTable:
        """Return a table's columns and key.

        Raises:
            NotComparableError: there is no such table, or it may not be read.
        """

    def rows(
        self,
        table: SourceTable,
        columns: Sequence[SourceColumn],
        keys: Sequence[CanonicalRow] | None = None,
        key: Sequence[SourceColumn] = (),
    ) -> Iterator[list[CanonicalRow]]:
        """Yield all rows in chunks, or those of some keys; all rows are read as they are at one moment.

        Raises:
            NotComparableError: the table is gone or has changed its columns.
        """

    def position(self) -> str:
        """Return a position in the database's log that no change lies behind which a query has shown so far."""

    def has_passed(self, offset: Mapping[str, Any], position: str) -> bool:
        """Tell whether a connector whose offset this is has sent everything up to a position."""

    def close(self) -> None:
        """Close the connection."""


def can_look_up(families: Sequence[Family]) -> bool:
    """Tell whether rows can be asked for by keys of these families; others are found by reading the table."""
    return bool(families) and all(family.kind in ("number", "finite", "text") for family in families)


def chunks(rows: Iterator[Sequence[tuple[Any, ...]]], columns: Sequence[SourceColumn]) -> Iterator[list[CanonicalRow]]:
    """Yield chunks of rows in canonical text."""
    for chunk in rows:
        if not columns:
            yield [()] * len(chunk)
            continue
        converted = [
            from_source(column.family, values) for column, values in zip(columns, zip(*chunk, strict=True), strict=True)
        ]
        yield list(zip(*converted, strict=True))


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _literal(family: Family, value: Value) -> tuple[str, list[str]]:
    """Return a key's value in SQL, and its parameter if it has one: a number stays exact as a literal."""
    if family.kind in ("number", "finite") and value is not None and _NUMBER.fullmatch(value):
        return value, []
    return "%s", [str(value)]


def condition(quoted: Sequence[str], families: Sequence[Family], keys: Sequence[CanonicalRow]) -> tuple[str, list[str]]:
    """Return an SQL condition that holds for rows with these keys, with `%s` for its parameters, and those."""
    rows, parameters = [], []
    for key in keys:
        literals = [_literal(family, value) for family, value in zip(families, key, strict=True)]
        rows.append("(" + ", ".join(text for text, _ in literals) + ")")
        parameters += [value for _, values in literals for value in values]
    return f"({', '.join(quoted)}) IN ({', '.join(rows)})", parameters
