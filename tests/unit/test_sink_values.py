"""Values at the edges of their types: what the connectors write for them, and what is in Delta then."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cdc_workstation.sink.canary import event as canary_event
from cdc_workstation.sink.columns import Column, column
from cdc_workstation.sink.decoder import Decoder
from cdc_workstation.sink.events import Event, Record, RowSchema
from cdc_workstation.sink.rows import build
from cdc_workstation.sink.schema import needed
from cdc_workstation.sink.values import UnrepresentableError, ValueConversionError, document_text

DECIMAL = "org.apache.kafka.connect.data.Decimal"


def typed(kind: str, name: str = "", **parameters: str) -> Column:
    """A column with the schema that a connector writes."""
    named = {key.replace("_", "."): value for key, value in parameters.items()}
    return column({"type": kind, "optional": True, "field": "c", "name": name, "parameters": named})


def decimal(precision: int, scale: int) -> Column:
    return typed("bytes", DECIMAL, scale=str(scale), connect_decimal_precision=str(precision))


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


# The options 'a,b', 'e\f', 'x' as MySQL's connector writes them.
OPTIONS = r"a\,b,e\\f,x"


@pytest.mark.parametrize(
    ("schema", "raw", "kind", "value"),
    [
        # PostgreSQL: NUMERIC(5,-2), whose scale comes as 2046, and NUMERIC(3,5).
        (decimal(5, 2046), Decimal("1234600." + "0" * 2046), pa.decimal128(7, 0), Decimal(1234600)),
        (decimal(5, -2), 1234600, pa.decimal128(7, 0), Decimal(1234600)),
        (decimal(3, 5), Decimal("0.00123"), pa.decimal128(5, 5), Decimal("0.00123")),
        (decimal(65, 30), Decimal("-1E-30"), pa.string(), "-0." + "0" * 29 + "1"),
        (decimal(38, 0), 12345678901234567890123456789012345671, pa.decimal128(38, 0), None),
        (typed("int32", "io.debezium.time.Year"), 1900, pa.int32(), 0),
        (typed("int32", "io.debezium.time.Year"), 1901, pa.int32(), 1901),
        (typed("bytes", "io.debezium.data.Bits", length="10"), base64_of(b"\x01\x02"), pa.binary(), b"\x02\x01"),
        (typed("bytes", "io.debezium.data.Bits", length="10"), "", pa.binary(), b"\0\0"),
        (typed("string", "io.debezium.data.Enum", allowed=OPTIONS), r"a\,b", pa.string(), "a,b"),
        (typed("string", "io.debezium.data.Enum", allowed=OPTIONS), "a,b", pa.string(), "a,b"),
        (typed("string", "io.debezium.data.Enum", allowed=OPTIONS), r"e\\f", pa.string(), r"e\f"),
        (typed("string", "io.debezium.data.EnumSet", allowed=r"e\\f,x"), r"e\\f,x", pa.string(), r"e\f,x"),
        # PostgreSQL's labels are not escaped.
        (typed("string", "io.debezium.data.Enum", allowed="a,e\\f"), "e\\f", pa.string(), "e\\f"),
        (typed("double"), "NaN", pa.float64(), None),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "0001-01-01T00:00:00Z", pa.timestamp("us", "UTC"), None),
        (typed("int64", "io.debezium.time.MicroTimestamp"), -62_135_596_800_000_000, pa.timestamp("us"), None),
        (typed("int32", "io.debezium.time.Date"), 2_932_896, pa.date32(), None),
    ],
)
def test_value_is_the_sources(schema: Column, raw: Any, kind: pa.DataType, value: Any) -> None:
    one = pa.array([schema.value(raw)], schema.type)
    at_once = schema.array([raw, None])

    assert schema.type == kind
    assert value is None or one[0].as_py() == value
    assert at_once is None or at_once[0] == one[0]
    assert at_once is None or at_once[1].as_py() is None


@pytest.mark.parametrize(
    ("schema", "raw"),
    [
        (typed("int32", "io.debezium.time.Date"), 2_932_897),
        (typed("int32", "io.debezium.time.Date"), -719_163),
        (typed("int64", "io.debezium.time.Timestamp"), 253_402_300_800_000),
        (typed("int64", "io.debezium.time.MicroTimestamp"), -62_135_596_800_000_001),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "0000-12-31T23:59:59.999999Z"),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "+10000-01-01T00:00:00Z"),
        # By a stream 'a,b', by a snapshot the second option.
        (typed("string", "io.debezium.data.Enum", allowed=r"a\,b,a\\\,b"), r"a\,b"),
    ],
)
def test_value_without_a_place_in_delta_is_said_to_have_none(schema: Column, raw: Any) -> None:
    assert schema.array([raw]) is None
    with pytest.raises(UnrepresentableError):
        schema.value(raw)


@pytest.mark.parametrize(
    ("schema", "raw"),
    [
        (typed("int32"), True),
        (typed("int32"), Decimal("1.0")),
        (typed("int64"), "1"),
        (typed("boolean"), 1),
        (typed("string"), 1),
        (decimal(10, 2), True),
        (typed("int32", "io.debezium.time.Date"), Decimal(1)),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "2024-02-30T00:00:00Z"),
    ],
)
def test_value_of_another_type_is_never_converted(schema: Column, raw: Any) -> None:
    assert schema.array([raw]) is None
    with pytest.raises(ValueConversionError):
        schema.value(raw)


@pytest.mark.parametrize(
    ("stream", "mysql"),
    [
        ('{"a":[1,2.5,null],"b":{}}', '{"a": [1, 2.5, null], "b": {}}'),
        (r'{"q \" , : ":"x:y,z \\"}', r'{"q \" , : ": "x:y,z \\"}'),
        ('{"a": 1, "b": [1, 2]}', '{"a": 1, "b": [1, 2]}'),
        ('"a , b"', '"a , b"'),
        ("1e100", "1e100"),
    ],
)
def test_documents_have_mysqls_spaces_by_stream_and_snapshot(stream: str, mysql: str) -> None:
    assert document_text(stream) == mysql


def decoded(field: dict[str, Any], value: Any) -> Event:
    key, message = canary_event({"id": 1, "sent_ms": 0, "note": None}, 1)
    found = Decoder().decode(Record("debezium.db.rows", 0, 0, 0, key, message))
    assert isinstance(found, Event)
    found.schema = RowSchema.of([{"type": "int32", "optional": False, "field": "id"}, field])
    found.raw = {"id": 1, field["field"]: value}
    return found


def test_null_where_none_may_be_is_counted() -> None:
    """Our converters send NULL for a zero date, or NaN, in a column that may not be NULL."""
    field = {"type": "int32", "name": "io.debezium.time.Date", "optional": True, "field": "d"}
    required = decoded(field | {"parameters": {"cdc.required": "true"}}, None)
    optional = decoded(field, None)

    assert build([required], required.schema, ("id",), {}).nulls == {"d": 1}
    assert build([optional], optional.schema, ("id",), {}).nulls == {}


def test_row_whose_key_has_no_place_in_delta_is_a_dead_letter() -> None:
    lost = decoded({"type": "string", "optional": True, "field": "s"}, "x")
    lost.key = (None,)

    assert [one.reason for one in build([lost], lost.schema, ("id",), {}).dead_letters] == ["key"]


def test_mysqls_documents_are_written_alike_and_postgresqls_stay() -> None:
    field = {"type": "string", "name": "io.debezium.data.Json", "optional": True, "field": "doc"}
    mysql, postgres = decoded(field, '{"a":1}'), decoded(field, '{"a":1}')
    mysql.connector, postgres.connector = "mysql", "postgresql"

    assert build([mysql], mysql.schema, ("id",), {}).table["doc"].to_pylist() == ['{"a": 1}']
    assert build([postgres], postgres.schema, ("id",), {}).table["doc"].to_pylist() == ['{"a":1}']


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "default": r"it''s \\ q"},
        {"type": "string", "default": "padded  "},
        {"type": "bytes", "default": base64_of(b"00F")},
        {"type": "int32", "name": "io.debezium.time.Year", "default": 2000},
        {"type": "int64", "name": "io.debezium.time.Timestamp", "default": 0},
        {"type": "bytes", "name": DECIMAL, "parameters": {"scale": "2"}, "default": 9.99},
    ],
)
def test_default_that_cannot_be_trusted_is_null_until_the_snapshot(field: dict[str, Any]) -> None:
    identity = {"type": "int32", "optional": False, "field": "id"}

    change = needed({"id": pa.int32()}, RowSchema.of([identity, {"field": "n"} | field]), ["id"], "mysql")

    assert change.fills == []
    assert change.unknown == ["n"]
