"""Values in one canonical text, the same for a value in the source and for what the sink wrote of it into Delta.

Both sides have types of their own, so a column's family says what is compared: 1.50 and DECIMAL 1.5 are one number, a
JSON document is its content. Values are converted a column at a time, which keeps 100,000 rows within a second or two.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import pyarrow as pa

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
# Canonical text, or None for NULL.
Value = str | None
CanonicalRow = tuple[Value, ...]

MICROS_PER_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min - _EPOCH) // _MICROSECOND
_LAST = (datetime.max - _EPOCH) // _MICROSECOND
_WORDS = re.compile(r"([-+]?\d+) (year|mon|day)")
_CLOCK = re.compile(r"([-+]?)(\d+):(\d+):(\d+(?:\.\d+)?)")
_PART = re.compile(r"([-+]?\d+(?:\.\d+)?)([YMWDHS])")


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
        return texts if pa.types.is_integer(arrow) else [None if text is None else _number(text) for text in texts]
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


# One value of the source


def _number(text: str) -> str:
    # Most numbers are plain, and their text needs no arithmetic.
    if text.isdigit() and text[0] != "0":
        return text
    whole, point, fraction = text.partition(".")
    if point and whole.isdigit() and fraction.isdigit() and (whole[0] != "0" or whole == "0"):
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    if not value.is_finite():
        return str(value).replace("sNaN", "NaN")
    # Not `normalize`, which rounds to the context's precision.
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


def _float(value: Any) -> str:
    try:
        return repr(float(value) + 0.0)
    except (TypeError, ValueError):
        return str(value)


# JSON is read and written in C. Numbers are marked text on the way, so that they keep all their digits.
_MARK = "\0"
_MARKED = re.compile(r'"\\u0000([^"]*)"')


def _marked(text: str) -> str:
    return _MARK + _number(text)


_decode = json.JSONDecoder(parse_float=_marked, parse_int=_marked, parse_constant=_marked).decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def _json(text: str) -> str:
    """Write a JSON document with its keys sorted, and numbers by their value."""
    try:
        return _MARKED.sub(r"\1", _encode(_decode(text)))
    except ValueError:
        return text


def _document(value: Any) -> str:
    """Write a value of Python's as a JSON document."""
    return _json(json.dumps(value, default=str))


def _bytes(value: str | bytes) -> str:
    # PostgreSQL prints bytea as \x and hexadecimal digits.
    return value[2:] if isinstance(value, str) else bytes(value).hex()


def _bits(value: str | bytes) -> str:
    return str(int(value, 2) if isinstance(value, str) else int.from_bytes(value, "big")) if value else "0"


def _finite(text: str) -> Value:
    number = _number(text)
    return None if number.lstrip("-") in ("NaN", "Infinity") else number


