"""Values: from the JSON that a connector writes to what Arrow takes, without losing a digit.

Semantic types are those of https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-data-types
and of the PostgreSQL connector's page.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.arrays import (
    FIRST_DAY,
    INSTANT,
    LAST_DAY,
    MICROS_PER_DAY,
    NTZ,
    Bulk,
    checked,
    days_at_once,
    floats,
    instants_at_once,
    moments_at_once,
    texts_at_once,
    whole_at_once,
)

Convert = Callable[[Any], Any]

MAX_PRECISION = 38
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOUR_DIGIT_YEAR = re.compile(r"(?!0000)\d{4}-")
# Python's default context rounds to 28 digits. PostgreSQL's NUMERIC has up to 131,072 before the point, 16,383 behind.
_EXACT = Context(prec=150_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_FRACTION = re.compile(r"\.(\d+)")
# PostgreSQL keeps a scale in 11 bits, and Debezium reads a negative one as 2048 more.
_LARGEST_SCALE, _SCALES = 1000, 2048
# The parts of a JSON document between which MySQL writes its spaces.
_JSON_PART = re.compile(r'("(?:[^"\\]|\\.)*")|([,:])\s*|\s+')
MYSQL = frozenset({"mysql", "mariadb"})
"""The connectors of MySQL and its relatives."""
# What the connector makes of a YEAR 0 in a default.
YEAR_OF_ZERO = 2000


class UnknownTypeError(ValueError):
    """The schema has a type that no Delta type holds."""


class ValueConversionError(ValueError):
    """A value does not fit the type that its schema says."""


class UnrepresentableError(ValueConversionError):
    """The value is right, and Delta has no place for it: it is NULL there, and counted."""


def implicit(schema: dict[str, Any]) -> Any:
    """Return the value (as JSON) that MySQL gives to rows which exist, `None` where that is not known.

    Source: https://dev.mysql.com/doc/refman/8.4/en/data-type-defaults.html. How long a BINARY is, no event says.
    """
    name, parameters = schema.get("name"), schema.get("parameters") or {}
    if name == "io.debezium.data.Enum":
        return next(iter(_options(parameters.get("allowed", "")).values()))
    if name == "io.debezium.data.Json":
        return "null"
    if name == "io.debezium.data.Bits":
        return base64.b64encode(bytes((int(parameters.get("length", 8)) + 7) // 8)).decode()
    if name == "io.debezium.time.ZonedTimestamp":
        # As Debezium writes a zero that may not be NULL.
        return "1970-01-01T00:00:00Z"
    if name == "org.apache.kafka.connect.data.Decimal":
        return 0
    return {"string": "", "bytes": "", "boolean": False}.get(schema["type"], 0 if schema["type"] in _PLAIN else None)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not a truth value")
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


def _date(value: Any) -> int:
    """Days since the epoch, of the years that Delta and its readers hold: 1 to 9999."""
    if not FIRST_DAY <= _whole(value) <= LAST_DAY:
        raise UnrepresentableError(f"{value} days from 1970-01-01 lie outside of the years 1 to 9999")
    return int(value)


def _micros(value: int) -> int:
    """Microseconds since the epoch, of the years 1 to 9999."""
    if not FIRST_DAY <= value // MICROS_PER_DAY <= LAST_DAY:
        raise UnrepresentableError(f"{value} microseconds from 1970-01-01 lie outside of the years 1 to 9999")
    return value


def _zoned_timestamp(value: str) -> int:
    """Microseconds since the epoch of an ISO timestamp with an offset; further digits are cut."""
    if not _FOUR_DIGIT_YEAR.match(value):
        raise UnrepresentableError(f"{value} lies outside of the years 1 to 9999")
    moment = datetime.fromisoformat(_FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), value))
    if moment.tzinfo is None:
        raise ValueError("has no zone")
    delta = moment - _EPOCH
    return _micros((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def time_text(micros: int) -> str:
    """Return a TIME as the source writes it: MySQL's may be negative and longer than a day."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}" if fraction else text


