"""MySQL to Kafka: what a consumer of change events relies on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from mysql.connector.abstracts import MySQLConnectionAbstract

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.kafka import ChangeEvents
from cdc_workstation.settings import Settings

EPOCH = datetime(1970, 1, 1)

Events = Callable[..., ChangeEvents]
Table = Callable[[str], str]
Connector = Callable[[Mapping[str, str]], tuple[str, str]]


@pytest.fixture
def execute(mysql_connection: MySQLConnectionAbstract) -> Callable[..., int]:
    """Execute a statement, committed at once unless a transaction is open; returns the new row's id."""

    def run(statement: str, parameters: tuple[object, ...] = ()) -> int:
        with mysql_connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.lastrowid or 0

    return run


def test_snapshot_reads_the_rows_that_were_there_before_the_connector(
    execute: Callable[..., int],
    mysql_table: Table,
    own_connector: Connector,
    change_events: Events,
    stack_settings: Settings,
) -> None:
    table = mysql_table("id INT PRIMARY KEY, name VARCHAR(50)")
    execute(f"INSERT INTO {table} VALUES (1, 'one'), (2, 'Café Möbel'), (3, '東京 🚀')")

    _, prefix = own_connector({"table.include.list": f"{stack_settings.mysql_database}.{table}"})

    events = change_events(table, prefix=prefix, from_beginning=True)
    snapshot = events.take(3)
    assert [event.op for event in snapshot] == ["r", "r", "r"]
    assert [event.after for event in snapshot] == [
        {"id": 1, "name": "one"},
        {"id": 2, "name": "Café Möbel"},
        {"id": 3, "name": "東京 🚀"},
    ]
    assert [event.source["snapshot"] for event in snapshot][-1] == "last"
    execute(f"INSERT INTO {table} VALUES (4, 'four')")
    streamed = events.next()
    assert (streamed.op, streamed.after["id"]) == ("c", 4)
    assert streamed.source["snapshot"] in {None, "false"}


def test_insert_into_the_sample_table_is_seen_with_its_row_and_its_origin(
    execute: Callable[..., int], change_events: Events, stack_settings: Settings
) -> None:
    events = change_events("products")
    product = execute(
        "INSERT INTO products (product_name, price, stock_quantity) VALUES (%s, %s, %s)", ("CDC lamp", "19.90", 7)
    )
    try:
        event = events.next(where=lambda event: event.row.get("product_id") == product)
    finally:
        execute("DELETE FROM products WHERE product_id = %s", (product,))

    assert (event.op, event.before, event.key) == ("c", None, {"product_id": product})
    assert event.after["product_name"] == "CDC lamp"
    assert (event.after["price"], event.after["stock_quantity"]) == (Decimal("19.90"), 7)
    assert (event.source["db"], event.source["table"]) == (stack_settings.mysql_database, "products")
    assert event.source["gtid"]
    assert event.source["file"].startswith("binlog.")


def test_update_carries_the_whole_row_before_and_after(
    execute: Callable[..., int], mysql_table: Table, change_events: Events
) -> None:
    table = mysql_table("id INT PRIMARY KEY, name VARCHAR(50), stock INT, note TEXT")
    events = change_events(table)
    execute(f"INSERT INTO {table} VALUES (1, 'lamp', 7, 'unchanged')")
    execute(f"UPDATE {table} SET stock = 6 WHERE id = 1")

    _, update = events.take(2)

    assert update.op == "u"
    assert update.before == {"id": 1, "name": "lamp", "stock": 7, "note": "unchanged"}
    assert update.after == {"id": 1, "name": "lamp", "stock": 6, "note": "unchanged"}


def test_delete_carries_the_old_row_and_a_tombstone_follows(
    execute: Callable[..., int], mysql_table: Table, change_events: Events
) -> None:
    table = mysql_table("id INT PRIMARY KEY, name VARCHAR(50)")
    events = change_events(table)
    execute(f"INSERT INTO {table} VALUES (1, 'lamp')")
    execute(f"DELETE FROM {table} WHERE id = 1")

    _, delete, tombstone = events.take(3)

    assert (delete.op, delete.before, delete.after) == ("d", {"id": 1, "name": "lamp"}, None)
    assert tombstone.is_tombstone
    assert tombstone.key == delete.key == {"id": 1}


def test_transaction_of_many_rows_arrives_whole_in_order_and_only_after_its_commit(
    execute: Callable[..., int],
    mysql_connection: MySQLConnectionAbstract,
    mysql_table: Table,
    change_events: Events,
) -> None:
    table = mysql_table("id INT PRIMARY KEY, balance INT")
    events = change_events(table)

    mysql_connection.start_transaction()
    execute(f"INSERT INTO {table} VALUES (100, 0)")
    mysql_connection.rollback()
    mysql_connection.start_transaction()
    execute(f"INSERT INTO {table} VALUES (1, 50), (2, 50)")
    execute(f"UPDATE {table} SET balance = balance - 20 WHERE id = 1")
    execute(f"UPDATE {table} SET balance = balance + 20 WHERE id = 2")
    execute(f"DELETE FROM {table} WHERE id = 1")
    mysql_connection.commit()
    execute(f"INSERT INTO {table} VALUES (200, 0)")

    seen = events.take_until(lambda event: event.key == {"id": 200})

    *transaction, marker = [event for event in seen if not event.is_tombstone]
    assert [(event.op, event.key["id"]) for event in transaction] == [
        ("c", 1),
        ("c", 2),
        ("u", 1),
        ("u", 2),
        ("d", 1),
    ]
    assert len({event.source["gtid"] for event in transaction}) == 1
    assert marker.source["gtid"] != transaction[0].source["gtid"]
    positions = [(event.source["pos"], event.source["row"]) for event in transaction]
    assert positions == sorted(positions)