def _moment(text: str) -> Value:
    """Return microseconds since the epoch.

    `None` for what Delta has no place for and has NULL instead: days that no calendar has, such as MySQL's 2024-00-15,
    years outside of 1 to 9999, infinity. PostgreSQL is asked for the microseconds themselves.
    """
    if "-" not in text[1:]:
        number = _finite(text)
        return number if number is not None and _FIRST <= int(number) <= _LAST else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return str(((moment if moment.tzinfo is None else moment.replace(tzinfo=None)) - _EPOCH) // _MICROSECOND)


def _time(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time_with_zone(text: str) -> str:
    """Return a time of day in UTC."""
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return text
    micros = ((found.hour * 60 + found.minute) * 60 + found.second) * 1_000_000 + found.microsecond
    return str((micros - (found.utcoffset() or timedelta()) // _MICROSECOND) % MICROS_PER_DAY)


def _interval(text: str) -> str:
    """Return months, days and microseconds of an interval.

    It is an ISO 8601 duration, whose parts may each have a sign, or as PostgreSQL writes it by default.
    """
    if not text.startswith("P"):
        return _interval_in_words(text)
    date_part, _, time_part = text.removeprefix("P").partition("T")
    months = days = Decimal(0)
    for amount, unit in _PART.findall(date_part):
        number = Decimal(amount)
        months += {"Y": 12 * number, "M": number}.get(unit, Decimal(0))
        days += {"D": number, "W": 7 * number}.get(unit, Decimal(0))
    seconds = sum(
        (Decimal(amount) * {"H": 3600, "M": 60, "S": 1}[unit] for amount, unit in _PART.findall(time_part)), Decimal(0)
    )
    return f"{_number(str(months))}:{_number(str(days))}:{_number(str(seconds * 1_000_000))}"


def _interval_in_words(text: str) -> str:
    """Return the same of `1 year 2 mons -3 days +04:05:06.7`."""
    found = {unit: Decimal(amount) for amount, unit in _WORDS.findall(text)}
    zero = Decimal(0)
    seconds = zero
    clock = _CLOCK.search(text)
    if clock is not None:
        sign, hours, minutes, rest = clock.groups()
        seconds = (int(hours) * 60 + int(minutes)) * 60 + Decimal(rest)
        seconds = -seconds if sign == "-" else seconds
    elif not found:
        return text
    months = 12 * found.get("year", zero) + found.get("mon", zero)
    return f"{_number(str(months))}:{_number(str(found.get('day', zero)))}:{_number(str(seconds * 1_000_000))}"


def _geometry(value: bytes) -> str:
    """Return SRID and well-known binary: MySQL's own format is the SRID in four bytes, then WKB."""
    return f"{int.from_bytes(value[:4], 'little')}:{value[4:].hex()}"


def _point(text: str) -> str:
    return ",".join(_float(part) for part in text.strip("()").split(","))


def _vector(value: bytes) -> str:
    return _document(struct.unpack(f"<{len(value) // 4}f", value))


_SOURCE: dict[Kind, Callable[[Any], Value] | None] = {
    "number": _number,
    "finite": _finite,
    "float": _float,
    "text": None,
    "json": _json,
    "bytes": _bytes,
    "bits": _bits,
    "moment": _moment,
    "time": _time,
    "timetz": _time_with_zone,
    "interval": _interval,
    "geometry": _geometry,
    "point": _point,
    "vector": _vector,
}


def _list_of_json(item: Family | None) -> Callable[[str], str]:
    """Return what converts PostgreSQL's `to_json` of an array."""

    def one(value: Any) -> str:
        if value is None:
            return "null"
        if item is not None and item.kind == "json":
            return json.dumps(_MARKED.sub(r"\1", _encode(value)))
        if isinstance(value, list):
            return "[" + ",".join(map(one, value)) + "]"
        if item is None:
            return json.dumps(str(value).removeprefix(_MARK))
        if item.kind == "number" and isinstance(value, bool):
            value = int(value)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return json.dumps(from_source(item, [text.removeprefix(_MARK)])[0])

    return lambda text: "[" + ",".join(map(one, _decode(text))) + "]"


# One value of Delta, where a whole column is not converted at once


def _any(value: Any) -> str:
    """Return text for a value whose Delta type is not the one that its family has."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, int | Decimal):
        return _number(str(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return "[" + ",".join("null" if one is None else json.dumps(_any(one)) for one in value) + "]"
    return str(value)


def _delta_number(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return _number(repr(value) if isinstance(value, float) else str(value))


def _delta_json(value: Any) -> str:
    if isinstance(value, str):
        return _json(value)
    # A map comes as a list of pairs.
    return _document(dict(value))


def _delta_bytes(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


def _delta_bits(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return str(int.from_bytes(value, "big"))
    return str(int(value)) if isinstance(value, bool | int) else str(value)


def _delta_moment(value: Any) -> str:
    if isinstance(value, datetime):
        plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return str((plain - _EPOCH) // _MICROSECOND)
    if isinstance(value, date):
        return str((value - _EPOCH.date()).days * MICROS_PER_DAY)
    return str(value) if isinstance(value, int) else str(_moment(str(value)))


def _delta_geometry(value: Any) -> str:
    if not isinstance(value, dict):
        return _any(value)
    return f"{value.get('srid') or 0}:{bytes(value.get('wkb') or b'').hex()}"


def _delta_point(value: Any) -> str:
    if not isinstance(value, dict):
        return _point(str(value))
    return f"{_float(value.get('x'))},{_float(value.get('y'))}"


def _delta_vector(value: Any) -> str:
    return _document(value) if isinstance(value, Sequence) else _any(value)


_DELTA: dict[Kind, Callable[[Any], str]] = {
    "number": _delta_number,
    "finite": _delta_number,
    "float": _float,
    "json": _delta_json,
    "bytes": _delta_bytes,
    "bits": _delta_bits,
    "moment": _delta_moment,
    "time": lambda value: _time(str(value)),
    "timetz": lambda value: _time_with_zone(str(value)),
    "interval": lambda value: _interval(str(value)),
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
