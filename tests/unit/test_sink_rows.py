"""The rows of a commit as an Arrow table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.decoder import Decoder
from cdc_workstation.sink.events import Event, Record, RowSchema
from cdc_workstation.sink.rows import DELETED, UNAVAILABLE, build

DATE = RowSchema.of(
    [
        {"type": "int32", "optional": False, "field": "id"},
        {"type": "int32", "optional": True, "field": "sent_ms", "name": "io.debezium.time.Date"},
    ]
)


def decoded(offset: int, sent_ms: Any, op: str = "u") -> Event:
    key, value = event({"id": offset, "sent_ms": sent_ms, "note": None}, offset + 1, op)
    found = Decoder().decode(Record("debezium.db.rows", 0, offset, 0, key, value))
    assert isinstance(found, Event)
    return found


def test_rows_carry_the_position_and_whether_they_are_deleted() -> None:
    events = [decoded(0, 5), decoded(1, 6, "d")]

    rows = build(events, events[0].schema, ("id",), {})

    assert rows.columns == [
        "id",
        "sent_ms",
        "note",
        "_cdc_op",
        "_cdc_ts_ms",
        "_cdc_position",
        "_cdc_order",
        "_cdc_suborder",
    ]
    assert rows.table[DELETED].to_pylist() == [False, True]
    assert rows.table["_cdc_order"].to_pylist() == [1, 2]
    assert UNAVAILABLE not in rows.table.column_names


def test_number_that_is_too_large_is_a_dead_letter_and_others_stay() -> None:
    events = [decoded(0, 1), decoded(1, 2**70), decoded(2, 3)]

    rows = build(events, events[0].schema, ("id",), {})

    assert rows.table["sent_ms"].to_pylist() == [1, 3]
    assert [(one.record.offset, one.reason) for one in rows.dead_letters] == [(1, "value")]


def test_row_that_lacks_a_value_of_its_old_key_is_a_dead_letter() -> None:
    moved = decoded(0, 1)
    moved.op, moved.unavailable = "c", frozenset({"note"})

    rows = build([moved, decoded(1, 2)], moved.schema, ("id",), {})

    assert rows.table["sent_ms"].to_pylist() == [2]
    assert [(one.record.offset, one.reason) for one in rows.dead_letters] == [(0, "unavailable")]
    assert rows.unavailable == frozenset()


def test_unavailable_columns_are_named_in_each_row() -> None:
    updated = decoded(0, 1)
    updated.unavailable = frozenset({"note"})

    rows = build([updated, decoded(1, 2)], updated.schema, ("id",), {})

    assert rows.unavailable == {"note"}
    assert rows.table[UNAVAILABLE].to_pylist() == [["note"], []]


def test_values_take_the_tables_wider_type() -> None:
    rows = build([decoded(0, 7)], decoded(0, 7).schema, ("id",), {"sent_ms": pa.decimal128(22, 2)})

    assert str(rows.table["sent_ms"][0].as_py()) == "7.00"


def test_value_that_delta_cannot_hold_is_null_and_counted() -> None:
    rows = build([decoded(0, 10**7), decoded(1, 0)], DATE, ("id",), {})

    assert rows.table["sent_ms"].null_count == 1
    assert rows.nulls == {"sent_ms": 1}


def test_nulls_are_counted_once_if_other_rows_have_to_go() -> None:
    rows = build([decoded(0, 10**7), decoded(1, "x")], DATE, ("id",), {})

    assert rows.nulls == {"sent_ms": 1}
    assert [one.record.offset for one in rows.dead_letters] == [1]


def test_deletes_alone_carry_their_key() -> None:
    rows = build([decoded(3, 0, "d")], None, ("id",), {})

    assert rows.table["id"].to_pylist() == [3]
    assert rows.table[DELETED].to_pylist() == [True]
