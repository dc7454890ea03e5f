"""PostgreSQL as an application meets it: logging in, rights, transactions, text, statements, restarts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from containers import container
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.postgres import drop_slot, stack_postgres_connector
from cdc_workstation.settings import Settings, connection_file

Connection = psycopg.Connection[Any]
Table = Callable[..., str]


@pytest.fixture
def debezium_connection(postgres_parameters: dict[str, Any]) -> Iterator[Connection]:
    """A connection of Debezium's user."""
    secret = connection_file().parent / "secrets" / "postgres_debezium_password"
    login = {"user": "debezium", "password": Path(secret).read_text().strip()}
    with psycopg.connect(**(postgres_parameters | login), autocommit=True) as connection:
        yield connection


def answer(connection: Connection, query: str, parameters: tuple[Any, ...] = ()) -> Any:
    """Return the first row of a query."""
    return connection.execute(query, parameters).fetchone()


def test_application_user_reaches_the_sample_database(
    postgres_connection: Connection, stack_settings: Settings
) -> None:
    user, database, version = answer(
        postgres_connection,
        "SELECT user, current_database(), current_setting('server_version_num')::int / 10000",
    )

    assert (user, database, version) == (stack_settings.postgres_user, stack_settings.postgres_database, 17)
    counts = {
        table: answer(postgres_connection, f"SELECT count(*) FROM {table}")[0]
        for table in ("customers", "products", "orders", "order_items")
    }
    assert all(count > 0 for count in counts.values()), counts


def test_server_is_set_up_for_logical_decoding_that_cannot_fill_the_disk(postgres_connection: Connection) -> None:
    names = ("wal_level", "max_slot_wal_keep_size", "password_encryption", "server_encoding", "TimeZone")
    settings = {name: answer(postgres_connection, "SELECT current_setting(%s)", (name,))[0] for name in names}

    assert settings.pop("max_slot_wal_keep_size") != "-1"
    assert settings == {
        "wal_level": "logical",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    identities = postgres_connection.execute(
        "SELECT relname, relreplident FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relname IN ('customers', 'products', 'orders', 'order_items')"
    ).fetchall()
    assert {identity for _, identity in identities} == {"f"}
    assert answer(postgres_connection, "SELECT puballtables FROM pg_publication WHERE pubname = 'dbz_publication'") == (
        True,
    )


def test_wrong_password_is_refused_and_not_repeated_in_the_message(postgres_parameters: dict[str, Any]) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(**(postgres_parameters | {"password": "wrong"}))

    assert "password authentication failed" in str(refused.value)
    assert postgres_parameters["password"] not in str(refused.value)


def test_superuser_cannot_log_in_from_outside_the_container(postgres_parameters: dict[str, Any]) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(**(postgres_parameters | {"user": "postgres"}))


def test_unknown_host_is_told_from_a_refused_login(postgres_parameters: dict[str, Any]) -> None:
    # `.invalid` never resolves (RFC 2606).
    with pytest.raises(psycopg.OperationalError, match=r"resolve host|could not translate host name"):
        psycopg.connect(**(postgres_parameters | {"host": "postgres.invalid"}))


def test_server_that_never_answers_ends_in_a_timeout(postgres_parameters: dict[str, Any]) -> None:
    # A port that takes connections and says nothing, as a hung server does.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(**(postgres_parameters | {"port": silent.getsockname()[1], "connect_timeout": 2}))

    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE ROLE intruder LOGIN",
        "ALTER ROLE cdcuser SUPERUSER",
        "CREATE DATABASE intruder",
        "SELECT pg_create_logical_replication_slot('test_intruder', 'pgoutput')",
        "CREATE PUBLICATION intruder FOR ALL TABLES",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('/run/secrets/postgres_debezium_password')",
        "COPY customers TO PROGRAM 'cat'",
        "ALTER SYSTEM SET wal_level = minimal",
    ],
)
def test_application_user_has_no_rights_over_the_server(postgres_connection: Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        postgres_connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO products (sku, name, price) VALUES ('X', 'X', 1)",
        "UPDATE products SET price = 0",
        "DELETE FROM order_items",
        "TRUNCATE orders CASCADE",
        "CREATE TABLE intruder (id int)",
        "CREATE SCHEMA intruder",
        "ALTER TABLE products REPLICA IDENTITY DEFAULT",
        "DROP PUBLICATION dbz_publication",
        "CREATE ROLE intruder",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_debezium_user_may_read_and_not_write(debezium_connection: Connection, statement: str) -> None:
    assert answer(debezium_connection, "SELECT count(*) > 0 FROM products") == (True,)
    with pytest.raises(errors.InsufficientPrivilege):
        debezium_connection.execute(statement)


def test_debezium_user_may_read_the_tables_of_a_new_schema(
    postgres_connection: Connection, debezium_connection: Connection
) -> None:
    schema = sql.Identifier(f"test_{uuid4().hex[:12]}")
    postgres_connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    try:
        # Without a row: an event of it would be applied to a Delta table.
        postgres_connection.execute(sql.SQL("CREATE TABLE {}.notes (id int)").format(schema))

        assert debezium_connection.execute(sql.SQL("SELECT id FROM {}.notes").format(schema)).fetchall() == []
    finally:
        postgres_connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


def test_application_user_may_drop_the_slots_of_tests_and_no_other(postgres_connection: Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        drop_slot(postgres_connection, "debezium")

    drop_slot(postgres_connection, f"test_{uuid4().hex[:12]}")

    assert answer(postgres_connection, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'debezium'") == (1,)


def test_what_takes_the_stack_down_drops_a_slot(debezium_connection: Connection, stack_settings: Settings) -> None:
    slot = f"test_{uuid4().hex[:12]}"
    debezium_connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))

    first, again = (container(stack_settings, "postgres").exec_run(["postgres-drop-slot", slot]) for _ in range(2))

    assert (first.exit_code, first.output.decode().split()) == (0, ["dropped", slot])
    assert (again.exit_code, again.output) == (0, b"")
    slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s"
    assert debezium_connection.execute(slots, (slot,)).fetchone() == (0,)


@pytest.mark.exclusive
def test_client_reconnects_after_a_server_restart_and_capture_goes_on(
    postgres_connection: Connection,
    postgres_parameters: dict[str, Any],
    postgres_table: Table,
    stack_settings: Settings,
    connect_client: ConnectClient,
    change_events: Callable[..., Any],
) -> None:
    table = postgres_table("id int PRIMARY KEY")
    postgres_connection.execute(f"INSERT INTO {table} VALUES (1)")
    events = change_events(table, database="public", from_beginning=True)
    events.take(1)

    container(stack_settings, "postgres").restart(timeout=30)

    with pytest.raises(psycopg.OperationalError):
        postgres_connection.execute("SELECT 1")
    again = Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_delay(90),
        wait=wait_fixed(0.2),
        reraise=True,
    )(psycopg.connect, **postgres_parameters, autocommit=True)
    with again:
        again.execute(f"INSERT INTO {table} VALUES (2)")
        assert answer(again, f"SELECT count(*) FROM {table}") == (2,)
    # At least once: the first row may come again.
    seen = events.take_until(lambda event: event.key == {"id": 2}, timeout=90)
    assert {event.key["id"] for event in seen} <= {1, 2}
    connect_client.wait_for(stack_postgres_connector(connect_client))


