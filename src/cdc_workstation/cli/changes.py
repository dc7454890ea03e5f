"""Change events as people read them: decoded from Kafka records, and shown with what a change changed. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
from rich.text import Text

from cdc_workstation.sink.columns import Column, column
from cdc_workstation.sink.decoder import locate
from cdc_workstation.sink.events import MalformedError, Record
from cdc_workstation.sink.unavailable import is_unavailable
from cdc_workstation.sink.values import UnknownTypeError, ValueConversionError

Row = dict[str, Any]

OPERATIONS = {"c": "insert", "u": "update", "d": "delete", "r": "read", "t": "truncate"}
"""Debezium's `op`, in words; `read` is a row of a snapshot."""
UNAVAILABLE = "(unavailable)"
"""Stands for a large value that did not change, which PostgreSQL does not send."""

_STYLES = {"insert": "green", "update": "yellow", "delete": "red", "read": "cyan", "truncate": "bold red"}
_VALUE_CHARACTERS = 60


@dataclass(frozen=True)
class RowChange:
    """One record of a captured table's topic.

    Attributes:
        kind: `insert`, `update`, `delete`, `read`, `truncate`, `tombstone`, or `unreadable`.
        at: when Kafka took it.
        partition: the topic's partition.
        offset: its offset there.
        key: the key's columns.
        before: the row before the change; `None` if there was none, or the event does not say.
        after: the row after the change; `None` if there is none.
        changed: the columns whose value differs, in the row's order.
        position: the place in the source's log, a GTID or an LSN.
        lag: seconds from the commit in the source to Kafka; `None` for rows of a snapshot.
        problem: why the record cannot be read; empty if it can.
    """

    kind: str
    at: datetime
    partition: int
    offset: int
    key: Row = field(default_factory=dict)
    before: Row | None = None
    after: Row | None = None
    changed: tuple[str, ...] = ()
    position: str = ""
    lag: float | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON document takes it."""
        return {
            "op": self.kind,
            "key": plain(self.key),
            "before": plain(self.before),
            "after": plain(self.after),
            "changed": list(self.changed),
            "position": self.position,
            "partition": self.partition,
            "offset": self.offset,
            "at": self.at.isoformat(),
            "lag_seconds": None if self.lag is None else round(self.lag, 3),
            **({"problem": self.problem} if self.problem else {}),
        }


class ChangeDecoder:
    """Decodes records; schemas are parsed once for each version of a table."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, Column]] = {}

    def decode(self, record: Record) -> RowChange:
        """Return what a record says; one that is no change event is `unreadable`, with the problem."""
        at = datetime.fromtimestamp(record.timestamp_ms / 1000, tz=UTC)
        try:
            return self._decode(record, at)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"no change event: {error}"
            return RowChange("unreadable", at, record.partition, record.offset, problem=problem)

    def _decode(self, record: Record, at: datetime) -> RowChange:
        key = self._row(*_split(record.key)) or {}
        if record.value is None:
            return RowChange("tombstone", at, record.partition, record.offset, key)
        schema, payload = _split(record.value)
        if not isinstance(payload, dict) or payload.get("op") not in OPERATIONS:
            raise ValueError("the record has no Debezium envelope")
        fields = {one["field"]: one for one in schema.get("fields", [])}
        before = self._row(fields.get("before", {}), payload.get("before"))
        after = self._row(fields.get("after", {}), payload.get("after"))
        source = payload.get("source") or {}
        try:
            position = locate(source)[1]
        except MalformedError:
            position = ""
        lag = None
        if source.get("ts_ms") and str(source.get("snapshot") or "false") == "false":
            lag = max(record.timestamp_ms - int(source["ts_ms"]), 0) / 1000
        kind = OPERATIONS[payload["op"]]
        changed = differing(before, after) if kind == "update" else ()
        return RowChange(kind, at, record.partition, record.offset, key, before, after, changed, position, lag)

    def _row(self, schema: Mapping[str, Any], raw: Any) -> Row | None:
        """Convert a row's values to Python's, as Delta has them; one of an unknown type stays as it is."""
        if not isinstance(raw, dict):
            return None
        fields = schema.get("fields") or []
        cache_key = json.dumps(fields, sort_keys=True, default=str)
        if cache_key not in self._columns:
            self._columns[cache_key] = _columns(fields)
        columns = self._columns[cache_key]
        return {name: _value(columns.get(name), value) for name, value in raw.items()}


