"""Change events of the Delta sink: decoding, positions, and the last change of a key."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.columns import UNAVAILABLE
from cdc_workstation.sink.events import Decoder, Event, MalformedError, Position, Record, Tombstone, locate
from cdc_workstation.sink.evolution import (
    IncompatibleError,
    add_statement,
    backfill,
    create_statement,
    fill_statement,
    merge_statement,
    needed,
    rewritten,
)
from cdc_workstation.sink.fold import fold


def record(key: bytes | None, value: bytes | None, offset: int = 0) -> Record:
    return Record("debezium.db.t", 0, offset, 0, key, value)


def decoded(row: dict[str, Any], moment: int, op: str = "u", offset: int = 0) -> Event:
    found = Decoder().decode(record(*event({"sent_ms": 0, "note": None} | row, moment, op), offset))
    assert isinstance(found, Event)
    return found


def test_an_event_says_row_key_position_and_columns() -> None:
    found = decoded({"id": 7, "note": "x"}, 12)

    assert (found.op, found.key, found.position) == ("u", (7,), Position(12, 0))
    assert found.raw == {"id": 7, "sent_ms": 0, "note": "x"}
    assert found.schema is not None
    assert found.schema.names == ["id", "sent_ms", "note"]


def test_events_of_one_version_share_their_schema() -> None:
    decoder = Decoder()
    first, second = (decoder.decode(record(*event({"id": one, "sent_ms": 0}, one))) for one in (1, 2))

    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert first.schema is second.schema


def test_a_record_without_value_is_a_tombstone() -> None:
    key, _ = event({"id": 1}, 1)

    found = Decoder().decode(record(key, None))

    assert isinstance(found, Tombstone)
    assert found.key == (1,)


GOOD_KEY, GOOD_VALUE = event({"id": 1, "sent_ms": 0}, 1)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (GOOD_KEY, b"not json", "not_json"),
        (GOOD_KEY, GOOD_VALUE[:-9], "not_json"),
        (GOOD_KEY, b'{"op":"c","after":{"id":1}}', "no_schema"),
        (GOOD_KEY, b'{"schema":null,"payload":{"op":"c"}}', "no_schema"),
        (GOOD_KEY, GOOD_VALUE.replace(b'"op":"u"', b'"op":"x"'), "unknown_envelope"),
        (GOOD_KEY, b'{"schema":{"type":"struct","fields":[]},"payload":{"user":"x"}}', "unknown_envelope"),
        (GOOD_KEY, b'{"schema":{"type":"string"},"payload":"x"}', "unknown_envelope"),
        (GOOD_KEY, GOOD_VALUE.replace(b'"connector":"mysql"', b'"connector":"other"'), "position"),
        (GOOD_KEY.replace(b'"id":1', b'"id":"x"'), GOOD_VALUE, "key"),
        (None, None, "empty"),
    ],
)
def test_what_is_no_change_event_is_refused_with_a_reason(key: bytes | None, value: bytes | None, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        Decoder().decode(record(key, value))
    assert caught.value.reason == reason


def test_mysql_positions_follow_the_binlog() -> None:
    def at(file: str, pos: int, row: int = 0, snapshot: str = "false") -> Position:
        source = {"connector": "mysql", "file": file, "pos": pos, "row": row, "snapshot": snapshot}
        return locate(source)[0]

    assert at("binlog.000009", 900) < at("binlog.000010", 4)
    assert at("binlog.000009", 900, row=1) < at("binlog.000009", 900, row=2)
    assert at("binlog.000009", 900, row=2) < at("binlog.000009", 900, snapshot="true") < at("binlog.000009", 901)


def test_postgresql_positions_follow_the_commits() -> None:
    def at(last_commit: int | None, lsn: int, snapshot: str = "false", *, after: int = 0) -> Position:
        sequence = json.dumps([None if last_commit is None else str(last_commit), str(lsn)])
        return locate({"connector": "postgresql", "lsn": lsn, "sequence": sequence, "snapshot": snapshot})[0].after(
            after
        )

    # The second transaction wrote its change first and committed last.
    assert at(100, 150) < at(160, 120)
    assert at(None, 90, snapshot="true") < at(100, 110)
    # What the first transaction behind a snapshot wrote, before it or after.
    assert at(None, 90, snapshot="true") < at(None, 80, after=90) < at(None, 95, after=90) < at(96, 85)
    assert at(None, 90, snapshot="true") < at(70, 95, after=90)
    assert at(70, 80, after=90) < at(None, 90, snapshot="true")


def test_the_last_change_of_a_key_by_log_position_remains() -> None:
    events = [
        decoded({"id": 1, "note": "a"}, 10, offset=1),
        decoded({"id": 2, "note": "b"}, 11, offset=2),
        decoded({"id": 1, "note": "c"}, 30, offset=3),
        decoded({"id": 1, "note": "older"}, 20, offset=4),
        decoded({"id": 2}, 12, op="d", offset=5),
    ]

    remaining = {one.key: one for one in fold(events)}

    assert remaining[(1,)].raw is not None
    assert remaining[(1,)].raw["note"] == "c"
    assert remaining[(2,)].is_delete


def test_a_value_that_did_not_change_is_taken_from_the_event_before() -> None:
    events = [decoded({"id": 1, "note": "long"}, 1), decoded({"id": 1, "note": UNAVAILABLE, "sent_ms": 5}, 2)]

    [only] = fold(events)

    assert only.raw == {"id": 1, "note": "long", "sent_ms": 5}
    assert only.kept == frozenset()


def test_without_an_event_before_the_value_stays_that_of_the_table() -> None:
    [only] = fold([decoded({"id": 1, "note": UNAVAILABLE}, 2)])

    assert only.kept == {"note"}


def test_a_changed_key_takes_the_values_of_the_old_one_along() -> None:
    events = [
        decoded({"id": 1, "note": "long"}, 1),
        decoded({"id": 1}, 2, "d"),
        decoded({"id": 2, "note": UNAVAILABLE, "sent_ms": 5}, 2, "c"),
        decoded({"id": 2, "note": UNAVAILABLE, "sent_ms": 6}, 3),
    ]

    deleted, moved = fold(events)

    assert deleted.is_delete
    assert moved.raw == {"id": 2, "note": "long", "sent_ms": 6}
    assert moved.kept == frozenset()


def test_a_changed_key_whose_old_row_is_not_there_still_lacks_its_values() -> None:
    events = [
        decoded({"id": 1}, 2, "d"),
        decoded({"id": 2, "note": UNAVAILABLE}, 2, "c"),
        decoded({"id": 2, "note": UNAVAILABLE}, 3),
    ]

    assert [(one.op, one.kept) for one in fold(events)] == [("d", frozenset()), ("c", {"note"})]


def evolved(
    fields: list[dict[str, Any]], table: list[dict[str, Any]], previous: list[dict[str, Any]] | None = None
) -> Any:
    from cdc_workstation.sink.events import RowSchema

    types = {one.name: one.type for one in RowSchema.of(table).columns}
    return needed(types, RowSchema.of(fields), RowSchema.of(previous or table).names)


ID = {"type": "int32", "optional": False, "field": "id"}
NOTE = {"type": "string", "optional": True, "field": "note"}


def test_added_and_widened_columns_become_statements() -> None:
    change = evolved([ID | {"type": "int64"}, NOTE, {"type": "int16", "optional": True, "field": "n"}], [ID, NOTE])

    assert rewritten({"id": pa.int32(), "note": pa.string()}, change) == ["CAST(`id` AS BIGINT) AS `id`", "`note`"]
    assert add_statement("/t", change) == "ALTER TABLE delta.`/t` ADD COLUMNS (`n` SMALLINT)"


def test_a_column_that_takes_the_place_of_another_counts_as_renamed() -> None:
    assert evolved([ID, NOTE | {"field": "comment"}], [ID, NOTE]).renamed == {"comment": "note"}
    assert evolved([ID, {"type": "int32", "field": "comment"}], [ID, NOTE]).renamed == {}


def test_a_dropped_column_needs_nothing() -> None:
    assert not evolved([ID], [ID, NOTE])


def test_a_sink_that_was_killed_between_adding_a_column_and_filling_it_fills_it() -> None:
    added = {"type": "string", "optional": True, "default": "it's", "field": "state"}
    change = evolved([ID, NOTE, added], table=[ID, NOTE, added], previous=[ID, NOTE])
    renamed = evolved([ID, NOTE | {"field": "comment"}], [ID, NOTE, NOTE | {"field": "comment"}], previous=[ID, NOTE])

    assert fill_statement("/t", change, "mysql") == r"UPDATE delta.`/t` SET `state` = CAST('it\'s' AS STRING)"
    assert fill_statement("/t", renamed, "mysql") == "UPDATE delta.`/t` SET `comment` = `note`"


def test_a_column_that_comes_again_is_null_where_it_has_no_default() -> None:
    change = evolved([ID, NOTE], table=[ID, NOTE], previous=[ID])

    assert fill_statement("/t", change, "mysql") == "UPDATE delta.`/t` SET `note` = NULL"


def test_a_column_that_is_there_all_the_time_is_not_filled() -> None:
    assert fill_statement("/t", evolved([ID, NOTE], [ID, NOTE]), "mysql") is None


@pytest.mark.parametrize(
    "fields",
    [[ID, {"type": "int32", "field": "note"}], [ID, NOTE | {"field": "Note"}], [ID, NOTE | {"field": "_cdc_op"}]],
)
def test_what_the_table_cannot_hold_is_incompatible(fields: list[dict[str, Any]]) -> None:
    with pytest.raises(IncompatibleError):
        evolved(fields, [ID, NOTE])


def test_an_added_column_has_the_sources_default_in_old_rows() -> None:
    added = evolved([ID, {"type": "int32", "optional": True, "default": 5, "field": "n"}], [ID]).added[0]
    required = evolved([ID, {"type": "string", "optional": False, "field": "s"}], [ID]).added[0]

    assert backfill(added, "mysql") == 5
    assert backfill(required, "mysql") == ""
    assert backfill(required, "postgresql") is None


def test_a_name_that_parquet_does_not_take_is_mapped() -> None:
    from cdc_workstation.sink.events import RowSchema

    statement = create_statement("/t", RowSchema.of([ID | {"field": "a b"}]), {"delta.enableChangeDataFeed": "true"})

    assert "'delta.columnMapping.mode' = 'name'" in statement
    assert "`a b` INT" in statement


def test_a_table_needs_no_properties() -> None:
    from cdc_workstation.sink.events import RowSchema

    assert create_statement("/t", RowSchema.of([ID]), {}).endswith("USING delta")


def test_a_columns_name_may_have_a_quote() -> None:
    statement = merge_statement("/t", ["id", "it's"], ("id",), {"it's"}, insert_only=False)

    assert r"array_contains(s.`_cdc_kept`, 'it\'s')" in statement


@pytest.mark.parametrize(
    ("kind", "default", "literal"),
    [
        ({"type": "int32", "name": "io.debezium.time.Date"}, 19_782, "'2024-02-29' AS DATE"),
        (
            {"type": "int64", "name": "io.debezium.time.Timestamp"},
            1500,
            "'1970-01-01 00:00:01.500000' AS TIMESTAMP_NTZ",
        ),
        (
            {"type": "string", "name": "io.debezium.time.ZonedTimestamp"},
            "2024-02-29T01:02:03Z",
            "'2024-02-29 01:02:03+00:00' AS TIMESTAMP",
        ),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, 3_600_000_000, "'01:00:00' AS STRING"),
        ({"type": "boolean"}, True, "TRUE AS BOOLEAN"),
        (
            {"type": "string", "name": "io.debezium.data.Enum", "parameters": {"allowed": "IN,OUT"}},
            None,
            "'IN' AS STRING",
        ),
        ({"type": "string", "name": "io.debezium.data.Json"}, None, "'null' AS STRING"),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, None, "'00:00:00' AS STRING"),
        ({"type": "bytes"}, None, "X'' AS BINARY"),
        ({"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "10"}}, None, "X'0000' AS BINARY"),
        ({"type": "boolean"}, None, "FALSE AS BOOLEAN"),
    ],
)
def test_rows_that_exist_get_what_the_source_gives_them(kind: dict[str, Any], default: Any, literal: str) -> None:
    change = evolved([ID, {"field": "n", "optional": False, "default": default} | kind], [ID])

    assert fill_statement("/t", change, "mysql") == f"UPDATE delta.`/t` SET `n` = CAST({literal})"


def test_the_epoch_stands_for_a_default_that_the_source_computes() -> None:
    change = evolved([ID, {"type": "int64", "name": "io.debezium.time.Timestamp", "default": 0, "field": "n"}], [ID])

    assert fill_statement("/t", change, "mysql") is None