def _decimal(schema: dict[str, Any]) -> tuple[pa.DataType, Convert, Bulk | None]:
    parameters = schema.get("parameters") or {}
    scale = int(parameters.get("scale", 0))
    # BIGINT UNSIGNED alone comes without a precision.
    precision = int(parameters.get("connect.decimal.precision", MAX_PRECISION if scale else 20))
    read, scale = scale, scale - _SCALES if scale > _LARGEST_SCALE else scale
    # NUMERIC(5,-2) has two digits more before its point, NUMERIC(3,5) two zeros behind it.
    precision, places = max(precision - min(scale, 0), scale), max(scale, 0)
    if precision > MAX_PRECISION:
        # More digits than Delta has: text keeps them all.
        return pa.string(), lambda value: format(_shortened(_number(value, read), places), "f"), None
    kind = pa.decimal128(precision, places)
    # Of hundreds of zeros behind a point Arrow makes 0, without a word.
    bulk = checked(kind, int, Decimal) if read == places else None
    return kind, lambda value: _shortened(_number(value, read), places), bulk


def _shortened(number: Decimal, places: int) -> Decimal:
    """Return a number without more zeros behind its point than its column has places."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= -places:
        return number
    shorter = number.quantize(Decimal(1).scaleb(-places), context=_EXACT)
    if shorter != number:
        raise ValueError(f"has more than {places} digits behind its point")
    return shorter


def _number(value: Any, scale: int) -> Decimal:
    """A decimal as the converter writes it: a number, or base64 of the unscaled two's complement."""
    if isinstance(value, str):
        return Decimal(int.from_bytes(_bytes(value), "big", signed=True)).scaleb(-scale, _EXACT)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a number")
    return Decimal(value)


def _variable_decimal(value: dict[str, Any]) -> str:
    return format(_number(value["value"], int(value["scale"])), "f")


def _bits(schema: dict[str, Any]) -> Convert:
    """BIT(n) as bytes, most significant first, as the databases print it; zeros that Debezium leaves out included."""
    length = (int((schema.get("parameters") or {}).get("length", 8)) + 7) // 8

    def convert(value: str) -> bytes:
        return _bytes(value)[::-1].rjust(length if length < _LARGEST_BITS else 0, b"\0")

    return convert


def _year(value: Any) -> int:
    """A YEAR: MySQL's are 1901 to 2155, and 0, which the binlog counts from 1900."""
    return 0 if _whole(value) == 1900 else int(value)


def _options(allowed: str) -> dict[str, str]:
    """Return the options of MySQL's ENUM or SET: as a stream writes them, and as they are.

    A stream has a backslash before each comma and backslash of an option, a snapshot has not.
    """
    options, written, option = {}, "", ""
    rest = iter(allowed)
    for character in rest:
        if character == ",":
            options[written] = option
            written = option = ""
            continue
        escaped = next(rest, "") if character == "\\" else ""
        if character == "\\" and escaped not in ("\\", ","):
            # PostgreSQL's labels, which are not escaped.
            return {label: label for label in allowed.split(",")}
        written += character + escaped
        option += escaped or character
    return options | {written: option}


def _option(schema: dict[str, Any], *, several: bool) -> tuple[pa.DataType, Convert, Bulk | None]:
    """ENUM or SET: the option itself, also where a stream writes it with escapes."""
    options = _options((schema.get("parameters") or {}).get("allowed", ""))
    escaped = {written: option for written, option in options.items() if written != option}
    if not escaped:
        return pa.string(), _text, checked(pa.string(), str)
    ambiguous = escaped.keys() & set(options.values())

    def one(value: str) -> str:
        if value in ambiguous:
            raise UnrepresentableError(f"{value!r} by a stream is {escaped[value]!r}, by a snapshot another option")
        return escaped.get(value, value)

    if several:
        return pa.string(), lambda value: ",".join(map(one, _text(value).split(","))), None
    return pa.string(), lambda value: one(_text(value)), None


def document_text(text: str) -> str:
    """Return a JSON document with the spaces that MySQL writes; a stream has none."""
    return _JSON_PART.sub(lambda found: found[1] or (found[2] + " " if found[2] else ""), text)


_LARGEST_BITS = 1024

