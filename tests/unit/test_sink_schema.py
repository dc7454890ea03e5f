"""Schema changes: what a table needs to take the events' columns, or why it cannot."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from cdc_workstation.sink.events import RowSchema
from cdc_workstation.sink.schema import Change, Fill, IncompatibleError, needed

ID = {"type": "int32", "optional": False, "field": "id"}
NOTE = {"type": "string", "optional": True, "field": "note"}
Fields = list[dict[str, Any]]


def change_for(fields: Fields, table: Fields, previous: Fields | None = None, connector: str = "mysql") -> Change:
    """What a table needs whose events had the columns `previous`, by default the table's."""
    types = {one.name: one.type for one in RowSchema.of(table).columns}
    return needed(types, RowSchema.of(fields), RowSchema.of(previous or table).names, connector)


def test_columns_are_added_and_widened() -> None:
    change = change_for([ID | {"type": "int64"}, NOTE, {"type": "int16", "optional": True, "field": "n"}], [ID, NOTE])

    assert change.added == {"n": pa.int16()}
    assert change.retyped == {"id": pa.int64()}
    assert change.fills == []
    assert change.applied_to({"id": pa.int32(), "note": pa.string()}) == {
        "id": pa.int64(),
        "note": pa.string(),
        "n": pa.int16(),
    }


def test_column_in_the_place_of_another_counts_as_renamed() -> None:
    assert change_for([ID, NOTE | {"field": "comment"}], [ID, NOTE]).renamed == {"comment": "note"}
    assert change_for([ID, {"type": "int32", "field": "comment"}], [ID, NOTE]).renamed == {}


def test_column_is_not_renamed_if_the_columns_before_are_not_known() -> None:
    types = {one.name: one.type for one in RowSchema.of([ID, NOTE]).columns}

    change = needed(types, RowSchema.of([ID, NOTE | {"field": "comment"}]), None, "mysql")

    assert change.renamed == {}
    assert change.added == {"comment": pa.string()}


def test_dropped_column_needs_nothing() -> None:
    assert not change_for([ID], [ID, NOTE])


def test_column_added_by_a_killed_sink_is_filled_later() -> None:
    """It was killed between adding the column and filling it."""
    added = {"type": "string", "optional": True, "default": "its", "field": "state"}
    comment = NOTE | {"field": "comment"}

    filled = change_for([ID, NOTE, added], table=[ID, NOTE, added], previous=[ID, NOTE])
    renamed = change_for([ID, comment], table=[ID, NOTE, comment], previous=[ID, NOTE])

    assert filled.fills == [Fill("state", "its")]
    assert renamed.fills == [Fill("comment", source="note")]


def test_returned_column_without_a_default_is_null() -> None:
    assert change_for([ID, NOTE], table=[ID, NOTE], previous=[ID]).fills == [Fill("note")]


def test_column_that_stays_is_not_filled() -> None:
    assert not change_for([ID, NOTE], [ID, NOTE])


@pytest.mark.parametrize(
    "fields",
    [[ID, {"type": "int32", "field": "note"}], [ID, NOTE | {"field": "Note"}], [ID, NOTE | {"field": "_cdc_op"}]],
)
def test_columns_that_the_table_cannot_hold_are_incompatible(fields: Fields) -> None:
    with pytest.raises(IncompatibleError):
        change_for(fields, [ID, NOTE])


def test_columns_that_differ_in_case_only_are_incompatible() -> None:
    with pytest.raises(IncompatibleError, match="upper and lower case"):
        change_for([ID, NOTE, NOTE | {"field": "NOTE"}], [ID])


def test_required_column_is_filled_for_mysql_alone() -> None:
    required = {"type": "string", "optional": False, "field": "s"}

    assert change_for([ID, required], [ID]).fills == [Fill("s", "")]
    assert change_for([ID, required], [ID], connector="postgresql").fills == []


DECIMAL = {
    "type": "bytes",
    "name": "org.apache.kafka.connect.data.Decimal",
    "parameters": {"scale": "2", "connect.decimal.precision": "10"},
}


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ({"type": "int32"}, 5, 5),
        ({"type": "int32", "name": "io.debezium.time.Date"}, 19_782, 19_782),
        ({"type": "int64", "name": "io.debezium.time.Timestamp"}, 1500, 1_500_000),
        ({"type": "string", "name": "io.debezium.time.ZonedTimestamp"}, "1970-01-01T00:00:01Z", 1_000_000),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, 3_600_000_000, "01:00:00"),
        ({"type": "boolean"}, True, True),
        ({"type": "string", "name": "io.debezium.data.Enum", "parameters": {"allowed": "IN,OUT"}}, None, "IN"),
        ({"type": "string", "name": "io.debezium.data.Json"}, None, "null"),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, None, "00:00:00"),
        ({"type": "bytes"}, None, b""),
        ({"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "10"}}, None, b"\0\0"),
        ({"type": "boolean"}, None, False),
        (DECIMAL, None, 0),
    ],
)
def test_existing_rows_get_the_value_that_the_source_gives_them(kind: dict[str, Any], default: Any, value: Any) -> None:
    change = change_for([ID, {"field": "n", "optional": False, "default": default} | kind], [ID])

    assert change.fills == [Fill("n", value)]
    assert change.unknown == []


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "int64", "name": "io.debezium.time.Timestamp", "default": 0},
        {"type": "int32", "default": "in a form that nobody knows"},
    ],
)
def test_default_that_only_the_source_knows_is_reported(kind: dict[str, Any]) -> None:
    change = change_for([ID, {"field": "n"} | kind], [ID])

    assert change.fills == []
    assert change.unknown == ["n"]
