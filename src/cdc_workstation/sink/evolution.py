"""Schema changes: what to do to a table so that it takes the events' columns, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.columns import Column, quoted, sql_type, widened
from cdc_workstation.sink.events import RowSchema

METADATA: dict[str, pa.DataType] = {
    "_cdc_op": pa.string(),
    "_cdc_ts_ms": pa.int64(),
    "_cdc_position": pa.string(),
    "_cdc_order": pa.int64(),
    "_cdc_suborder": pa.int64(),
}
# Characters of a column's name that Parquet takes only with column mapping.
UNMAPPED = set(" ,;{}()\n\t=")


class IncompatibleError(Exception):
    """The table cannot hold what the source has now."""


@dataclass
class Change:
    """What to do before rows of a new schema are applied."""

    added: list[Column] = field(default_factory=list)
    retyped: list[tuple[str, pa.DataType]] = field(default_factory=list)
    returned: list[Column] = field(default_factory=list)
    """Columns of the table that the events before did not have: dropped and added again, or added by a sink that was
    killed before it had filled them."""
    renamed: dict[str, str] = field(default_factory=dict)
    """New name to old name: the values move along."""

    def __bool__(self) -> bool:
        return bool(self.added or self.retyped or self.returned)

    @property
    def new(self) -> list[Column]:
        """The columns that rows which are there already get a value for."""
        return self.added + self.returned


def needed(table: dict[str, pa.DataType], schema: RowSchema, previous: list[str] | None = None) -> Change:
    """Compare a table with the columns of an event.

    Args:
        table: the table's columns, metadata included.
        schema: the event's columns.
        previous: the columns' names in the event before, in the source's order. A column whose place in it is taken
            by a new one of the same type counts as renamed.

    Raises:
        IncompatibleError: a type can neither be kept nor widened, or names collide.
    """
    change = Change()
    lower = {name.lower(): name for name in table}
    names = schema.names
    if len({name.lower() for name in names}) < len(names):
        raise IncompatibleError("two columns differ in upper and lower case only")
    for one in schema.columns:
        if one.name in METADATA:
            raise IncompatibleError(f"column {one.name} has the name of one that the sink adds")
        if one.name not in table:
            if one.name.lower() in lower:
                raise IncompatibleError(f"columns {one.name} and {lower[one.name.lower()]} differ in case only")
            change.added.append(one)
            continue
        target = widened(table[one.name], one.type)
        if target is None:
            raise IncompatibleError(
                f"column {one.name} changed from {sql_type(table[one.name])} to {sql_type(one.type)}"
            )
        if target != table[one.name]:
            change.retyped.append((one.name, target))
        if previous and one.name not in previous:
            change.returned.append(one)
    if previous and change.new and len(previous) == len(names):
        vanished = set(previous) - set(names)
        for old, new in zip(previous, names, strict=True):
            if old in vanished and new not in previous and table.get(old) == schema.by_name[new].type:
                change.renamed[new] = old
    return change


def create_statement(path: str, schema: RowSchema, properties: dict[str, str]) -> str:
    """Return the statement that creates a table at `path`."""
    columns = {one.name: one.type for one in schema.columns} | METADATA
    if any(UNMAPPED & set(name) for name in columns):
        properties = {"delta.columnMapping.mode": "name", **properties}
    ddl = ", ".join(f"{quoted(name)} {sql_type(kind)}" for name, kind in columns.items())
    listed = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    with_properties = f" TBLPROPERTIES ({listed})" if listed else ""
    return f"CREATE TABLE IF NOT EXISTS delta.`{path}` ({ddl}) USING delta{with_properties}"


def rewritten(columns: dict[str, pa.DataType], change: Change) -> list[str]:
    """Return the expressions that select a table's columns with the types that they are to have."""
    retyped = dict(change.retyped)
    return [
        f"CAST({quoted(name)} AS {sql_type(retyped[name])}) AS {quoted(name)}" if name in retyped else quoted(name)
        for name in columns
    ]


def add_statement(path: str, change: Change) -> str:
    """Return the statement that adds the columns which a table lacks."""
    added = ", ".join(f"{quoted(one.name)} {sql_type(one.type)}" for one in change.added)
    return f"ALTER TABLE delta.`{path}` ADD COLUMNS ({added})"


