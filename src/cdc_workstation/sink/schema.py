"""Schema changes: what a table needs to take the events' columns, or why it cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.columns import Column, sql_type, widened
from cdc_workstation.sink.events import RowSchema
from cdc_workstation.sink.values import MYSQL, YEAR_OF_ZERO, ValueConversionError

METADATA: dict[str, pa.DataType] = {
    "_cdc_op": pa.string(),
    "_cdc_ts_ms": pa.int64(),
    "_cdc_position": pa.string(),
    "_cdc_order": pa.int64(),
    "_cdc_suborder": pa.int64(),
}


# What is not the same in a literal and in its value.
_LITERAL = re.compile(r"['\\]")


class IncompatibleError(Exception):
    """The table cannot hold what the source has now."""


@dataclass(frozen=True)
class Fill:
    """What the rows that exist get in a column."""

    column: str
    value: Any = None
    """As the Arrow type of the column takes it; `None` is NULL."""
    source: str | None = None
    """The column whose value they get instead: the column was renamed."""


@dataclass
class Change:
    """What to do before rows of a new schema are applied."""

    added: dict[str, pa.DataType] = field(default_factory=dict)
    retyped: dict[str, pa.DataType] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """New columns whose values in rows that exist only the source knows."""

    def __bool__(self) -> bool:
        return bool(self.added or self.retyped or self.fills)

    @property
    def renamed(self) -> dict[str, str]:
        """New name to old name of the columns that were renamed."""
        return {one.column: one.source for one in self.fills if one.source is not None}

    def applied_to(self, columns: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
        """Return the table's columns after the change."""
        return columns | self.added | self.retyped


def needed(table: dict[str, pa.DataType], schema: RowSchema, previous: Sequence[str] | None, connector: str) -> Change:
    """Compare a table with the columns of an event.

    Args:
        table: the table's columns, metadata included.
        schema: the event's columns.
        previous: the columns' names in the event before, in the source's order; `None` if that is not known. A column
            whose place in it is taken by a new one of the same type counts as renamed.
        connector: which connector wrote the event: MySQL fills columns that may not be NULL.

    Raises:
        IncompatibleError: a type can neither be kept nor widened, or names collide.
    """
    change = Change()
    lower = {name.lower(): name for name in table}
    if len({name.lower() for name in schema.names}) < len(schema.names):
        raise IncompatibleError("two columns differ in upper and lower case only")
    new: list[Column] = []
    returned: set[str] = set()
    for one in schema.columns:
        if one.name in METADATA:
            raise IncompatibleError(f"column {one.name} has the name of one that the sink adds")
        if one.name not in table:
            if one.name.lower() in lower:
                raise IncompatibleError(f"columns {one.name} and {lower[one.name.lower()]} differ in case only")
            change.added[one.name] = one.type
            new.append(one)
            continue
        target = widened(table[one.name], one.type)
        if target is None:
            raise IncompatibleError(
                f"column {one.name} changed from {sql_type(table[one.name])} to {sql_type(one.type)}"
            )
        if target != table[one.name]:
            change.retyped[one.name] = target
        if previous and one.name not in previous:
            # Dropped and added again, or added by a sink that was killed before it had filled the column.
            returned.add(one.name)
            new.append(one)
    renamed = _renamed(table, schema, previous or [], {one.name for one in new})
    for one in new:
        fill = _fill(one, renamed.get(one.name), connector)
        if fill.source is not None or fill.value is not None or one.name in returned:
            change.fills.append(fill)
        if fill.source is None and is_computed(one, connector):
            change.unknown.append(one.name)
    return change


def _renamed(
    table: dict[str, pa.DataType], schema: RowSchema, previous: Sequence[str], new: set[str]
) -> dict[str, str]:
    names = schema.names
    if not new or len(previous) != len(names):
        return {}
    vanished = set(previous) - set(names)
    return {
        name: old
        for old, name in zip(previous, names, strict=True)
        if old in vanished and name in new and name not in previous and table.get(old) == schema.by_name[name].type
    }


def _fill(one: Column, renamed: str | None, connector: str) -> Fill:
    if renamed is not None:
        return Fill(one.name, source=renamed)
    raw = backfill(one, connector)
    try:
        return Fill(one.name, None if raw is None else one.value(raw))
    except ValueConversionError:
        # A default in a form that nobody has seen yet: the column is reported as one that only the source knows.
        return Fill(one.name)


def is_computed(one: Column, connector: str = "") -> bool:
    """Tell whether only the source knows what a column's default is in rows that exist, so that they get NULL.

    CURRENT_TIMESTAMP comes as the epoch. MySQL's connector gives text as it stands in the statement, with quotes and
    backslashes doubled, bytes without their padding or as the digits of a hexadecimal literal, and a YEAR 0 as 2000.
    """
    if one.default is None:
        return False
    try:
        value = one.value(one.default)
    except ValueConversionError:
        return True
    if isinstance(value, str) and connector in MYSQL:
        return not one.is_json and (_LITERAL.search(value) is not None or value.endswith(" "))
    if isinstance(value, bytes) and connector in MYSQL:
        return not one.is_bits
    if one.is_year:
        return bool(value == YEAR_OF_ZERO)
    return bool(pa.types.is_timestamp(one.type)) and value == 0


def backfill(one: Column, connector: str) -> Any:
    """Return the value (as JSON) of an added column in rows that exist already, `None` for NULL."""
    if one.default is not None:
        return None if is_computed(one, connector) else one.default
    return one.implicit if connector in MYSQL and not one.optional else None
