"""Change events: from a Kafka record to what it does to a row, and where in the source's log that was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.decoder import Decoder, locate
from cdc_workstation.sink.events import Event, MalformedError, Position, Record, Tombstone
from cdc_workstation.sink.unavailable import UNAVAILABLE


def record(key: bytes | None, value: bytes | None, offset: int = 0) -> Record:
    return Record("debezium.db.t", 0, offset, 0, key, value)


def decoded(row: dict[str, Any], moment: int, op: str = "u", offset: int = 0) -> Event:
    found = Decoder().decode(record(*event({"sent_ms": 0, "note": None} | row, moment, op), offset))
    assert isinstance(found, Event)
    return found


def test_event_says_row_key_position_and_columns() -> None:
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


def test_record_without_value_is_a_tombstone() -> None:
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
def test_record_that_is_no_change_event_is_refused_with_a_reason(
    key: bytes | None, value: bytes | None, reason: str
) -> None:
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


def test_postgresql_alone_leaves_values_out() -> None:
    """In MySQL the placeholder is a text like any other."""
    key, value = event({"id": 1, "sent_ms": 0, "note": UNAVAILABLE}, 1)
    source = b'"connector":"postgresql","lsn":5'

    mysql = Decoder().decode(record(key, value))
    postgres = Decoder().decode(record(key, value.replace(b'"connector":"mysql"', source)))

    assert isinstance(mysql, Event)
    assert isinstance(postgres, Event)
    assert mysql.unavailable == frozenset()
    assert postgres.unavailable == {"note"}


def test_message_in_another_form_is_parsed_as_a_whole() -> None:
    """As another program writes it: with spaces, and the payload first."""
    key, value = event({"id": 1, "sent_ms": 0}, 1)
    document = json.loads(value)
    spaced = json.dumps({"payload": document["payload"], "schema": document["schema"]}, indent=1).encode()

    found = Decoder().decode(record(key, spaced))

    assert isinstance(found, Event)
    assert (found.raw, found.key) == ({"id": 1, "sent_ms": 0}, (1,))