def differing(before: Row | None, after: Row | None) -> tuple[str, ...]:
    """Return the columns whose value differs; none if a side is not known."""
    if not before or not after:
        return ()
    return tuple(
        name for name, value in after.items() if value != UNAVAILABLE and (name not in before or before[name] != value)
    )


def shown(change: RowChange, *, all_columns: bool = False) -> Text:
    """Return a change as lines for a terminal: what it is on the first, the row with what changed below it.

    Args:
        change: the change.
        all_columns: show the columns of an update that did not change, too.
    """
    line = Text()
    line.append(f"{change.at:%H:%M:%S}.{change.at.microsecond // 1000:03d} ", style="dim")
    line.append(f"{change.kind:<8} ", style=_STYLES.get(change.kind, "magenta"))
    line.append(" ".join(f"{name}={text(value)}" for name, value in change.key.items()) or "-", style="bold")
    place = [change.position, f"offset {change.partition}:{change.offset}"]
    if change.lag is not None:
        place.append(f"lag {change.lag * 1000:.0f} ms" if change.lag < 1 else f"lag {change.lag:.1f} s")
    line.append("  " + "  ".join(part for part in place if part), style="dim")
    if change.problem:
        line.append(f"\n    {change.problem}", style="red")
    for name, value, is_changed in _cells(change, all_columns=all_columns):
        line.append("\n    ")
        line.append(f"{name}: ", style="bold" if is_changed else "dim")
        line.append(value)
    return line


def _cells(change: RowChange, *, all_columns: bool) -> list[tuple[str, Text, bool]]:
    """Return the columns to show, each with its value and whether that changed."""
    row = change.after or change.before
    if row is None:
        return []
    cells = []
    for name, value in row.items():
        if name in change.changed:
            before = (change.before or {}).get(name)
            cell = Text.assemble((text(before), "red"), (" -> ", "dim"), (text(value), "bold green"))
            cells.append((name, cell, True))
        # An update whose event does not say what was before shows the whole row.
        elif (all_columns or not change.changed) and (name not in change.key or all_columns):
            cells.append((name, Text(text(value), style="strike dim" if change.kind == "delete" else ""), False))
    return cells


def text(value: Any) -> str:
    """Return a value as people read it: one line, cut where it is long."""
    if value is None:
        return "NULL"
    line = value if isinstance(value, str) else str(plain(value))
    line = " ".join(line.split()) if "\n" in line else line
    return line if len(line) <= _VALUE_CHARACTERS else f"{line[: _VALUE_CHARACTERS - 3]}..."


def _split(raw: bytes | None) -> tuple[Mapping[str, Any], Any]:
    """Return a record's schema and its payload."""
    if raw is None:
        return {}, None
    document = json.loads(raw, parse_float=Decimal)
    if isinstance(document, dict) and "payload" in document:
        return document.get("schema") or {}, document["payload"]
    return {}, document


def _columns(fields: list[dict[str, Any]]) -> dict[str, Column]:
    found = {}
    for one in fields:
        try:
            found[one["field"]] = column(one)
        except UnknownTypeError:
            continue
    return found


def _value(kind: Column | None, raw: Any) -> Any:
    if raw is None:
        return None
    if is_unavailable(raw):
        return UNAVAILABLE
    if kind is None:
        return raw
    try:
        return pa.array([kind.value(raw)], kind.type).to_pylist()[0]
    except (ValueConversionError, pa.ArrowException, ValueError, OverflowError):
        return raw


def plain(value: Any) -> Any:
    """Return a value as JSON takes it: decimals and times as text, so that no digit is lost."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return "base64:" + base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
