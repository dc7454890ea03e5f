"""Values in one canonical text, the same for a value in the source and for what the sink wrote of it into Delta.

Both sides have types of their own, so a column's family says what is compared: 1.50 and DECIMAL 1.5 are one number, a
JSON document is its content. Values are converted a column at a time, which keeps 100,000 rows within a second or two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from cdc_workstation.verify.canonical import (
    EPOCH,
    MARK,
    MARKED,
    MICROS_PER_DAY,
    MICROSECOND,
    Value,
    bits_text,
    bytes_text,
    decode,
    document_text,
    encode,
    finite_text,
    float_text,
    geometry_text,
    interval_text,
    json_text,
    moment_text,
    number_text,
    point_text,
    time_text,
    timetz_text,
    vector_text,
)

Kind = Literal[
    "number",
    # A number whose NaN and infinities Delta has no place for: they are NULL there.
    "finite",
    "float",
    "text",
    "json",
    "bytes",
    "bits",
    "moment",
    "time",
    "timetz",
    "interval",
    "geometry",
    "point",
    "vector",
    "list",
]
CanonicalRow = tuple[Value, ...]


@dataclass(frozen=True)
class Family:
    """What a column's values are compared as.

    Attributes:
        kind: the kind of value.
        item: what the items of a `list` are.
    """

    kind: Kind
    item: Family | None = None


def from_source(family: Family, values: Iterable[Any]) -> list[Value]:
    """Return canonical text of a column's values as the source gives them.

    Args:
        family: what the column's values are.
        values: `str` as the database prints them, or `bytes` for `bytes`, `bits`, `geometry` and `vector` of MySQL.
    """
    convert = _SOURCE[family.kind] if family.kind != "list" else _list_of_json(family.item)
    if convert is None:
        return list(values)
    return [None if value is None else convert(value) for value in values]


def from_delta(family: Family, column: pa.Array | pa.ChunkedArray) -> list[Value]:
    """Return canonical text of a column's values as the Delta table has them."""
    kind, arrow = family.kind, column.type
    if pa.types.is_null(arrow):
        return [None] * len(column)
    if kind == "moment" and (pa.types.is_timestamp(arrow) or pa.types.is_date(arrow)):
        factor = 1
        if pa.types.is_date(arrow):
            column, factor = column.cast(pa.int32()), MICROS_PER_DAY
        elif arrow.unit != "us":
            column = column.cast(pa.timestamp("us", arrow.tz), safe=False)
        micros = column.cast(pa.int64()).to_pylist()
        return [None if value is None else str(value * factor) for value in micros]
    if kind in ("number", "finite") and (pa.types.is_integer(arrow) or pa.types.is_decimal(arrow)):
        texts = column.cast(pa.string()).to_pylist()
        return texts if pa.types.is_integer(arrow) else [None if text is None else number_text(text) for text in texts]
    values = column.to_pylist()
    if kind == "text" and _is_text(arrow):
        return list(values)
    convert = _DELTA.get(kind, _any) if kind != "list" else _list_of_values(family.item)
    return [None if value is None else convert(value) for value in values]


def key_of(family: Family, value: Any) -> Value:
    """Return canonical text of one key value as a change event has it, decoded to what Arrow takes.

    Days and moments are whole numbers there: days or microseconds since the epoch.
    """
    if value is None:
        return None
    if family.kind == "list":
        return _list_of_values(family.item)(value)
    return _DELTA.get(family.kind, _any)(value)


def _is_text(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or arrow == pa.string_view())


_SOURCE: dict[Kind, Callable[[Any], Value] | None] = {
    "number": number_text,
    "finite": finite_text,
    "float": float_text,
    "text": None,
    "json": json_text,
    "bytes": bytes_text,
    "bits": bits_text,
    "moment": moment_text,
    "time": time_text,
    "timetz": timetz_text,
    "interval": interval_text,
    "geometry": geometry_text,
    "point": point_text,
    "vector": vector_text,
}


def _list_of_json(item: Family | None) -> Callable[[str], str]:
    """Return what converts PostgreSQL's `to_json` of an array."""

    def one(value: Any) -> str:
        if value is None:
            return "null"
        if item is not None and item.kind == "json":
            return json.dumps(MARKED.sub(r"\1", encode(value)))
        if isinstance(value, list):
            return "[" + ",".join(map(one, value)) + "]"
        if item is None:
            return json.dumps(str(value).removeprefix(MARK))
        if item.kind == "number" and isinstance(value, bool):
            value = int(value)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return json.dumps(from_source(item, [text.removeprefix(MARK)])[0])

    return lambda text: "[" + ",".join(map(one, decode(text))) + "]"


# One value of Delta, where a whole column is not converted at once


def _any(value: Any) -> str:
    """Return text for a value whose Delta type is not the one that its family has."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, int | Decimal):
        return number_text(str(value))
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return "[" + ",".join("null" if one is None else json.dumps(_any(one)) for one in value) + "]"
    return str(value)


def _delta_number(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return number_text(repr(value) if isinstance(value, float) else str(value))


def _delta_json(value: Any) -> str:
    if isinstance(value, str):
        return json_text(value)
    # A map comes as a list of pairs.
    return document_text(dict(value))


def _delta_bytes(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def _delta_bits(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return str(int.from_bytes(value, "big"))
    return str(int(value)) if isinstance(value, bool | int) else str(value)


def _delta_moment(value: Any) -> str:
    if isinstance(value, datetime):
        plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return str((plain - EPOCH) // MICROSECOND)
    if isinstance(value, date):
        return str((value - EPOCH.date()).days * MICROS_PER_DAY)
    return str(value) if isinstance(value, int) else str(moment_text(str(value)))


def _delta_geometry(value: Any) -> str:
    if not isinstance(value, dict):
        return _any(value)
    return f"{value.get('srid') or 0}:{bytes(value.get('wkb') or b'').hex()}"


def _delta_point(value: Any) -> str:
    if not isinstance(value, dict):
        return point_text(str(value))
    return f"{float_text(value.get('x'))},{float_text(value.get('y'))}"


def _delta_vector(value: Any) -> str:
    return document_text(value) if isinstance(value, Sequence) else _any(value)


_DELTA: dict[Kind, Callable[[Any], str]] = {
    "number": _delta_number,
    "finite": _delta_number,
    "float": float_text,
    "json": _delta_json,
    "bytes": _delta_bytes,
    "bits": _delta_bits,
    "moment": _delta_moment,
    "time": lambda value: time_text(str(value)),
    "timetz": lambda value: timetz_text(str(value)),
    "interval": lambda value: interval_text(str(value)),
    "geometry": _delta_geometry,
    "point": _delta_point,
    "vector": _delta_vector,
}


def _list_of_values(item: Family | None) -> Callable[[Any], str]:
    def one(value: Any) -> str:
        if value is None:
            return "null"
        if isinstance(value, list):
            return "[" + ",".join(map(one, value)) + "]"
        return json.dumps(_any(value) if item is None else _DELTA.get(item.kind, _any)(value))

    return lambda values: one(values) if isinstance(values, list) else _any(values)
