"""Canonical values: a value in the source and what the sink makes of it are one text, other values are not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_workstation.verify.values import Family, Kind, from_delta, from_source, key_of

MOMENT = datetime(2024, 2, 29, 12, 0, 0, 250_000)
LIST = Family("list", Family("number"))


def _family(kind: str) -> Family:
    return Family(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "source", "delta", "arrow"),
    [
        ("number", "1", 1, pa.int32()),
        ("number", "00042", 42, pa.int64()),
        ("number", "18446744073709551615", Decimal(2**64 - 1), pa.decimal128(20, 0)),
        ("number", "1.50", Decimal("1.5000"), pa.decimal128(10, 4)),
        ("number", "-0.00", Decimal(0), pa.decimal128(4, 2)),
        ("number", "0.10", Decimal("0.1"), pa.decimal128(4, 2)),
        ("number", "0.0000000001", Decimal("0.0000000001"), pa.decimal128(20, 10)),
        ("number", "12345678901234567890123456789012345671", Decimal("12345678901234567890123456789012345671"), None),
        ("number", "123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789", None),
        ("number", "NaN", "NaN", None),
        ("number", "1", True, pa.bool_()),
        ("float", "0.10000000149011612", 0.1, pa.float32()),
        ("float", "NaN", float("nan"), pa.float64()),
        ("float", "-0", 0.0, pa.float64()),
        ("float", "-Infinity", float("-inf"), pa.float64()),
        ("text", "ünï\x00", "ünï\x00", pa.string_view()),
        ("json", '{"b": 1.50, "a": [1e2, null]}', '{"a":[100,null],"b":1.5}', None),
        ("json", "null", "null", None),
        ("json", '"text"', '"text"', None),
        ("json", "12345678901234567890123.25", "12345678901234567890123.250", None),
        ("bytes", b"\x00\xff", b"\x00\xff", pa.binary()),
        ("bytes", "\\x00ff", b"\x00\xff", pa.binary()),
        ("bits", b"\x05", b"\x05", pa.binary()),
        ("bits", "0101", b"\x05", pa.binary()),
        ("bits", "1", True, pa.bool_()),
        ("moment", "2024-02-29 12:00:00.25", MOMENT, pa.timestamp("us")),
        ("moment", "2024-02-29 12:00:00.250000", MOMENT.replace(tzinfo=UTC), pa.timestamp("us", tz="UTC")),
        ("moment", "1709208000250000.000000", MOMENT, pa.timestamp("us")),
        ("moment", "2024-02-29", date(2024, 2, 29), pa.date32()),
        ("moment", "0001-01-01", date(1, 1, 1), pa.date32()),
        ("moment", "2024-02-29", datetime(2024, 2, 29), pa.timestamp("us")),
        ("moment", "0000-00-00", None, pa.date32()),
        ("moment", "2024-00-15 10:00:00", None, pa.timestamp("us")),
        ("moment", "0000-01-01", None, pa.date32()),
        ("moment", "-62167219200000000", None, pa.timestamp("us")),
        ("moment", "Infinity", None, pa.timestamp("us")),
        ("moment", "9999-12-31 23:59:59.999999", datetime.max, pa.timestamp("us")),
        ("finite", "NaN", None, pa.decimal128(4, 2)),
        ("finite", "-Infinity", None, pa.decimal128(4, 2)),
        ("finite", "1.50", Decimal("1.5"), pa.decimal128(4, 2)),
        ("time", "-838:59:00.000000", "-838:59:00", None),
        ("time", "00:00:01.5", "00:00:01.500000", None),
        ("timetz", "10:00:00+02", "08:00:00Z", None),
        ("interval", "P1Y2M3DT4H5M6.7S", "P1Y2M3DT4H5M6.7S", None),
        ("interval", "PT0S", "P0Y0M0DT0H0M0S", None),
        ("interval", "P-1M", "P0Y-1M0DT0H0M0S", None),
        ("interval", "P7D", "P1W", None),
        # As items of arrays they are in Delta as PostgreSQL writes them.
        ("interval", "P1Y2M-3DT4H5M6.7S", "1 year 2 mons -3 days +04:05:06.7", None),
        ("interval", "P-1MT-0.5S", "-1 mons -00:00:00.5", None),
        ("interval", "PT0S", "00:00:00", None),
        ("interval", "P-178000000Y", "-178000000 years", None),
        ("geometry", b"\xe6\x10\x00\x00\x01", {"wkb": b"\x01", "srid": 4326}, None),
        ("geometry", b"\x00\x00\x00\x00\x01", {"wkb": b"\x01", "srid": None}, None),
        ("point", "(1,2.5)", {"x": 1.0, "y": 2.5}, None),
        ("vector", b"\x00\x00\x80?\x00\x00\x00@", [1.0, 2.0], pa.list_(pa.float32())),
    ],
)
def test_same_value_has_one_text(kind: Kind, source: Any, delta: Any, arrow: pa.DataType | None) -> None:
    assert from_source(Family(kind), [source]) == from_delta(Family(kind), pa.array([delta], arrow))


@pytest.mark.parametrize(
    ("kind", "source", "delta"),
    [
        ("number", "1.50", Decimal("1.51")),
        ("number", "12345678901234567890123456789012345671", Decimal("12345678901234567890123456789012345672")),
        ("float", "0.1", 0.2),
        ("text", "a", "A"),
        ("text", "a", "a "),
        ("text", "", None),
        ("json", "[1]", "[2]"),
        ("json", '{"a": 1}', '{"a": "1"}'),
        ("json", "null", None),
        ("bytes", b"\x00", b""),
        ("moment", "2024-02-29", datetime(2024, 2, 29, 0, 0, 0, 1)),
        ("moment", "0000-00-00", datetime(1970, 1, 1)),
        ("time", "00:00:01", "00:00:01.000001"),
        ("interval", "P1M", "P0Y0M30DT0H0M0S"),
    ],
)
def test_other_value_has_another_text(kind: str, source: Any, delta: Any) -> None:
    assert from_source(_family(kind), [source]) != from_delta(_family(kind), pa.array([delta]))


@pytest.mark.parametrize("family", [_family("text"), _family("number"), _family("moment"), _family("json"), LIST])
def test_null_is_null_on_both_sides(family: Family) -> None:
    assert from_source(family, [None]) == from_delta(family, pa.nulls(1)) == [None]


@pytest.mark.parametrize(
    ("item", "source", "delta", "arrow"),
    [
        ("number", "[1, 2, null]", [1, 2, None], pa.int32()),
        ("number", "[1.50]", [Decimal("1.5")], pa.decimal128(4, 2)),
        ("number", "[true, false]", [True, False], pa.bool_()),
        ("text", '["a,b", null, "\\"q\\""]', ["a,b", None, '"q"'], pa.string()),
        ("moment", '["2024-02-29T12:00:00.25"]', [MOMENT], pa.timestamp("us")),
        ("moment", '["2024-02-29"]', [date(2024, 2, 29)], pa.date32()),
        ("float", '[0.5, "NaN"]', [0.5, float("nan")], pa.float64()),
        ("bytes", '["\\\\x00ff"]', [b"\x00\xff"], pa.binary()),
        ("json", '[{"a": 1}, [2]]', ['{"a":1.0}', "[2]"], pa.string()),
        ("text", "[]", [], pa.string()),
        ("interval", '["P1D", null]', ["1 day", None], pa.string()),
    ],
)
def test_arrays_are_compared_item_by_item(item: Kind, source: str, delta: list[Any], arrow: pa.DataType) -> None:
    family = Family("list", Family(item))
    assert from_source(family, [source]) == from_delta(family, pa.array([delta], pa.list_(arrow)))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**14), max_value=10**14))
@settings(deadline=None)
def test_decimals_keep_every_digit(value: Decimal) -> None:
    column = pa.array([value], pa.decimal128(38, 4))

    assert from_source(Family("number"), [str(value)]) == from_delta(Family("number"), column)
    assert Decimal(str(from_delta(Family("number"), column)[0])) == value


@given(st.datetimes())
@settings(deadline=None)
def test_moments_are_microseconds_since_the_epoch(value: datetime) -> None:
    text = from_source(Family("moment"), [value.isoformat(sep=" ")])

    assert text == from_delta(Family("moment"), pa.array([value], pa.timestamp("us")))
    assert datetime(1970, 1, 1) + timedelta(microseconds=int(str(text[0]))) == value


@given(st.binary(max_size=20), st.integers(), st.text(max_size=20))
@settings(deadline=None)
def test_keys_of_events_match_rows(raw: bytes, number: int, text: str) -> None:
    assert key_of(Family("bytes"), raw) == from_source(Family("bytes"), [raw])[0]
    assert key_of(Family("number"), number) == from_source(Family("number"), [str(number)])[0]
    assert key_of(Family("text"), text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON)
@settings(deadline=None)
def test_json_documents_are_equal_by_content(one: Any, other: Any) -> None:
    first, second = from_source(Family("json"), [json.dumps(one, indent=1), json.dumps(other, sort_keys=True)])

    assert (first == second) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    assert from_delta(Family("json"), pa.array([json.dumps(one, sort_keys=True)])) == [first]
