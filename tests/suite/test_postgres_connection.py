"""What is PostgreSQL's own in the way an application meets it: set-up, rights, slots, savepoints, COPY."""

from __future__ import annotations

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
from source import answer

from cdc_workstation.fixtures.postgres import drop_slot
from cdc_workstation.settings import Settings, connection_file

pytestmark = pytest.mark.uses("databases")

Connection = psycopg.Connection[Any]
Table = Callable[..., str]


@pytest.fixture
def debezium_connection(postgres_parameters: dict[str, Any]) -> Iterator[Connection]:
    """A connection of Debezium's user."""
    secret = connection_file().parent / "secrets" / "postgres_debezium_password"
    login = {"user": "debezium", "password": Path(secret).read_text().strip()}
    with psycopg.connect(**(postgres_parameters | login), autocommit=True) as connection:
        yield connection


def test_logical_decoding_is_on_and_cannot_fill_the_disk(postgres_connection: Connection) -> None:
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


def test_key_of_the_sample_customers_is_named_after_them(postgres_connection: Connection) -> None:
    key = postgres_connection.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " WHERE i.indrelid = 'public.customers'::regclass AND i.indisprimary"
    ).fetchall()
    assert key == [("customer_id",)]


def test_superuser_cannot_log_in_from_outside_the_container(postgres_parameters: dict[str, Any]) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(**(postgres_parameters | {"user": "postgres"}))


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


def test_slot_is_dropped_when_the_stack_goes_down(debezium_connection: Connection, stack_settings: Settings) -> None:
    slot = f"test_{uuid4().hex[:12]}"
    debezium_connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))

    first, again = (container(stack_settings, "postgres").exec_run(["postgres-drop-slot", slot]) for _ in range(2))

    assert (first.exit_code, first.output.decode().split()) == (0, ["dropped", slot])
    assert (again.exit_code, again.output) == (0, b"")
    slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s"
    assert debezium_connection.execute(slots, (slot,)).fetchone() == (0,)


def test_savepoint_undoes_only_its_part_of_a_transaction(
    postgres_connection: Connection, postgres_table: Table
) -> None:
    table = postgres_table("id int PRIMARY KEY")
    with postgres_connection.transaction():
        postgres_connection.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(errors.UniqueViolation), postgres_connection.transaction():
            postgres_connection.execute(f"INSERT INTO {table} VALUES (2), (1)")
        postgres_connection.execute(f"INSERT INTO {table} VALUES (3)")

    assert postgres_connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall() == [(1,), (3,)]


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