def test_transaction_shows_nothing_before_its_commit_and_nothing_after_a_rollback(
    postgres_connection: Connection, postgres_parameters: dict[str, Any], postgres_table: Table
) -> None:
    table = postgres_table("id int PRIMARY KEY, amount numeric(10,2) NOT NULL")
    count = f"SELECT count(*), sum(amount) FROM {table}"
    with psycopg.connect(**postgres_parameters, autocommit=True) as other:
        with postgres_connection.transaction():
            postgres_connection.execute(f"INSERT INTO {table} VALUES (1, 10.10), (2, 20.20)")
            assert answer(other, count) == (0, None)
        assert answer(other, count) == (2, Decimal("30.30"))

        with postgres_connection.transaction(force_rollback=True):
            postgres_connection.execute(f"DELETE FROM {table}")
        assert answer(other, count) == (2, Decimal("30.30"))


def test_savepoint_undoes_its_part_of_a_transaction_exclusive(
    postgres_connection: Connection, postgres_table: Table
) -> None:
    table = postgres_table("id int PRIMARY KEY")
    with postgres_connection.transaction():
        postgres_connection.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(errors.UniqueViolation), postgres_connection.transaction():
            postgres_connection.execute(f"INSERT INTO {table} VALUES (2), (1)")
        postgres_connection.execute(f"INSERT INTO {table} VALUES (3)")

    assert postgres_connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall() == [(1,), (3,)]


def test_text_of_any_script_and_emoji_survives_the_round_trip(
    postgres_connection: Connection, postgres_table: Table
) -> None:
    table = postgres_table("id serial PRIMARY KEY, body varchar(100)")
    texts = ["Ünïcödé", "日本語", "Привет", "مرحبا", "𝄞 🚀 👩‍👩‍👧", "'; DROP TABLE x; --", "back\\slash", ""]
    with postgres_connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} (body) VALUES (%s)", [(text,) for text in texts])
        cursor.execute(f"SELECT body, char_length(body) FROM {table} ORDER BY id")
        assert cursor.fetchall() == [(text, len(text)) for text in texts]


def test_prepared_statement_and_copy_keep_types(postgres_connection: Connection, postgres_table: Table) -> None:
    table = postgres_table("id int PRIMARY KEY, price numeric(12,4), note text, doc jsonb, tags text[]")
    rows = [
        (number, Decimal(f"{number}.0001"), None if number % 2 else f"note {number}", {"n": [number, None]}, ["a", "é"])
        for number in range(20)
    ]
    for number, price, note, doc, tags in rows[:10]:
        postgres_connection.execute(
            f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s)", (number, price, note, Jsonb(doc), tags), prepare=True
        )
    with postgres_connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for number, price, note, doc, tags in rows[10:]:
            copy.write_row((number, price, note, Jsonb(doc), tags))

    assert postgres_connection.execute(f"SELECT * FROM {table} ORDER BY id", prepare=True).fetchall() == rows
    # A parameter is a value and never a piece of the statement.
    assert answer(postgres_connection, f"SELECT count(*) FROM {table} WHERE note = %s", ("x' OR '1'='1",)) == (0,)
