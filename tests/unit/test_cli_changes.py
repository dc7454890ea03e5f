"""Change events as `cdc-workstation tail` shows them, and which of them it shows."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from cdc_workstation.cli.changes import UNAVAILABLE, ChangeDecoder, RowChange, plain, shown, text
from cdc_workstation.cli.conditions import Condition, matches
from cdc_workstation.sink.events import Record

FIELDS = [
    {"field": "id", "type": "int32", "optional": False},
    {"field": "name", "type": "string"},
    {"field": "born", "type": "int32", "name": "io.debezium.time.Date"},
]
COMMITTED = 1_795_810_317_000
SOURCES = {
    "mysql": {"connector": "mysql", "file": "binlog.000002", "pos": 198, "gtid": "uuid:7", "ts_ms": COMMITTED},
    "postgresql": {"connector": "postgresql", "lsn": 0x1A2B3C, "sequence": '["1","2"]', "ts_ms": COMMITTED},
}


def record(
    op: str, before: dict[str, Any] | None, after: dict[str, Any] | None, connector: str = "mysql", **source: Any
) -> Record:
    schema = {"fields": [{"field": side, "type": "struct", "fields": FIELDS} for side in ("before", "after")]}
    payload = {"op": op, "before": before, "after": after, "source": SOURCES[connector] | source}
    key = {"schema": {"fields": FIELDS[:1]}, "payload": {"id": (after or before or {}).get("id")}}
    value = json.dumps({"schema": schema, "payload": payload}).encode()
    return Record("debezium.a.t", 0, 17, COMMITTED + 42, json.dumps(key).encode(), value)


def decoded(*arguments: Any, **source: Any) -> RowChange:
    return ChangeDecoder().decode(record(*arguments, **source))


def test_update_tells_what_changed() -> None:
    change = decoded("u", {"id": 1, "name": "Ada", "born": 0}, {"id": 1, "name": "Bo", "born": 0})

    assert (change.kind, change.key, change.changed) == ("update", {"id": 1}, ("name",))
    assert "name: Ada -> Bo" in shown(change).plain
    assert "born" not in shown(change).plain
    assert "born: 1970-01-01" in shown(change, all_columns=True).plain


def test_changed_column_is_highlighted() -> None:
    line = shown(decoded("u", {"id": 1, "name": "Ada"}, {"id": 1, "name": "Bo"}))

    styles = {line.plain[span.start : span.end]: span.style for span in line.spans}
    assert (styles["Ada"], styles["Bo"]) == ("red", "bold green")


def test_values_are_those_of_delta() -> None:
    assert decoded("c", None, {"id": 1, "name": None, "born": 365}).after == {
        "id": 1,
        "name": None,
        "born": date(1971, 1, 1),
    }


@pytest.mark.parametrize(("connector", "position"), [("mysql", "uuid:7"), ("postgresql", "0/1A2B3C")])
def test_position_and_lag(connector: str, position: str) -> None:
    change = decoded("c", None, {"id": 1}, connector)

    assert (change.position, change.lag) == (position, 0.042)
    assert f"{position}  offset 0:17  lag 42 ms" in shown(change).plain


def test_row_of_a_snapshot_has_no_lag() -> None:
    assert decoded("r", None, {"id": 1}, snapshot="true").lag is None


def test_delete_shows_the_row_that_is_gone() -> None:
    assert "name: Ada" in shown(decoded("d", {"id": 1, "name": "Ada"}, None)).plain


def test_unavailable_value_is_no_change() -> None:
    change = decoded(
        "u",
        {"id": 1, "name": "long"},
        {"id": 1, "name": "__debezium_unavailable_value"},
        "postgresql",
    )

    assert change.after == {"id": 1, "name": UNAVAILABLE}
    assert change.changed == ()


def test_update_without_the_row_before_shows_the_whole_row() -> None:
    assert "name: Bo" in shown(decoded("u", None, {"id": 1, "name": "Bo"}, "postgresql")).plain


def test_tombstone() -> None:
    change = ChangeDecoder().decode(record("d", {"id": 1}, None)._replace(value=None))

    assert (change.kind, change.key) == ("tombstone", {"id": 1})


@pytest.mark.parametrize("value", [b"no JSON", b'{"a": 1}', b"[]", b'{"payload": {"op": "z"}}', b"\xff"])
def test_record_that_is_no_event_is_shown_with_the_problem(value: bytes) -> None:
    change = ChangeDecoder().decode(record("c", None, {"id": 1})._replace(value=value))

    assert change.kind == "unreadable"
    assert "no change event" in shown(change).plain


def test_json_keeps_all_digits() -> None:
    document = decoded("u", {"id": 1, "name": "Ada", "born": 0}, {"id": 1, "name": "Bo", "born": 1}).as_json()

    assert document["before"] == {"id": 1, "name": "Ada", "born": "1970-01-01"}
    assert (document["changed"], document["lag_seconds"]) == (["name", "born"], 0.042)
    assert plain({"d": Decimal("1.10"), "b": b"\x00"}) == {"d": "1.10", "b": "base64:AA=="}
    json.dumps(document)


def test_long_values_are_cut_to_a_line() -> None:
    assert len(text("x" * 500)) == 60
    assert text("two\nlines") == "two lines"


AT = datetime(2026, 11, 27, tzinfo=UTC)
CHANGE = RowChange(
    "update",
    AT,
    0,
    1,
    {"id": 7},
    {"id": 7, "price": Decimal("9.50"), "name": "Laptop", "note": None},
    {"id": 7, "price": Decimal("12.00"), "name": "Laptop Pro", "note": None},
)


@pytest.mark.parametrize(
    "given",
    [
        "id=7",
        "price > 10",
        "price<10",
        "price=12",
        "name~pro",
        "name=Laptop",
        "op=update",
        "op != insert",
        "note=NULL",
        "id>=7",
        "name != Phone",
    ],
)
def test_condition_that_holds(given: str) -> None:
    assert matches(CHANGE, [Condition.parse(given)])


@pytest.mark.parametrize("given", ["id=8", "price>12", "name~phone", "op=delete", "note!=null", "absent=1", "note<5"])
def test_condition_that_does_not_hold(given: str) -> None:
    assert not matches(CHANGE, [Condition.parse(given)])


def test_all_conditions_must_hold() -> None:
    assert not matches(CHANGE, [Condition.parse("id=7"), Condition.parse("op=delete")])


@pytest.mark.parametrize("given", ["price", "", "=3"])
def test_condition_that_is_not_valid_says_what_is(given: str) -> None:
    with pytest.raises(ValueError, match="use COLUMN=VALUE"):
        Condition.parse(given)