def needs_local_timestamps(columns: dict[str, pa.DataType], change: Change) -> bool:
    """Tell whether a change brings the first timestamp without zone (a DATETIME) into a table."""

    def is_local(kind: pa.DataType) -> bool:
        return bool(pa.types.is_timestamp(kind)) and kind.tz is None

    coming = [one.type for one in change.added] + [kind for _, kind in change.retyped]
    return any(map(is_local, coming)) and not any(map(is_local, columns.values()))


def local_timestamps_statement(path: str) -> str:
    """Return the statement that lets a table have them: Delta turns the feature on for new tables only."""
    return f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.feature.timestampNtz' = 'supported')"


def fill_statement(path: str, change: Change, connector: str) -> str | None:
    """Return the statement that gives the new columns their values in rows that exist; `None` where all are NULL."""
    assignments = []
    for one in change.new:
        value = backfill(one, connector)
        if one.name in change.renamed:
            assignments.append(f"{quoted(one.name)} = {quoted(change.renamed[one.name])}")
        elif value is not None:
            literal = _literal(pa.scalar(one.value(value), one.type).as_py())
            assignments.append(f"{quoted(one.name)} = CAST({literal} AS {sql_type(one.type)})")
        elif one in change.returned:
            assignments.append(f"{quoted(one.name)} = NULL")
    return f"UPDATE delta.`{path}` SET {', '.join(assignments)}" if assignments else None  # noqa: S608


def _literal(value: Any) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, bool):
        return str(value).upper()
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def is_computed(one: Column) -> bool:
    """Tell whether a column's default is one that only the source knows in each row, such as CURRENT_TIMESTAMP."""
    # The epoch stands for it.
    return one.default is not None and pa.types.is_timestamp(one.type) and one.value(one.default) == 0


def backfill(one: Column, connector: str) -> Any:
    """Return the value (as JSON) of an added column in rows that exist already, `None` for NULL."""
    if one.default is not None:
        return None if is_computed(one) else one.default
    return one.implicit if connector in ("mysql", "mariadb") and not one.optional else None


def insert_statement(path: str, columns: list[str], *, with_deleted: bool) -> str:
    """Return the INSERT of the view `changes` into a table, with or without the rows that the changes delete."""
    names = ", ".join(quoted(name) for name in columns)
    where = "" if with_deleted else " WHERE NOT `_cdc_deleted`"
    return f"INSERT INTO delta.`{path}` ({names}) SELECT {names} FROM changes{where}"  # noqa: S608


def merge_statement(path: str, columns: list[str], keys: tuple[str, ...], kept: set[str], insert_only: bool) -> str:
    """Return the MERGE of the view `changes` (columns, metadata, `_cdc_deleted`, `_cdc_kept`) into a table.

    Args:
        path: the table.
        columns: the columns that the events carry, metadata included.
        keys: the primary key's columns.
        kept: columns that some of the rows do not carry.
        insert_only: rows that are there already are of the same snapshot, and equal.
    """
    on = " AND ".join(f"t.{quoted(key)} = s.{quoted(key)}" for key in keys)
    names = ", ".join(quoted(name) for name in columns)
    values = ", ".join(f"s.{quoted(name)}" for name in columns)
    merge = f"MERGE INTO delta.`{path}` t USING changes s ON {on}"
    insert = f"INSERT ({names}) VALUES ({values})"  # noqa: S608
    if insert_only:
        return f"{merge} WHEN NOT MATCHED THEN {insert}"

    def assigned(name: str) -> str:
        taken = f"s.{quoted(name)}"
        if name in kept:
            taken = f"CASE WHEN array_contains(s.`_cdc_kept`, {_literal(name)}) THEN t.{quoted(name)} ELSE {taken} END"
        return f"t.{quoted(name)} = {taken}"

    newer = (
        "(s.`_cdc_order` > t.`_cdc_order`"
        " OR (s.`_cdc_order` = t.`_cdc_order` AND s.`_cdc_suborder` > t.`_cdc_suborder`))"
    )
    return (
        f"{merge} WHEN MATCHED AND {newer} AND s.`_cdc_deleted` THEN DELETE"
        f" WHEN MATCHED AND {newer} THEN UPDATE SET {', '.join(assigned(name) for name in columns)}"
        f" WHEN NOT MATCHED AND NOT s.`_cdc_deleted` THEN {insert}"
    )
