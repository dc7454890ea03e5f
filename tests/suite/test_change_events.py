"""From a database to Kafka: what a consumer of change events relies on."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from source import Source

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import ChangeEvent
from cdc_workstation.clients.source import Database
from cdc_workstation.fixtures.pipeline import PipelineFactory
from cdc_workstation.typing import ReadChangeEvents

pytestmark = pytest.mark.uses("databases")


def test_snapshot_reads_the_rows_that_were_there_before_the_connector(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, name VARCHAR(50)")
    source.execute(f"INSERT INTO {table} VALUES (1, 'one'), (2, 'Café Möbel'), (3, '東京 🚀')")

    _, events = source.follow(table)

    snapshot = events.take(3)
    assert [event.op for event in snapshot] == ["r", "r", "r"]
    assert [event.after for event in snapshot] == [
        {"id": 1, "name": "one"},
        {"id": 2, "name": "Café Möbel"},
        {"id": 3, "name": "東京 🚀"},
    ]
    assert snapshot[-1].source["snapshot"] == "last"
    source.execute(f"INSERT INTO {table} VALUES (4, 'four')")
    streamed = events.next()
    assert (streamed.op, streamed.row["id"]) == ("c", 4)
    assert streamed.source["snapshot"] in {None, "false"}


PRODUCT = {
    "mysql": ("product_id", "product_name", "(product_name, price, stock_quantity) VALUES (%s, %s, %s)"),
    "postgres": ("id", "name", "(sku, name, price, stock_quantity) VALUES (gen_random_uuid(), %s, %s, %s)"),
}


def test_insert_into_the_sample_table_has_its_row_and_origin(source: Source) -> None:
    key, name, columns = PRODUCT[source.kind]
    events = source.events("products")
    source.execute(f"INSERT INTO products {columns}", ("CDC lamp", "19.90", 7))
    try:
        event = events.next(where=lambda event: event.row.get(name) == "CDC lamp")
    finally:
        source.execute(f"DELETE FROM products WHERE {name} = 'CDC lamp'")

    row = event.row
    assert (event.op, event.before, event.key) == ("c", None, {key: row[key]})
    assert (row["price"], row["stock_quantity"]) == (Decimal("19.90"), 7)
    assert (event.source["db"], event.source["table"]) == ("cdcdb", "products")
    if source.kind == "mysql":
        assert event.source["gtid"]
        assert event.source["file"].startswith("binlog.")
    else:
        assert (event.source["connector"], event.source["schema"]) == ("postgresql", "public")
        assert event.source["lsn"] > 0
        assert event.source["txId"] > 0


def test_update_carries_the_whole_row_before_and_after(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, name VARCHAR(50), stock INT, note TEXT")
    events = source.events(table)
    source.execute(f"INSERT INTO {table} VALUES (1, 'lamp', 7, 'unchanged')")
    source.execute(f"UPDATE {table} SET stock = 6 WHERE id = 1")

    _, update = events.take(2)

    assert update.op == "u"
    assert update.before == {"id": 1, "name": "lamp", "stock": 7, "note": "unchanged"}
    assert update.after == {"id": 1, "name": "lamp", "stock": 6, "note": "unchanged"}


def test_changed_key_is_a_delete_and_an_insert(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, name VARCHAR(50)")
    events = source.events(table)
    source.execute(f"INSERT INTO {table} VALUES (1, 'lamp')")
    source.execute(f"UPDATE {table} SET id = 2 WHERE id = 1")

    _, delete, tombstone, insert = events.take(4)

    assert (delete.op, delete.key, delete.before) == ("d", {"id": 1}, {"id": 1, "name": "lamp"})
    assert tombstone.is_tombstone
    assert (insert.op, insert.key, insert.after) == ("c", {"id": 2}, {"id": 2, "name": "lamp"})


def test_delete_carries_the_old_row_and_a_tombstone_follows(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, name VARCHAR(50)")
    events = source.events(table)
    source.execute(f"INSERT INTO {table} VALUES (1, 'lamp')")
    source.execute(f"DELETE FROM {table} WHERE id = 1")

    _, delete, tombstone = events.take(3)

    assert (delete.op, delete.before, delete.after) == ("d", {"id": 1, "name": "lamp"}, None)
    assert tombstone.is_tombstone
    assert tombstone.key == delete.key == {"id": 1}


def test_truncate_is_an_event(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY")
    events = source.events(table)
    source.execute(f"INSERT INTO {table} VALUES (1)")
    source.execute(f"TRUNCATE TABLE {table}")

    _, truncate = events.take(2)

    assert (truncate.op, truncate.key, truncate.before, truncate.after) == ("t", None, None, None)


# What is the same for all events of a transaction, and where in the log each of them is.
TRANSACTION = {"mysql": "gtid", "postgres": "txId"}
POSITION: dict[str, Callable[[ChangeEvent], Any]] = {
    "mysql": lambda event: (event.source["pos"], event.source["row"]),
    "postgres": lambda event: event.source["lsn"],
}


def test_transaction_arrives_whole_in_order_and_only_after_its_commit(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, balance INT")
    events = source.events(table)

    for statement in (
        "BEGIN",
        f"INSERT INTO {table} VALUES (100, 0)",
        "ROLLBACK",
        "BEGIN",
        f"INSERT INTO {table} VALUES (1, 50), (2, 50)",
        "SAVEPOINT before_the_mistake",
        f"INSERT INTO {table} VALUES (101, 0)",
        "ROLLBACK TO SAVEPOINT before_the_mistake",
        f"UPDATE {table} SET balance = balance - 20 WHERE id = 1",
        f"UPDATE {table} SET balance = balance + 20 WHERE id = 2",
        f"DELETE FROM {table} WHERE id = 1",
        "COMMIT",
        f"INSERT INTO {table} VALUES (200, 0)",
    ):
        source.execute(statement)

    seen = events.take_until(lambda event: event.key == {"id": 200})

    *transaction, marker = [event for event in seen if not event.is_tombstone]
    assert [(event.op, event.row["id"]) for event in transaction] == [("c", 1), ("c", 2), ("u", 1), ("u", 2), ("d", 1)]
    identity = TRANSACTION[source.kind]
    assert len({event.source[identity] for event in transaction}) == 1
    assert marker.source[identity] != transaction[0].source[identity]
    positions = [POSITION[source.kind](event) for event in transaction]
    assert positions == sorted(positions)


def test_bulk_of_150_rows_arrives_complete_in_order_and_once(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, payload VARCHAR(200)")
    events = source.events(table)
    rows = [(number, f"row {number}" * 10) for number in range(150)]
    with source.connection.cursor() as cursor:
        if source.kind == "mysql":
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", rows)
        else:
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
    source.execute(f"INSERT INTO {table} VALUES (1000, 'marker')")

    seen = events.take_until(lambda event: event.key == {"id": 1000})

    assert [event.row["id"] for event in seen] == [*range(150), 1000]
    assert {event.op for event in seen} == {"c"}


def test_added_column_is_in_the_events_from_then_on(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, name VARCHAR(50)")
    events = source.events(table)
    source.execute(f"INSERT INTO {table} VALUES (1, 'before')")
    source.execute(f"ALTER TABLE {table} ADD COLUMN colour VARCHAR(20) NOT NULL DEFAULT 'red'")
    source.execute(f"ALTER TABLE {table} RENAME COLUMN name TO title")
    source.execute(f"INSERT INTO {table} VALUES (2, 'after', 'blue')")
    source.execute(f"UPDATE {table} SET title = 'again' WHERE id = 1")

    first, second, third = events.take(3)

    assert first.after == {"id": 1, "name": "before"}
    assert second.after == {"id": 2, "title": "after", "colour": "blue"}
    assert third.before == {"id": 1, "title": "before", "colour": "red"}


def test_stopped_connector_resumes_where_it_was_with_nothing_lost(
    source: Source, connect_client: ConnectClient
) -> None:
    table = source.table("id INT PRIMARY KEY")
    source.execute(f"INSERT INTO {table} VALUES (0)")
    name, events = source.follow(table)
    assert events.next().op == "r"
    source.execute(f"INSERT INTO {table} VALUES (1)")
    assert events.next().op == "c"

    connect_client.stop(name)
    connect_client.wait_for(name, "STOPPED")
    for number in range(2, 22):
        source.execute(f"INSERT INTO {table} VALUES ({number})")
    connect_client.resume(name)
    connect_client.wait_for(name)
    source.execute(f"INSERT INTO {table} VALUES (22)")

    seen = events.take_until(lambda event: event.key == {"id": 22})

    # At least once, in order, and no second snapshot.
    assert [event.row["id"] for event in seen if event.row["id"] > 1] == list(range(2, 23))
    assert {event.op for event in seen} == {"c"}


@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_events_of_a_pipeline_are_read_by_the_pipeline_itself(
    cdc_pipeline: PipelineFactory, change_events: ReadChangeEvents, database: Database
) -> None:
    orders = cdc_pipeline(database, "id INT PRIMARY KEY")
    events = change_events(orders)
    orders.insert(id=1)
    assert events.next(timeout=30).row == {"id": 1}


def test_name_that_both_databases_have_is_read_from_mysql(change_events: ReadChangeEvents) -> None:
    assert change_events("products").topic == "debezium.cdcdb.products"


def test_name_that_postgres_alone_has_is_read_from_there(change_events: ReadChangeEvents) -> None:
    assert change_events("customers").topic == "debezium.public.customers"
