"""Arrow arrays of a whole column's values at once; `None` where they have to be looked at one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# All values of a column at once; `None` where they have to be looked at one by one.
Bulk = Callable[[Sequence[Any]], pa.Array | None]
MICROS_PER_DAY = 86_400_000_000
FIRST_DAY, LAST_DAY = (
    date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    for year, month, day in ((1, 1, 1), (9999, 12, 31))
)
# A moment as Arrow reads it, of the same years.
_PLAIN_MOMENT = r"^([1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"


def checked(kind: pa.DataType, *types: type) -> Bulk:
    """Return what builds an array of values of just these Python types: Arrow takes a truth value for a number."""
    allowed = {*types, type(None)}

    def bulk(values: Sequence[Any]) -> pa.Array | None:
        return pa.array(values, kind) if allowed.issuperset(map(type, values)) else None

    return bulk


def floats(kind: pa.DataType) -> Bulk:
    """Return what builds an array of floating-point numbers."""
    allowed = {float, int, Decimal, type(None)}

    def bulk(values: Sequence[Any]) -> pa.Array | None:
        if not allowed.issuperset(map(type, values)):
            return None
        return pa.array([None if value is None else float(value) for value in values], kind)

    return bulk


def within(array: pa.Array, lowest: int, highest: int) -> bool:
    """Tell whether all values lie within bounds."""
    bounds = pc.min_max(array)
    return bounds["min"].as_py() is None or (lowest <= bounds["min"].as_py() and bounds["max"].as_py() <= highest)


def days_at_once(values: Sequence[Any]) -> pa.Array | None:
    """Convert days since the epoch."""
    days = whole_at_once(values)
    if days is None or not within(days, FIRST_DAY, LAST_DAY):
        return None
    return days.cast(pa.int32()).view(pa.date32())


def moments_at_once(micros: int) -> Bulk:
    """Return what converts counts of so many microseconds since the epoch."""
    a_day = MICROS_PER_DAY // micros

    def bulk(values: Sequence[Any]) -> pa.Array | None:
        counts = whole_at_once(values)
        if counts is None or not within(counts, FIRST_DAY * a_day, (LAST_DAY + 1) * a_day - 1):
            return None
        return (counts if micros == 1 else pc.multiply(counts, micros)).view(NTZ)

    return bulk


def instants_at_once(values: Sequence[Any]) -> pa.Array | None:
    """Convert ISO timestamps in UTC."""
    texts = texts_at_once(values)
    if texts is None or pc.all(pc.match_substring_regex(texts, _PLAIN_MOMENT)).as_py() is False:
        return None
    return texts.cast(INSTANT)


NTZ = pa.timestamp("us")
INSTANT = pa.timestamp("us", tz="UTC")
whole_at_once = checked(pa.int64(), int)
texts_at_once = checked(pa.string(), str)