def test_bulk_of_150_rows_arrives_complete_in_order_and_once(
    mysql_connection: MySQLConnectionAbstract, mysql_table: Table, change_events: Events
) -> None:
    table = mysql_table("id INT PRIMARY KEY, payload VARCHAR(200)")
    events = change_events(table)
    with mysql_connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} VALUES (%s, %s)", [(number, f"row {number}" * 10) for number in range(150)]
        )
        cursor.execute(f"INSERT INTO {table} VALUES (1000, 'marker')")

    seen = events.take_until(lambda event: event.key == {"id": 1000})

    assert [event.key["id"] for event in seen] == [*range(150), 1000]
    assert {event.op for event in seen} == {"c"}


def test_values_keep_their_precision_and_their_script(
    execute: Callable[..., int], mysql_table: Table, change_events: Events
) -> None:
    table = mysql_table(
        "id INT PRIMARY KEY, doc JSON, price DECIMAL(30,10), happened DATETIME(6), stamped TIMESTAMP(3),"
        " day DATE, text VARCHAR(100), big BIGINT UNSIGNED, flag BOOLEAN, data VARBINARY(16), kind ENUM('IN','OUT')"
    )
    events = change_events(table)
    doc = {"naïve": [1, 2.5, None, True], "nested": {"emoji": "🚀"}}
    execute(
        f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            1,
            json.dumps(doc),
            "12345678901234567890.0123456789",
            "2024-02-29 23:59:59.123456",
            "2024-02-29 12:00:00.250",
            "2024-02-29",
            "日本語 ñ 𝄞",
            2**63 - 1,
            True,
            b"\x00\xff",
            "OUT",
        ),
    )
    execute(f"INSERT INTO {table} (id) VALUES (2)")

    event, empty = events.take(2)

    row = event.after
    assert json.loads(row["doc"]) == doc
    assert row["price"] == Decimal("12345678901234567890.0123456789")
    assert EPOCH + timedelta(microseconds=row["happened"]) == datetime(2024, 2, 29, 23, 59, 59, 123456)
    assert datetime.fromisoformat(row["stamped"]) == datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=UTC)
    assert EPOCH + timedelta(days=row["day"]) == datetime(2024, 2, 29)
    assert row["text"] == "日本語 ñ 𝄞"
    assert row["big"] == 2**63 - 1
    assert row["data"] == "AP8="
    assert row["kind"] == "OUT"
    assert {value for column, value in empty.after.items() if column != "id"} == {None}
    # The message says what its columns are, so that a consumer needs no other source.
    assert event.field_type("price") == "org.apache.kafka.connect.data.Decimal"
    assert event.field_type("happened") == "io.debezium.time.MicroTimestamp"
    assert event.field_type("doc") == "io.debezium.data.Json"


def test_column_added_under_way_is_in_the_events_from_then_on(
    execute: Callable[..., int], mysql_table: Table, change_events: Events
) -> None:
    table = mysql_table("id INT PRIMARY KEY, name VARCHAR(50)")
    events = change_events(table)
    ddl = change_events(topic="debezium")
    execute(f"INSERT INTO {table} VALUES (1, 'before')")
    execute(f"ALTER TABLE {table} ADD COLUMN colour VARCHAR(20) NOT NULL DEFAULT 'red', RENAME COLUMN name TO title")
    execute(f"INSERT INTO {table} VALUES (2, 'after', 'blue')")
    execute(f"UPDATE {table} SET title = 'again' WHERE id = 1")

    first, second, third = events.take(3)

    assert first.after == {"id": 1, "name": "before"}
    assert second.after == {"id": 2, "title": "after", "colour": "blue"}
    assert third.before == {"id": 1, "title": "before", "colour": "red"}
    change = ddl.next(where=lambda event: event.source.get("table") == table)
    assert change.source["table"] == table


def test_stopped_connector_resumes_where_it_was_with_nothing_lost(
    execute: Callable[..., int],
    mysql_table: Table,
    own_connector: Connector,
    connect_client: ConnectClient,
    change_events: Events,
    stack_settings: Settings,
) -> None:
    table = mysql_table("id INT PRIMARY KEY")
    execute(f"INSERT INTO {table} VALUES (0)")
    name, prefix = own_connector({"table.include.list": f"{stack_settings.mysql_database}.{table}"})
    events = change_events(table, prefix=prefix, from_beginning=True)
    assert events.next().op == "r"
    execute(f"INSERT INTO {table} VALUES (1)")
    assert events.next().op == "c"

    connect_client.stop(name)
    connect_client.wait_for(name, "STOPPED")
    for number in range(2, 22):
        execute(f"INSERT INTO {table} VALUES ({number})")
    connect_client.resume(name)
    connect_client.wait_for(name)
    execute(f"INSERT INTO {table} VALUES (22)")

    seen = events.take_until(lambda event: event.key == {"id": 22})

    # At least once, in order, and no second snapshot.
    assert [event.key["id"] for event in seen if event.key["id"] > 1] == list(range(2, 23))
    assert {event.op for event in seen} == {"c"}
