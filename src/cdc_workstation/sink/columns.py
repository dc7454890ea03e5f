"""Columns: from Kafka Connect's schema of a message to Arrow, Spark and Delta types, without losing a digit.

Semantic types are those of https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-data-types
and of the PostgreSQL connector's page.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import pyarrow as pa

Convert = Callable[[Any], Any]

MAX_PRECISION = 38
# A row of PostgreSQL whose large value did not change does not carry it.
UNAVAILABLE = "__debezium_unavailable_value"
_UNAVAILABLE_TEXTS = (
    UNAVAILABLE,
    base64.b64encode(UNAVAILABLE.encode()).decode(),
    f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
)
# Arrays of text and of numbers, and hstore as a map.
_UNAVAILABLE_OTHERS = ([UNAVAILABLE], list(UNAVAILABLE.encode()), {UNAVAILABLE: UNAVAILABLE})
# What an event's bytes contain if one of its values was left out: to ask each value of each event would cost more.
UNAVAILABLE_BYTES = (
    UNAVAILABLE.encode(),
    base64.b64encode(UNAVAILABLE.encode()),
    ",".join(str(byte) for byte in UNAVAILABLE.encode()[:8]).encode(),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_PER_DAY = 86_400_000_000
_FIRST_DAY, _LAST_DAY = (
    date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    for year, month, day in ((1, 1, 1), (9999, 12, 31))
)
_FOUR_DIGIT_YEAR = re.compile(r"(?!0000)\d{4}-")
# Python's default context rounds to 28 digits. PostgreSQL's NUMERIC has up to 131,072 before the point, 16,383 behind.
_EXACT = Context(prec=150_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_FRACTION = re.compile(r"\.(\d+)")


class UnknownTypeError(ValueError):
    """The schema has a type that no Delta type holds."""


class ValueConversionError(ValueError):
    """A value does not fit the type that its schema says."""


class UnrepresentableError(ValueConversionError):
    """The value is right, and Delta has no place for it: it is NULL there, and counted."""


@dataclass(frozen=True)
class Column:
    """One column of a captured table."""

    name: str
    type: pa.DataType
    convert: Convert = field(repr=False, compare=False)
    """From the JSON value (never `None`) to what Arrow takes."""
    optional: bool = True
    default: Any = None
    """Value that the source gives to rows which exist when the column is added, as JSON."""
    implicit: Any = None
    """The same where the column has no default and may not be NULL: MySQL's."""

    def value(self, raw: Any) -> Any:
        """Convert one JSON value.

        Raises:
            UnrepresentableError: it is a value that Delta cannot hold.
            ValueConversionError: it does not fit the schema.
        """
        if raw is None:
            return None
        try:
            return self.convert(raw)
        except UnrepresentableError:
            raise
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise ValueConversionError(f"{self.name}: {raw!r} is no {self.type} ({error})") from error


def column(schema: dict[str, Any]) -> Column:
    """Return the column that a field of a Connect struct schema describes.

    Raises:
        UnknownTypeError: its type is not known.
    """
    arrow, convert = _type(schema)
    optional, default = bool(schema.get("optional", True)), schema.get("default")
    return Column(schema["field"], arrow, convert, optional, default, _implicit(schema))


def _implicit(schema: dict[str, Any]) -> Any:
    """Return the value (as JSON) that MySQL gives to rows which exist, `None` where that is not known.

    Source: https://dev.mysql.com/doc/refman/8.4/en/data-type-defaults.html. How long a BINARY is, no event says.
    """
    name, parameters = schema.get("name"), schema.get("parameters", {})
    if name == "io.debezium.data.Enum":
        return parameters.get("allowed", "").split(",")[0]
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


def _same(value: Any) -> Any:
    return value


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
    if not _FIRST_DAY <= _whole(value) <= _LAST_DAY:
        raise UnrepresentableError(f"{value} days from 1970-01-01 lie outside of the years 1 to 9999")
    return int(value)