_SEMANTIC: dict[str, tuple[pa.DataType, Convert, Bulk | None]] = {
    "io.debezium.time.Date": (pa.date32(), _date, days_at_once),
    "org.apache.kafka.connect.data.Date": (pa.date32(), _date, days_at_once),
    "io.debezium.time.Timestamp": (NTZ, lambda value: _micros(_whole(value) * 1000), moments_at_once(1000)),
    "io.debezium.time.MicroTimestamp": (NTZ, lambda value: _micros(_whole(value)), moments_at_once(1)),
    "io.debezium.time.NanoTimestamp": (NTZ, lambda value: _micros(_whole(value) // 1000), None),
    "org.apache.kafka.connect.data.Timestamp": (
        NTZ,
        lambda value: _micros(_whole(value) * 1000),
        moments_at_once(1000),
    ),
    "io.debezium.time.ZonedTimestamp": (INSTANT, _zoned_timestamp, instants_at_once),
    "io.debezium.time.Time": (pa.string(), lambda value: time_text(_whole(value) * 1000), None),
    "io.debezium.time.MicroTime": (pa.string(), lambda value: time_text(_whole(value)), None),
    "io.debezium.time.NanoTime": (pa.string(), lambda value: time_text(_whole(value) // 1000), None),
    "org.apache.kafka.connect.data.Time": (pa.string(), lambda value: time_text(_whole(value) * 1000), None),
    "io.debezium.time.Year": (pa.int32(), _year, None),
    "io.debezium.data.VariableScaleDecimal": (pa.string(), _variable_decimal, None),
}

_PLAIN: dict[str, tuple[pa.DataType, Convert, Bulk | None]] = {
    "int8": (pa.int8(), _whole, checked(pa.int8(), int)),
    "int16": (pa.int16(), _whole, checked(pa.int16(), int)),
    "int32": (pa.int32(), _whole, checked(pa.int32(), int)),
    "int64": (pa.int64(), _whole, whole_at_once),
    "float": (pa.float32(), float, floats(pa.float32())),
    "float32": (pa.float32(), float, floats(pa.float32())),
    "double": (pa.float64(), float, floats(pa.float64())),
    "float64": (pa.float64(), float, floats(pa.float64())),
    "boolean": (pa.bool_(), _bool, checked(pa.bool_(), bool)),
    "string": (pa.string(), _text, texts_at_once),
    "bytes": (pa.binary(), _bytes, None),
}


def conversion(schema: dict[str, Any]) -> tuple[pa.DataType, Convert, Bulk | None]:
    """Return the Arrow type of a schema, what converts one value (never `None`), and what converts all at once.

    Raises:
        UnknownTypeError: the type is not known.
    """
    name, kind = schema.get("name"), schema.get("type")
    if name == "org.apache.kafka.connect.data.Decimal":
        return _decimal(schema)
    if name in ("io.debezium.data.Enum", "io.debezium.data.EnumSet") and kind == "string":
        return _option(schema, several=name.endswith("Set"))
    if name == "io.debezium.data.Bits" and kind == "bytes":
        return pa.binary(), _bits(schema), None
    if name in _SEMANTIC:
        return _SEMANTIC[name]
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "array":
        arrow, convert, _ = conversion(schema["items"])
        return pa.list_(arrow), lambda value: [None if item is None else convert(item) for item in value], None
    if kind == "map":
        key, convert_key, _ = conversion(schema["keys"])
        item, convert_item, _ = conversion(schema["values"])

        def pairs(value: Any) -> list[tuple[Any, Any]]:
            entries = value.items() if isinstance(value, dict) else value
            return [(convert_key(k), None if v is None else convert_item(v)) for k, v in entries]

        return pa.map_(key, item), pairs, None
    if kind == "struct":
        fields = [(one["field"], *conversion(one)[:2]) for one in schema["fields"]]
        return (
            pa.struct([(field, arrow) for field, arrow, _ in fields]),
            lambda value: {
                field: None if value.get(field) is None else convert(value[field]) for field, _, convert in fields
            },
            None,
        )
    raise UnknownTypeError(f"{schema.get('field')}: type {name or kind} is not known")
