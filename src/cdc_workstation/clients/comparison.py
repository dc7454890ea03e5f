"""Whether a row of a source and its row in Delta say the same, though each has types of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from cdc_workstation.clients.source import Json

Row = Mapping[str, Any]

# What the sink adds to a table's own columns.
METADATA_PREFIX = "_cdc_"
_SHOWN = 5


def same(source: Any, delta: Any) -> bool:
    """Tell whether a value read from MySQL or PostgreSQL is the value that the sink wrote.

    Types without a counterpart in Delta are text there (TIME, UUID, JSON, NUMERIC without a scale), and instants of
    MySQL are read without their zone, which is UTC.
    """
    if source is None or delta is None:
        return source is delta
    if isinstance(source, Json):
        return bool(json.loads(delta) == source.document)
    if isinstance(source, bytearray | memoryview):
        return bool(bytes(source) == delta)
    if isinstance(source, datetime) and isinstance(delta, datetime) and (source.tzinfo is None) != (not delta.tzinfo):
        return source.replace(tzinfo=source.tzinfo or UTC) == delta.replace(tzinfo=delta.tzinfo or UTC)
    if isinstance(source, set) and isinstance(delta, str):
        return source == set(filter(None, delta.split(",")))
    if isinstance(delta, str):
        return _as_text(source, delta)
    if isinstance(source, float) and source != source:
        return bool(delta != delta)
    return bool(source == delta)


def _as_text(source: Any, delta: str) -> bool:
    if isinstance(source, Decimal):
        return source == Decimal(delta) or (source.is_nan() and delta == "NaN")
    if isinstance(source, timedelta):
        return _time_text(source) == delta
    if isinstance(source, time):
        return (
            _time_text(
                timedelta(
                    hours=source.hour, minutes=source.minute, seconds=source.second, microseconds=source.microsecond
                )
            )
            == delta
        )
    if isinstance(source, UUID):
        return str(source) == delta
    if isinstance(source, Enum):
        return bool(source.value == delta)
    return bool(source == delta)


def _time_text(value: timedelta) -> str:
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}" if fraction else text


def differences(source: Iterable[Row], delta: Iterable[Row], key: Sequence[str]) -> list[str]:
    """Return what is different, a line for each row; empty where the tables are equal.

    Compared are the columns that the source has: the sink adds columns, and keeps those that the source dropped.

    Args:
        source: the rows of the source.
        delta: the rows of the Delta table.
        key: the primary key's columns.
    """
    found: list[str] = []
    there: dict[tuple[str, ...], Row] = {}
    for row in delta:
        identity = _identity(row, key)
        if identity in there:
            found.append(f"{_named(row, key)} is in Delta more than once")
        there[identity] = row
    for row in source:
        other = there.pop(_identity(row, key), None)
        if other is None:
            found.append(f"{_named(row, key)} is missing in Delta")
            continue
        wrong = [
            f"{name} is {other.get(name)!r} in Delta and {value!r} in the source"
            for name, value in row.items()
            if not same(value, other.get(name))
        ]
        if wrong:
            found.append(f"{_named(row, key)}: {'; '.join(wrong)}")
    found += [f"{_named(row, key)} is in Delta and not in the source" for row in there.values()]
    return found


def shown(lines: Sequence[str]) -> str:
    """Return the first of the lines, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])


def _identity(row: Row, key: Sequence[str]) -> tuple[str, ...]:
    return tuple(_canonical(row.get(name)) for name in key)


def _canonical(value: Any) -> str:
    """Return text that is the same for a key's value in the source and in Delta."""
    if isinstance(value, bool | Decimal):
        # Not `normalize`, which rounds to 28 digits and makes one key of two.
        text = format(Decimal(value), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, bytearray | memoryview | bytes):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)
    if isinstance(value, timedelta):
        return _time_text(value)
    return str(value)


def _named(row: Row, key: Sequence[str]) -> str:
    return "(" + ", ".join(f"{name}={row.get(name)!r}" for name in key) + ")"