def _micros(value: int) -> int:
    """Microseconds since the epoch, of the years 1 to 9999."""
    if not _FIRST_DAY <= value // _MICROS_PER_DAY <= _LAST_DAY:
        raise UnrepresentableError(f"{value} microseconds from 1970-01-01 lie outside of the years 1 to 9999")
    return value


def _zoned_timestamp(value: str) -> int:
    """Microseconds since the epoch of an ISO timestamp with an offset; further digits are cut."""
    if not _FOUR_DIGIT_YEAR.match(value):
        raise UnrepresentableError(f"{value} lies outside of the years 1 to 9999")
    text = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), value)
    moment = datetime.fromisoformat(text)
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


def _decimal(schema: dict[str, Any]) -> tuple[pa.DataType, Convert]:
    parameters = schema.get("parameters", {})
    scale = int(parameters.get("scale", 0))
    # BIGINT UNSIGNED alone comes without a precision.
    precision = int(parameters.get("connect.decimal.precision", MAX_PRECISION if scale else 20))
    if precision > MAX_PRECISION or scale < 0:
        # More digits than Delta has: text keeps them all.
        return pa.string(), lambda value: format(_number(value, scale), "f")
    return pa.decimal128(precision, scale), lambda value: _number(value, scale)


def _number(value: Any, scale: int) -> Decimal:
    """A decimal as the converter writes it: a number, or base64 of the unscaled two's complement."""
    if isinstance(value, str):
        return Decimal(int.from_bytes(_bytes(value), "big", signed=True)).scaleb(-scale, _EXACT)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a number")
    return Decimal(value)


def _variable_decimal(value: dict[str, Any]) -> str:
    return format(_number(value["value"], int(value["scale"])), "f")


def _bits(value: str) -> bytes:
    """BIT(n) as bytes, most significant first, as the databases print it."""
    return _bytes(value)[::-1]


_NTZ = pa.timestamp("us")
_INSTANT = pa.timestamp("us", tz="UTC")

