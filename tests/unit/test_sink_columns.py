"""Types of the Delta sink: from Debezium's schemas to Delta without losing a digit."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cdc_workstation.sink.columns import column, sql_type, widened
from cdc_workstation.sink.unavailable import UNAVAILABLE, is_unavailable
from cdc_workstation.sink.values import UnknownTypeError, ValueConversionError, time_text


def typed(kind: str, name: str | None = None, **parameters: str) -> Any:
    schema: dict[str, Any] = {"type": kind, "optional": True, "field": "c"}
    if name:
        schema["name"] = name
    if parameters:
        schema["parameters"] = {key.replace("_", "."): value for key, value in parameters.items()}
    return column(schema)


DECIMAL = "org.apache.kafka.connect.data.Decimal"
NTZ = pa.timestamp("us")
INSTANT = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("schema", "raw", "kind", "value"),
    [
        (typed("int32"), -5, pa.int32(), -5),
        (typed("int64"), 2**63 - 1, pa.int64(), 2**63 - 1),
        (typed("string"), "日本 \N{PILE OF POO}", pa.string(), "日本 \N{PILE OF POO}"),
        (typed("bytes"), base64.b64encode(b"\x00\xff").decode(), pa.binary(), b"\x00\xff"),
        (typed("boolean"), True, pa.bool_(), True),
        (typed("double"), 1, pa.float64(), 1.0),
        (typed("string", "io.debezium.data.Json"), '{"a": 1}', pa.string(), '{"a": 1}'),
        (typed("string", "io.debezium.data.Enum", allowed="IN,OUT"), "IN", pa.string(), "IN"),
        (
            typed("bytes", DECIMAL, scale="2", connect_decimal_precision="10"),
            Decimal("12345678.90"),
            pa.decimal128(10, 2),
            Decimal("12345678.90"),
        ),
        (
            typed("bytes", DECIMAL, scale="2", connect_decimal_precision="10"),
            base64.b64encode((-1).to_bytes(1, "big", signed=True)).decode(),
            pa.decimal128(10, 2),
            Decimal("-0.01"),
        ),
        (
            typed("bytes", DECIMAL, scale="30", connect_decimal_precision="65"),
            Decimal("1E-30"),
            pa.string(),
            "0." + "0" * 29 + "1",
        ),
        (typed("int32", "io.debezium.time.Date"), -1, pa.date32(), -1),
        (typed("int64", "io.debezium.time.Timestamp"), 1, NTZ, 1000),
        (typed("int64", "io.debezium.time.MicroTimestamp"), 1, NTZ, 1),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "1970-01-01T01:00:00.5+01:00", INSTANT, 500_000),
        (typed("string", "io.debezium.time.ZonedTimestamp"), "1969-12-31T23:59:59.999999Z", INSTANT, -1),
        (typed("int64", "io.debezium.time.MicroTime"), -1_500_000, pa.string(), "-00:00:01.500000"),
    ],
)
def test_value_keeps_what_it_is(schema: Any, raw: Any, kind: pa.DataType, value: Any) -> None:
    assert schema.type == kind
    assert schema.value(raw) == value
    assert pa.array([schema.value(raw), schema.value(None)], kind).null_count == 1


def test_time_may_be_longer_than_a_day() -> None:
    assert time_text(838 * 3_600_000_000 + 59 * 60_000_000 + 59_000_000) == "838:59:59"


def test_value_of_another_type_is_refused_with_the_columns_name() -> None:
    with pytest.raises(ValueConversionError, match="c: 'x' is no int32"):
        typed("int32").value("x")


def test_unknown_type_is_named() -> None:
    with pytest.raises(UnknownTypeError, match="strange"):
        typed("strange")


@pytest.mark.parametrize(
    ("table", "event", "result"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int32(), pa.int64()),
        (pa.decimal128(10, 2), pa.decimal128(10, 4), pa.decimal128(12, 4)),
        (pa.decimal128(38, 0), pa.decimal128(38, 10), None),
        (pa.int32(), pa.decimal128(5, 2), pa.decimal128(12, 2)),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int64(), pa.float64(), None),
        (pa.string(), pa.int32(), None),
        (NTZ, INSTANT, None),
        (pa.date32(), NTZ, NTZ),
    ],
)
def test_type_is_widened_only_if_no_value_is_lost(
    table: pa.DataType, event: pa.DataType, result: pa.DataType | None
) -> None:
    assert widened(table, event) == result


def test_types_have_sparks_names() -> None:
    assert sql_type(pa.list_(pa.struct([("a", pa.decimal128(5, 1))]))) == "ARRAY<STRUCT<`a`:DECIMAL(5,1)>>"


@pytest.mark.parametrize(
    "raw",
    [
        UNAVAILABLE,
        base64.b64encode(UNAVAILABLE.encode()).decode(),
        [UNAVAILABLE],
        list(UNAVAILABLE.encode()),
        {UNAVAILABLE: UNAVAILABLE},
        f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
    ],
)
def test_unavailable_value_is_known_in_each_form(raw: Any) -> None:
    assert is_unavailable(raw)


@pytest.mark.parametrize("raw", ["", [], {}, [1, 2], ["a"], None, 5])
def test_value_that_is_there_is_not_unavailable(raw: Any) -> None:
    assert not is_unavailable(raw)
