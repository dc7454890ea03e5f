"""What delta-rs takes: SQL of DataFusion, and which columns it can keep statistics of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.columns import quoted
from cdc_workstation.sink.schema import Fill

STATISTICS_COLUMNS = "delta.dataSkippingStatsColumns"
# As many columns from the first on have statistics by default.
_STATISTICS = 32
# delta-rs keeps least and greatest decimals as 64-bit numbers: longer ones are cut, and then readers and upserts skip
# files that hold the row they look for.
_LONGEST_DECIMAL = 15

# So many keys of an upsert are listed in its condition.
_LISTED_KEYS = 200

_NAMES = {
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.bool_(): "Boolean",
    pa.string(): "Utf8",
    pa.binary(): "Binary",
    pa.date32(): "Date32",
    pa.timestamp("us"): "Timestamp(Microsecond, None)",
    pa.timestamp("us", tz="UTC"): 'Timestamp(Microsecond, Some("UTC"))',
}


def is_long_decimal(kind: pa.DataType) -> bool:
    """Tell whether a column may hold decimals of which delta-rs keeps no right statistics."""
    return bool(pa.types.is_decimal(kind)) and kind.precision > _LONGEST_DECIMAL


def statistics_columns(columns: Mapping[str, pa.DataType]) -> str | None:
    """Return the columns to keep statistics of, as the property says them; `None` if the default is right.

    Spark refuses columns in it of whose type it keeps none.
    """
    if not any(is_long_decimal(kind) for kind in columns.values()):
        return None
    kept = [name for name, kind in columns.items() if _has_order(kind) and not is_long_decimal(kind)]
    return ",".join(quoted(name) for name in kept[:_STATISTICS])


def _has_order(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_boolean(kind))


def among(rows: pa.Table, keys: Sequence[str]) -> list[str]:
    """Return conditions that the rows of a table (`t`) fulfil which have one of the keys.

    They are implied by the keys' equality. But from that, delta-rs derives least and greatest keys only; from a list it
    sees which files need not be opened, and that is most of an upsert's work.
    """
    if rows.num_rows > _LISTED_KEYS:
        return []
    listed = {
        key: [str(value) if isinstance(value, int) else text(value) for value in set(rows[key].to_pylist())]
        for key in keys
        if pa.types.is_integer(rows.schema.field(key).type) or pa.types.is_string(rows.schema.field(key).type)
    }
    return [f"t.{quoted(key)} IN ({', '.join(values)})" for key, values in listed.items()]


def name_of(kind: pa.DataType) -> str | None:
    """Return DataFusion's name of a type; `None` if `arrow_cast` takes none for it."""
    if kind in _NAMES:
        return _NAMES[kind]
    if pa.types.is_decimal(kind):
        return f"Decimal128({kind.precision}, {kind.scale})"
    if pa.types.is_list(kind):
        item = name_of(kind.value_type)
        return None if item is None else f"List({item})"
    return None


def cast(expression: str, kind: pa.DataType) -> str:
    """Return an expression as one of a type, if the type has a name."""
    name = name_of(kind)
    return expression if name is None else f"arrow_cast({expression}, '{name}')"


def text(value: str) -> str:
    """Return a string literal, in which a backslash is one."""
    return "'" + value.replace("'", "''") + "'"


def filled(fill: Fill, kind: pa.DataType) -> str:
    """Return what rows that exist get in a column."""
    if fill.source is not None:
        return quoted(fill.source)
    return "NULL" if fill.value is None else _literal(pa.scalar(fill.value, kind), kind)


def _literal(value: Any, kind: pa.DataType) -> str:
    """Return the literal of an Arrow scalar."""
    if not value.is_valid:
        return cast("NULL", kind)
    if pa.types.is_list(kind):
        return cast(_array(value.values, kind.value_type), kind)
    if pa.types.is_map(kind):
        keys, items = value.values.field(0), value.values.field(1)
        parts = ((keys, kind.key_type), (items, kind.item_type))
        return "map(" + ", ".join(cast(_array(part, of), pa.list_(of)) for part, of in parts) + ")"
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{text(one.name)}, {_literal(value[one.name], one.type)}" for one in kind)
        return f"named_struct({fields})"
    if pa.types.is_binary(kind):
        return cast(f"X'{value.as_py().hex()}'", kind)
    if pa.types.is_temporal(kind):
        # As text, years far from now overflow on the way.
        whole = pa.int32() if pa.types.is_date(kind) else pa.int64()
        return cast(cast(str(value.value), whole), kind)
    shown = format(value.as_py(), "f") if pa.types.is_decimal(kind) else str(value.as_py())
    return cast(text(shown), kind)


def _array(values: Any, kind: pa.DataType) -> str:
    return f"make_array({', '.join(_literal(one, kind) for one in values)})"