_SEMANTIC: dict[str, tuple[pa.DataType, Convert]] = {
    "io.debezium.time.Date": (pa.date32(), _date),
    "org.apache.kafka.connect.data.Date": (pa.date32(), _date),
    "io.debezium.time.Timestamp": (_NTZ, lambda value: _micros(_whole(value) * 1000)),
    "io.debezium.time.MicroTimestamp": (_NTZ, lambda value: _micros(_whole(value))),
    "io.debezium.time.NanoTimestamp": (_NTZ, lambda value: _micros(_whole(value) // 1000)),
    "org.apache.kafka.connect.data.Timestamp": (_NTZ, lambda value: _micros(_whole(value) * 1000)),
    "io.debezium.time.ZonedTimestamp": (_INSTANT, _zoned_timestamp),
    "io.debezium.time.Time": (pa.string(), lambda value: time_text(_whole(value) * 1000)),
    "io.debezium.time.MicroTime": (pa.string(), lambda value: time_text(_whole(value))),
    "io.debezium.time.NanoTime": (pa.string(), lambda value: time_text(_whole(value) // 1000)),
    "org.apache.kafka.connect.data.Time": (pa.string(), lambda value: time_text(_whole(value) * 1000)),
    "io.debezium.data.VariableScaleDecimal": (pa.string(), _variable_decimal),
    "io.debezium.data.Bits": (pa.binary(), _bits),
}

_PLAIN: dict[str, tuple[pa.DataType, Convert]] = {
    "int8": (pa.int8(), _whole),
    "int16": (pa.int16(), _whole),
    "int32": (pa.int32(), _whole),
    "int64": (pa.int64(), _whole),
    "float": (pa.float32(), float),
    "float32": (pa.float32(), float),
    "double": (pa.float64(), float),
    "float64": (pa.float64(), float),
    "boolean": (pa.bool_(), _bool),
    "string": (pa.string(), _text),
    "bytes": (pa.binary(), _bytes),
}


def _type(schema: dict[str, Any]) -> tuple[pa.DataType, Convert]:
    name, kind = schema.get("name"), schema.get("type")
    if name == "org.apache.kafka.connect.data.Decimal":
        return _decimal(schema)
    if name in _SEMANTIC:
        return _SEMANTIC[name]
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "array":
        arrow, convert = _type(schema["items"])
        return pa.list_(arrow), lambda value: [None if item is None else convert(item) for item in value]
    if kind == "map":
        key, convert_key = _type(schema["keys"])
        item, convert_item = _type(schema["values"])

        def pairs(value: Any) -> list[tuple[Any, Any]]:
            entries = value.items() if isinstance(value, dict) else value
            return [(convert_key(k), None if v is None else convert_item(v)) for k, v in entries]

        return pa.map_(key, item), pairs
    if kind == "struct":
        fields = [column(one) for one in schema["fields"]]
        return (
            pa.struct([(one.name, one.type) for one in fields]),
            lambda value: {one.name: one.value(value.get(one.name)) for one in fields},
        )
    raise UnknownTypeError(f"{schema.get('field')}: type {name or kind} is not known")


def is_unavailable(raw: Any) -> bool:
    """Tell whether a value was left out by PostgreSQL because it did not change."""
    if isinstance(raw, str):
        return raw in _UNAVAILABLE_TEXTS
    return isinstance(raw, list | dict) and raw in _UNAVAILABLE_OTHERS


_SQL = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.binary(): "BINARY",
    pa.large_binary(): "BINARY",
    pa.date32(): "DATE",
    _NTZ: "TIMESTAMP_NTZ",
    _INSTANT: "TIMESTAMP",
}


def sql_type(arrow: pa.DataType) -> str:
    """Return Spark's name of a type."""
    if arrow in _SQL:
        return _SQL[arrow]
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if pa.types.is_map(arrow):
        return f"MAP<{sql_type(arrow.key_type)},{sql_type(arrow.item_type)}>"
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return f"ARRAY<{sql_type(arrow.value_type)}>"
    if pa.types.is_struct(arrow):
        return "STRUCT<" + ",".join(f"`{one.name}`:{sql_type(one.type)}" for one in arrow) + ">"
    raise UnknownTypeError(f"{arrow} has no Spark type")


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return "`" + name.replace("`", "``") + "`"


_INTEGERS = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 20}
_INTEGER_ORDER = list(_INTEGERS)


def widened(table: pa.DataType, event: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both, among those that lose no digit; `None` where there is none.

    Rules: those of https://docs.delta.io/delta-type-widening/
    """
    if table == event:
        return table
    if table in _INTEGERS and event in _INTEGERS:
        return max(table, event, key=_INTEGER_ORDER.index)
    if {table, event} == {pa.float32(), pa.float64()}:
        return pa.float64()
    if pa.types.is_decimal(table) and pa.types.is_decimal(event):
        scale = max(table.scale, event.scale)
        precision = max(table.precision - table.scale, event.precision - event.scale) + scale
        return pa.decimal128(precision, scale) if precision <= MAX_PRECISION else None
    if table in _INTEGERS and event == pa.float64():
        return event if table != pa.int64() else None
    if table == pa.float64() and event in _INTEGERS and event != pa.int64():
        return table
    if table in _INTEGERS and pa.types.is_decimal(event):
        digits = max(_INTEGERS[table], event.precision - event.scale)
        return pa.decimal128(digits + event.scale, event.scale) if digits + event.scale <= MAX_PRECISION else None
    if pa.types.is_decimal(table) and event in _INTEGERS and table.precision - table.scale >= _INTEGERS[event]:
        return table
    if table == pa.date32() and event == _NTZ:
        return event
    if table == _NTZ and event == pa.date32():
        return table
    return None
