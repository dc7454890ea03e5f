"""A row of a source and its row in Delta: when they say the same, and how a difference is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from cdc_workstation.clients.comparison import differences, same, shown
from cdc_workstation.clients.source import Json

MOMENT = datetime(2024, 2, 29, 12, 0, 0, 250_000)


@pytest.mark.parametrize(
    ("source", "delta"),
    [
        (None, None),
        (1, 1),
        (2**64 - 1, Decimal(2**64 - 1)),
        (Decimal("1.50"), Decimal("1.5")),
        (Decimal("1E+2"), "100"),
        (Decimal("NaN"), "NaN"),
        (float("nan"), float("nan")),
        (MOMENT, MOMENT),
        (MOMENT, MOMENT.replace(tzinfo=UTC)),
        (MOMENT.astimezone(timezone(timedelta(hours=2))), MOMENT.astimezone(UTC)),
        (date(2024, 2, 29), date(2024, 2, 29)),
        (timedelta(hours=-838, minutes=-59), "-838:59:00"),
        (timedelta(seconds=1, microseconds=500_000), "00:00:01.500000"),
        (time(23, 59, 59), "23:59:59"),
        (Json({"a": [1, None]}), '{"a":[1,null]}'),
        (Json("text"), '"text"'),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a", "b"}, "b,a"),
        (set(), ""),
        (bytearray(b"\x00"), b"\x00"),
        (memoryview(b"\x00"), b"\x00"),
        (["a", None], ["a", None]),
        ("", ""),
    ],
)
def test_the_same(source: Any, delta: Any) -> None:
    assert same(source, delta)


@pytest.mark.parametrize(
    ("source", "delta"),
    [
        (None, ""),
        ("", None),
        ("a", "A"),
        ("a", "a "),
        (Decimal("1.50"), Decimal("1.51")),
        (Decimal("1.5"), "1.6"),
        (MOMENT, MOMENT + timedelta(microseconds=1)),
        (Json([1]), "[2]"),
        ({"a"}, "a,b"),
        (b"\x00", b"\x00\x00"),
        (float("nan"), 0.0),
    ],
)
def test_not_the_same(source: Any, delta: Any) -> None:
    assert not same(source, delta)


def test_rows_are_matched_by_key_whatever_their_order_and_further_columns() -> None:
    source = [{"id": 1, "part": Decimal("1.0"), "name": "a"}, {"id": 2, "part": Decimal(1), "name": None}]
    delta = [
        {"id": 2, "part": Decimal("1.00"), "name": None, "_cdc_op": "c", "dropped": 1},
        {"id": 1, "part": Decimal("1.00"), "name": "a", "_cdc_op": "c", "dropped": 1},
    ]
    assert differences(source, delta, ("id", "part")) == []


def test_every_kind_of_difference_is_told() -> None:
    source = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 5, "name": "e"}]
    delta = [{"id": 2, "name": "B"}, {"id": 3, "name": "c"}, {"id": 5, "name": "e"}, {"id": 5, "name": "e"}]
    assert differences(source, delta, ("id",)) == [
        "(id=5) is in Delta more than once",
        "(id=1) is missing in Delta",
        "(id=2): name is 'B' in Delta and 'b' in the source",
        "(id=3) is in Delta and not in the source",
    ]


def test_only_the_first_lines_are_shown() -> None:
    assert shown([str(number) for number in range(7)]) == "\n  0\n  1\n  2\n  3\n  4\n  and 2 more"


def test_keys_of_many_digits_stay_apart() -> None:
    keys = [Decimal("12345678901234567890123456789012345671"), Decimal("12345678901234567890123456789012345672")]
    rows = [{"id": key, "v": number} for number, key in enumerate(keys)]

    assert differences(rows, rows[::-1], ["id"]) == []
    assert differences(rows, rows[:1], ["id"]) == [
        "(id=Decimal('12345678901234567890123456789012345672')) is missing in Delta"
    ]
