"""MySQL to Kafka: what is MySQL's own in its change events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from mysql.connector.abstracts import MySQLConnectionAbstract

from cdc_workstation.clients.kafka import ChangeEvents

pytestmark = pytest.mark.uses("databases")

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


def test_values_keep_precision_and_script(
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


def test_ddl_is_an_event_of_its_own(execute: Callable[..., int], mysql_table: Table, change_events: Events) -> None:
    ddl = change_events(topic="debezium")
    table = mysql_table("id INT PRIMARY KEY")
    execute(f"ALTER TABLE {table} ADD COLUMN colour VARCHAR(20)")

    created, altered = ddl.take(2, where=lambda event: event.source.get("table") == table)

    assert created.source["table"] == altered.source["table"] == table
    assert altered.source["pos"] > created.source["pos"]
