"""What is no change event, or lacks a key, does no harm to what is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from captured import CapturedDatabase, until
from confluent_kafka.admin import AdminClient, NewTopic
from containers import container

from cdc_workstation.sink.canary import event

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]


def change(key: int, position: int, note: str | None = None, op: str = "c") -> tuple[bytes, bytes]:
    """A change event of a table with columns id, sent_ms and note, as Debezium writes it."""
    return event({"id": key, "sent_ms": position, "note": note}, position, op)


def elsewhere(message: tuple[bytes, bytes], **source: Any) -> tuple[bytes, bytes]:
    """Give an event another place in the source's log."""
    value = json.loads(message[1])
    value["payload"]["source"].update(source)
    return message[0], json.dumps(value).encode()


def row(key: int, position: int, note: str | None = None) -> dict[str, Any]:
    return {"id": key, "sent_ms": position, "note": note}


def test_unreadable_events_become_dead_letters_and_the_others_apply(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    key, value = change(2, 20)
    envelope = json.loads(value)
    no_operation = {**envelope, "payload": {"id": 2, "note": "a row without an envelope"}}
    wrong_value = {**envelope, "payload": {**envelope["payload"], "after": row(2, 20) | {"sent_ms": "soon"}}}
    no_position = {**envelope, "payload": {**envelope["payload"], "source": {"connector": "oracle", "ts_ms": 1}}}

    captured_mysql.produce(
        table,
        change(1, 10, "before"),
        (key, b"{this is no JSON"),
        (key, json.dumps(no_operation).encode()),
        (key, json.dumps(envelope["payload"]).encode()),
        (key, json.dumps(wrong_value).encode()),
        (key, json.dumps(no_position).encode()),
        (None, value),
        change(3, 30, "after"),
    )

    table.wait_for(row(1, 10, "before"), row(3, 30, "after"))
    dead = table.wait_for_dead_letters(6)
    assert {one["offset"]: one["reason"] for one in dead} == {
        1: "not_json",
        2: "unknown_envelope",
        3: "no_schema",
        4: "value",
        5: "position",
        6: "no_key",
    }
    assert dead[0]["value"] == b"{this is no JSON"
    assert all(one["detail"] for one in dead)
    until(lambda: table.metric("dead_lettered_rows_total") == 6, "the events are counted")
    assert table.metric("table_stopped") == 0


def test_stale_event_never_overwrites_a_newer_one(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, change(1, 50, "new"), change(2, 60, "new"))
    table.wait_for(row(1, 50, "new"), row(2, 60, "new"))

    captured_mysql.produce(table, change(1, 40, "old"), change(2, 55, "old", "d"), change(4, 30, "old"), change(3, 70))

    table.wait_for(row(1, 50, "new"), row(2, 60, "new"), row(3, 70))
    # Events that are read again after a restart are counted again.
    until(lambda: table.metric("stale_events_total") >= 3, "the old events are counted")


def test_source_log_that_went_back_stops_the_table_until_a_snapshot(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, change(1, 5_000_000), change(2, 6_000_000))
    table.wait_for(row(1, 5_000_000), row(2, 6_000_000))

    captured_mysql.produce(table, elsewhere(change(3, 10), ts_ms=9_000))
    [dead] = table.wait_for_dead_letters(1)
    assert dead["reason"] == "stopped"
    assert "the source's log went back" in dead["detail"]
    until(lambda: table.metric("table_stopped") == 1, "the table has stopped")
    assert sorted(one["id"] for one in table.delta_rows()) == [1, 2]

    captured_mysql.produce(
        table,
        elsewhere(change(1, 20, op="r"), ts_ms=9_500, snapshot="first"),
        elsewhere(change(3, 20, op="r"), ts_ms=9_500, snapshot="last"),
        elsewhere(change(4, 30), ts_ms=9_600),
    )
    table.wait_for(row(1, 20), row(3, 20), row(4, 30), repaired=True)
    until(lambda: table.metric("table_stopped") == 0, "the table goes on")


def test_truncate_applies_to_all_partitions(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    admin = AdminClient({"bootstrap.servers": captured_mysql.settings.kafka_bootstrap_servers, "log_level": 2})
    admin.create_topics([NewTopic(table.topic, 2, 1)])[table.topic].result(30)
    captured_mysql.produce(table, change(1, 10), partition=0)
    captured_mysql.produce(table, change(2, 25), partition=1)
    table.wait_for(row(1, 10), row(2, 25))
    truncate = json.loads(change(0, 20, op="t")[1])
    truncate["payload"]["after"] = None

    captured_mysql.produce(table, (None, json.dumps(truncate).encode()), partition=0)
    table.wait_for(row(2, 25))
    captured_mysql.produce(table, change(3, 15), change(4, 30), partition=1)

    table.wait_for(row(2, 25), row(4, 30))


def test_tombstone_without_its_delete_deletes_the_row(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, change(1, 10), change(2, 20))
    table.wait_for(row(1, 10), row(2, 20))

    captured_mysql.produce(table, (change(1, 10)[0], None), change(3, 30))

    table.wait_for(row(2, 20), row(3, 30))


def test_recreated_topic_with_the_same_events_changes_nothing(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    events = [change(1, 10, "a"), change(2, 20, "b"), change(1, 30, "c"), change(2, 40, None, "d")]
    captured_mysql.produce(table, *events)
    table.wait_for(row(1, 30, "c"))
    version = table.delta().version()

    admin = AdminClient({"bootstrap.servers": captured_mysql.settings.kafka_bootstrap_servers, "log_level": 2})
    admin.delete_topics([table.topic])[table.topic].result(30)
    until(lambda: table.topic not in admin.list_topics(timeout=10).topics, "the topic is gone")
    captured_mysql.produce(table, *events, change(3, 50, "marker"))

    table.wait_for(row(1, 30, "c"), row(3, 50, "marker"))
    assert table.delta().version() <= version + 2


def test_changes_without_primary_key_are_appended_with_a_warning(captured: CapturedDatabase) -> None:
    table = captured.table("note VARCHAR(20), amount INT", "journal")
    table.execute("INSERT INTO {t} VALUES ('first', 1), ('first', 1)")
    table.execute("UPDATE {t} SET amount = 2")
    table.execute("DELETE FROM {t}")

    table.until(
        lambda: len(table.delta_rows()) == 6, lambda: f"all changes: {table.delta_rows()}, {table.dead_letters()}"
    )
    found = sorted((one["_cdc_op"], one["amount"]) for one in table.arrow().to_pylist())
    assert found == [("c", 1), ("c", 1), ("d", 2), ("d", 2), ("u", 2), ("u", 2)]
    assert table.dead_letters() == []
    logs = container(captured.settings, "delta-sink").logs().decode()
    assert f"{table.label} has no primary key: its changes are appended" in logs


def test_message_without_key_is_appended_without_primary_key(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, *((None, value) for _, value in (change(1, 10), change(1, 20, None, "u"))))

    table.wait_for(row(1, 10), row(1, 20))


def test_table_that_gets_a_primary_key_stops_with_the_remedy(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, (None, change(1, 10)[1]))
    table.wait_for(row(1, 10))

    captured_mysql.produce(table, change(2, 20))

    [dead] = table.wait_for_dead_letters(1)
    assert dead["reason"] == "stopped"
    assert "has a primary key now" in dead["detail"]
    until(lambda: table.metric("table_stopped") == 1, "the table has stopped")
    assert table.delta_rows() == [row(1, 10)]
