"""PostgreSQL to Kafka: what is PostgreSQL's own in its change events, and its slot."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from containers import container
from psycopg import errors, sql
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import ChangeEvents
from cdc_workstation.fixtures.postgres import drop_slot
from cdc_workstation.settings import Settings

pytestmark = pytest.mark.uses("databases")

EPOCH = datetime(1970, 1, 1)
# What Debezium puts in the place of a value that the WAL does not hold (`unavailable.value.placeholder`).
UNAVAILABLE = "__debezium_unavailable_value"
HEARTBEAT = {"heartbeat.interval.ms": "500"}

Connection = psycopg.Connection[Any]
Connector = Callable[[Mapping[str, str]], tuple[str, str]]
Events = Callable[..., ChangeEvents]
Table = Callable[..., str]
Follow = Callable[[int], tuple[str, str, str, ChangeEvents]]


@pytest.fixture
def execute(postgres_connection: Connection) -> Callable[..., Any]:
    """Execute a statement, committed at once unless a transaction is open."""
    return postgres_connection.execute


@pytest.fixture
def events_of(change_events: Events) -> Events:
    """The change events of a table of the schema `public`, from now on."""

    def read(table: str, **options: Any) -> ChangeEvents:
        return change_events(table, **options)

    return read


@pytest.fixture
def follow(
    execute: Callable[..., Any], postgres_table: Table, own_postgres_connector: Connector, events_of: Events
) -> Follow:
    """Make a table with one row, and a connector for it: both names, the slot's, and events from the snapshot on.

    The connector has a heartbeat every half a second, not every ten, so that tests need not wait for it.
    """

    def make(row: int) -> tuple[str, str, str, ChangeEvents]:
        table = postgres_table("id int PRIMARY KEY")
        execute(f"INSERT INTO {table} VALUES ({row})")
        name, prefix = own_postgres_connector({"table.include.list": f"public.{table}", **HEARTBEAT})
        return table, name, prefix, events_of(table, prefix=prefix, from_beginning=True)

    return make


def bytes_behind(execute: Callable[..., Any], slot: str, position: str, goal: str) -> Decimal:
    """Wait until a position of a slot has come to a place in the log; return what it lacks after 90 s."""
    statement = sql.SQL(
        "SELECT greatest(0, pg_wal_lsn_diff(%s, {})) FROM pg_replication_slots WHERE slot_name = %s"
    ).format(sql.Identifier(position))

    def lag() -> Decimal:
        [lacking] = execute(statement, (goal, slot)).fetchone()
        return Decimal(lacking)

    return Retrying(
        retry=retry_if_result(lambda lacking: lacking > 0),
        stop=stop_after_delay(90),
        wait=wait_fixed(0.1),
        retry_error_callback=lambda attempt: attempt.outcome.result(),
    )(lag)


def log_running_transactions(settings: Settings) -> None:
    """Let the server do what it does every 15 s: slots whose reader has come so far then give up the log before."""
    ran = container(settings, "postgres").exec_run(["psql", "-XAtqc", "SELECT pg_log_standby_snapshot()"])
    assert ran.exit_code == 0, ran.output


def test_transactions_come_in_the_order_of_their_commits(
    postgres_connection: Connection, postgres_parameters: dict[str, Any], postgres_table: Table, events_of: Events
) -> None:
    table = postgres_table("id int PRIMARY KEY")
    events = events_of(table)
    with psycopg.connect(**postgres_parameters) as early:
        early.execute(f"INSERT INTO {table} VALUES (1)")
        postgres_connection.execute(f"INSERT INTO {table} VALUES (2)")
        early.commit()
    postgres_connection.execute(f"INSERT INTO {table} VALUES (3)")

    seen = events.take(3)

    assert [event.key["id"] for event in seen] == [2, 1, 3]
    # The row's own place in the WAL is older than that of the one before it: the commit's place is what orders.
    commits = [json.loads(event.source["sequence"]) for event in seen]
    assert [int(lsn) for _, lsn in commits] == [event.source["lsn"] for event in seen]
    assert seen[0].source["lsn"] > seen[1].source["lsn"]


def test_values_keep_precision_and_script(
    execute: Callable[..., Any], postgres_table: Table, events_of: Events
) -> None:
    table = postgres_table(
        "id int PRIMARY KEY, price numeric(30,10), happened timestamp, stamped timestamptz, day date, clock time,"
        " lasts interval, doc json, docb jsonb, data bytea, ident uuid, tags text[], numbers int[], body text,"
        " big bigint, ratio double precision, flag boolean, address inet, kind char(3)"
    )
    events = events_of(table)
    doc = {"naïve": [1, 2.5, None, True], "nested": {"emoji": "🚀"}}
    ident = UUID("12345678-1234-5678-1234-567812345678")
    execute(
        f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            1,
            "12345678901234567890.0123456789",
            "2024-02-29 23:59:59.123456",
            "2024-02-29 12:00:00.123456+05:30",
            "2024-02-29",
            "23:59:59.999999",
            "1 month 2 days 03:04:05.5",
            json.dumps(doc),
            json.dumps(doc),
            b"\x00\xff",
            ident,
            ["a", "日本", None],
            [1, -2],
            "日本語 ñ 𝄞",
            -(2**63),
            0.1,
            True,
            "10.0.0.1",
            "abc",
        ),
    )
    execute(f"INSERT INTO {table} (id) VALUES (2)")

    event, empty = events.take(2)

    row = event.after
    assert row["price"] == Decimal("12345678901234567890.0123456789")
    assert EPOCH + timedelta(microseconds=row["happened"]) == datetime(2024, 2, 29, 23, 59, 59, 123456)
    assert datetime.fromisoformat(row["stamped"]) == datetime(2024, 2, 29, 6, 30, 0, 123456, tzinfo=UTC)
    assert EPOCH + timedelta(days=row["day"]) == datetime(2024, 2, 29)
    assert timedelta(microseconds=row["clock"]) == timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999)
    assert row["lasts"] == "P0Y1M2DT3H4M5.5S"
    assert json.loads(row["doc"]) == json.loads(row["docb"]) == doc
    assert base64.b64decode(row["data"]) == b"\x00\xff"
    assert UUID(row["ident"]) == ident
    assert (row["tags"], row["numbers"]) == (["a", "日本", None], [1, -2])
    assert row["body"] == "日本語 ñ 𝄞"
    assert (row["big"], float(row["ratio"]), row["flag"]) == (-(2**63), 0.1, True)
    assert (row["address"], row["kind"]) == ("10.0.0.1", "abc")
    assert {value for column, value in empty.after.items() if column != "id"} == {None}
    # The message says what its columns are, so that a consumer needs no other source.
    assert event.field_type("price") == "org.apache.kafka.connect.data.Decimal"
    assert event.field_type("happened") == "io.debezium.time.MicroTimestamp"
    assert event.field_type("stamped") == "io.debezium.time.ZonedTimestamp"
    assert event.field_type("doc") == event.field_type("docb") == "io.debezium.data.Json"
    assert event.field_type("ident") == "io.debezium.data.Uuid"


def test_unchanged_large_value_is_whole_with_full_identity(
    execute: Callable[..., Any], postgres_table: Table, events_of: Events
) -> None:
    table = postgres_table("id int PRIMARY KEY, stock int, body text")
    events = events_of(table)
    # Not compressed: it goes out of line (TOAST), and an update that leaves it alone does not log it again.
    execute(f"ALTER TABLE {table} ALTER COLUMN body SET STORAGE EXTERNAL")
    body = "0123456789abcdef" * 1000
    execute(f"INSERT INTO {table} VALUES (1, 7, %s)", (body,))
    execute(f"UPDATE {table} SET stock = 6")

    _, update = events.take(2)

    assert update.before == {"id": 1, "stock": 7, "body": body}
    assert update.after == {"id": 1, "stock": 6, "body": body}


def test_unchanged_large_value_is_unavailable_with_default_identity(
    execute: Callable[..., Any], postgres_table: Table, events_of: Events
) -> None:
    table = postgres_table("id int PRIMARY KEY, stock int, body text", replica_identity="DEFAULT")
    events = events_of(table)
    execute(f"ALTER TABLE {table} ALTER COLUMN body SET STORAGE EXTERNAL")
    execute(f"INSERT INTO {table} VALUES (1, 7, %s)", ("0123456789abcdef" * 1000,))
    execute(f"UPDATE {table} SET stock = 6")

    _, update = events.take(2)

    assert update.before is None
    assert update.after == {"id": 1, "stock": 6, "body": UNAVAILABLE}


def test_table_without_primary_key_needs_full_replica_identity(
    execute: Callable[..., Any], postgres_table: Table, events_of: Events
) -> None:
    table = postgres_table("note text")
    events = events_of(table)
    execute(f"INSERT INTO {table} VALUES ('first')")
    execute(f"UPDATE {table} SET note = 'second'")

    insert, update = events.take(2)

    assert (insert.key, insert.after) == (None, {"note": "first"})
    assert (update.key, update.before, update.after) == (None, {"note": "first"}, {"note": "second"})
    execute(f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="replica identity"):
        execute(f"UPDATE {table} SET note = 'third'")


def test_idle_connector_starts_again_without_a_new_snapshot(
    execute: Callable[..., Any], follow: Follow, connect_client: ConnectClient, stack_settings: Settings
) -> None:
    table, name, slot, events = follow(0)
    execute(f"INSERT INTO {table} VALUES (1)")
    assert [event.op for event in events.take(2)] == ["r", "c"]
    [behind_it] = execute("SELECT pg_current_wal_lsn() + 1").fetchone()
    log_running_transactions(stack_settings)
    # The server lets go of the log up to there.
    assert bytes_behind(execute, slot, "restart_lsn", behind_it) == 0
    connect_client.stop(name)
    connect_client.wait_for(name, "STOPPED")
    execute(f"INSERT INTO {table} VALUES (2)")
    connect_client.resume(name)

    following = events.next()
    assert (following.op, following.key) == ("c", {"id": 2})


def test_lost_slot_leads_to_a_new_snapshot(
    execute: Callable[..., Any],
    postgres_connection: Connection,
    follow: Follow,
    connect_client: ConnectClient,
) -> None:
    table, name, slot, events = follow(1)
    execute(f"INSERT INTO {table} VALUES (2)")
    assert [event.key["id"] for event in events.take(2)] == [1, 2]

    connect_client.stop(name)
    connect_client.wait_for(name, "STOPPED")
    drop_slot(postgres_connection, slot)
    execute(f"INSERT INTO {table} VALUES (3)")
    connect_client.resume(name)

    again = events.take_until(lambda event: event.key == {"id": 3})
    assert [(event.op, event.key["id"]) for event in again] == [("r", 1), ("r", 2), ("r", 3)]


def test_slot_advances_while_only_other_tables_change(
    execute: Callable[..., Any], own_postgres_connector: Connector, postgres_table: Table, events_of: Events
) -> None:
    table, other = postgres_table("id int PRIMARY KEY"), postgres_table("id int PRIMARY KEY, body text")
    _, prefix = own_postgres_connector({"table.include.list": f"public.{table}", **HEARTBEAT})
    execute(f"INSERT INTO {other} SELECT n, repeat('x', 1000) FROM generate_series(1, 1000) n")
    [written] = execute("SELECT pg_current_wal_lsn()").fetchone()

    assert bytes_behind(execute, prefix, "confirmed_flush_lsn", written) == 0
