"""Columns: from Kafka Connect's schema of a message to Arrow, Spark and Delta types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.arrays import INSTANT, NTZ, Bulk
from cdc_workstation.sink.values import (
    MAX_PRECISION,
    MYSQL,
    Convert,
    UnknownTypeError,
    UnrepresentableError,
    ValueConversionError,
    conversion,
    document_text,
    implicit,
)

# The parameter of a column that may not be NULL in the database, though the event's schema lets it.
REQUIRED = "cdc.required"


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
    bulk: Bulk | None = field(default=None, repr=False, compare=False)
    """From all JSON values to an Arrow array, if that needs no call for each."""
    semantic: str = ""
    """The schema's name, which says what the values mean."""

    @property
    def is_json(self) -> bool:
        """Whether the text is a JSON document."""
        return self.semantic == "io.debezium.data.Json"

    @property
    def is_bits(self) -> bool:
        """Whether the bytes are a BIT(n)."""
        return self.semantic == "io.debezium.data.Bits"

    @property
    def is_year(self) -> bool:
        """Whether the number is a YEAR."""
        return self.semantic == "io.debezium.time.Year"

    def array(self, values: Sequence[Any], connector: str = "") -> pa.Array | None:
        """Convert JSON values to an Arrow array, in one go.

        Args:
            values: the values, with `None` for NULL.
            connector: which connector wrote them.

        Returns:
            The array; `None` if the values have to be converted one by one, as some of them may not fit.
        """
        if self.bulk is None or (self.is_json and connector in MYSQL):
            return None
        try:
            return self.bulk(values)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return None

    def value_of(self, raw: Any, connector: str) -> Any:
        """Convert one JSON value of a row; MySQL's documents are written as MySQL writes them, by a stream too."""
        value = self.value(raw)
        return document_text(value) if self.is_json and value is not None and connector in MYSQL else value

    def key(self, raw: Any) -> Any:
        """Convert one JSON value of a key, which has to be hashable: an array is a tuple."""
        return _hashable(self.value(raw))

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


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def column(schema: dict[str, Any]) -> Column:
    """Return the column that a field of a Connect struct schema describes.

    Raises:
        UnknownTypeError: its type is not known.
    """
    arrow, convert, bulk = conversion(schema)
    parameters = schema.get("parameters") or {}
    # Our own converters (roles/debezium) let a value that cannot be sent be NULL, and say that NULL is not one of them.
    optional = bool(schema.get("optional", True)) and parameters.get(REQUIRED) != "true"
    return Column(
        schema["field"],
        arrow,
        convert,
        optional,
        schema.get("default"),
        implicit(schema),
        bulk,
        schema.get("name") or "",
    )


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
    NTZ: "TIMESTAMP_NTZ",
    INSTANT: "TIMESTAMP",
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
    if table == pa.date32() and event == NTZ:
        return event
    if table == NTZ and event == pa.date32():
        return table
    return None
