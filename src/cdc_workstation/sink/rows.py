"""The rows of a commit as an Arrow table, built column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.columns import Column
from cdc_workstation.sink.events import Event, RowSchema
from cdc_workstation.sink.steps import DeadLetter
from cdc_workstation.sink.values import UnrepresentableError, ValueConversionError

# What Arrow says of a value that its type cannot hold.
_DOES_NOT_FIT = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)

# Columns of the source of an upsert that are not the table's: whether the row goes, and which of its values are
# unavailable because they did not change.
DELETED = "_cdc_deleted"
UNAVAILABLE = "_cdc_unavailable"


@dataclass
class Rows:
    """What a commit writes."""

    table: pa.Table
    """The table's columns, then `_cdc_deleted`, and `_cdc_unavailable` if some values are."""
    unavailable: frozenset[str] = frozenset()
    """The columns that some of the rows do not carry."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    nulls: Counter[str] = field(default_factory=Counter)
    """Column to the number of values that are NULL here because Delta has no place for them."""

    @property
    def columns(self) -> list[str]:
        """The columns to write."""
        return [name for name in self.table.column_names if name not in (DELETED, UNAVAILABLE)]


def build(
    events: Sequence[Event],
    schema: RowSchema | None,
    keys: Sequence[str],
    types: dict[str, pa.DataType],
) -> Rows:
    """Convert events to rows; one that cannot be converted becomes a dead letter and the others stay.

    Args:
        events: the changes, of one schema.
        schema: their columns; `None` if there are deletes alone, whose events carry no row.
        keys: the primary key's columns; none if there is no key.
        types: the table's columns.
    """
    dead: list[DeadLetter] = []
    nulls: Counter[str] = Counter()
    carried = []
    for event in events:
        if event.key is not None and any(part is None or part != part for part in event.key):
            # NaN is not equal to itself: such a row would never be found again.
            dead.append(DeadLetter(event.record, "key", "a value of the key has no place in Delta"))
        elif event.op == "c" and event.unavailable:
            lacks = f"the row with the changed key lacks {', '.join(sorted(event.unavailable))}, which did not change"
            dead.append(DeadLetter(event.record, "unavailable", f"{lacks}; REPLICA IDENTITY FULL would bring it"))
        else:
            carried.append(event)
    if schema is not None:
        named = schema.by_name
    else:
        key_schema = carried[0].key_schema if carried else None
        named = key_schema.by_name if key_schema else {}
    try:
        table = _arrow(carried, named, keys, types, nulls)
    except (ValueConversionError, *_DOES_NOT_FIT):
        # Find the rows that have such a value.
        fitting = []
        for event in carried:
            try:
                _arrow([event], named, keys, types, Counter())
                fitting.append(event)
            except (ValueConversionError, *_DOES_NOT_FIT) as error:
                dead.append(DeadLetter(event.record, "value", str(error)))
        nulls.clear()
        carried = fitting
        table = _arrow(carried, named, keys, types, nulls)
    unavailable = frozenset().union(*(event.unavailable for event in carried)) if carried else frozenset()
    return Rows(table, unavailable, dead, nulls)


def _arrow(
    events: Sequence[Event],
    named: dict[str, Column],
    keys: Sequence[str],
    types: dict[str, pa.DataType],
    nulls: Counter[str],
) -> pa.Table:
    arrays: dict[str, pa.Array] = {}
    places = {name: place for place, name in enumerate(keys)}
    for name, one in named.items():
        if name in places:
            place = places[name]
            values = [event.key[place] if event.key is not None else _converted(event, one, nulls) for event in events]
            array = pa.array(values, one.type)
        else:
            array = _column(events, one, nulls)
        wanted = types.get(name, one.type)
        arrays[name] = array if wanted == one.type else array.cast(wanted)
    arrays["_cdc_op"] = pa.array([event.op for event in events], pa.string())
    arrays["_cdc_ts_ms"] = pa.array([event.ts_ms for event in events], pa.int64())
    arrays["_cdc_position"] = pa.array([event.source_position for event in events], pa.string())
    arrays["_cdc_order"] = pa.array([event.position.order for event in events], pa.int64())
    arrays["_cdc_suborder"] = pa.array([event.position.suborder for event in events], pa.int64())
    arrays[DELETED] = pa.array([event.is_delete for event in events], pa.bool_())
    if any(event.unavailable for event in events):
        arrays[UNAVAILABLE] = pa.array([sorted(event.unavailable) for event in events], pa.list_(pa.string()))
    return pa.table(arrays)


def _column(events: Sequence[Event], one: Column, nulls: Counter[str]) -> pa.Array:
    """Return a column's values: all at once if they are as its schema says, else one by one."""
    name = one.name
    values = [None if event.raw is None or name in event.unavailable else event.raw.get(name) for event in events]
    array = one.array(values, events[0].connector) if events else None
    if array is None:
        array = pa.array([_converted(event, one, nulls) for event in events], one.type)
    if not one.optional and array.null_count:
        # It may not be NULL in the database: the connector could not send the value. Deletes carry their key alone.
        counted = [event for event, raw in zip(events, values, strict=True) if raw is None and _carries(event, name)]
        if counted:
            nulls[name] += len(counted)
    return array


def _carries(event: Event, name: str) -> bool:
    return not event.is_delete and event.raw is not None and name not in event.unavailable


def _converted(event: Event, one: Column, nulls: Counter[str]) -> Any:
    raw = event.raw.get(one.name) if event.raw is not None else None
    if raw is None or one.name in event.unavailable:
        return None
    try:
        return one.value_of(raw, event.connector)
    except UnrepresentableError:
        nulls[one.name] += 1
        return None
