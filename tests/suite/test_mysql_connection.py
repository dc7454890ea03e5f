"""MySQL as an application meets it: logging in, being refused, transactions, text, statements, pools, restarts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import mysql.connector
import pytest
from containers import container
from mysql.connector import errorcode, errors
from mysql.connector.abstracts import MySQLConnectionAbstract
from mysql.connector.pooling import MySQLConnectionPool
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.kafka import stack_connector
from cdc_workstation.settings import Settings


def answer(connection: MySQLConnectionAbstract, query: str, parameters: tuple[Any, ...] = ()) -> Any:
    """Return the first row of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()


def test_application_user_reaches_the_sample_database_of_an_lts_server(
    mysql_connection: MySQLConnectionAbstract, stack_settings: Settings
) -> None:
    user, database, version = answer(mysql_connection, "SELECT CURRENT_USER(), DATABASE(), VERSION()")

    assert (user, database) == (f"{stack_settings.mysql_user}@%", stack_settings.mysql_database)
    assert version.startswith("9.7.")
    tables = mysql_connection.cursor()
    tables.execute("SHOW TABLES")
    assert {"products", "inventory_transactions", "suppliers"} <= {name for (name,) in tables.fetchall()}


def test_wrong_password_is_refused_and_named_as_such(mysql_parameters: dict[str, Any]) -> None:
    with pytest.raises(errors.ProgrammingError) as refused:
        mysql.connector.connect(**(mysql_parameters | {"password": "wrong"}))

    assert refused.value.errno == errorcode.ER_ACCESS_DENIED_ERROR
    assert mysql_parameters["password"] not in str(refused.value)


def test_unknown_host_is_told_from_a_refused_login(mysql_parameters: dict[str, Any]) -> None:
    # `.invalid` never resolves (RFC 2606).
    with pytest.raises(mysql.connector.Error) as failed:
        mysql.connector.connect(**(mysql_parameters | {"host": "mysql.invalid"}))

    assert failed.value.errno in (errorcode.CR_UNKNOWN_HOST, errorcode.CR_CONN_HOST_ERROR)


def test_server_that_never_answers_ends_in_a_timeout(mysql_parameters: dict[str, Any]) -> None:
    # A port that takes connections and says nothing, as a hung server does.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result: list[BaseException] = []

        def connect() -> None:
            try:
                mysql.connector.connect(
                    **(mysql_parameters | {"port": silent.getsockname()[1], "connection_timeout": 1})
                )
            except BaseException as error:
                result.append(error)

        attempt = threading.Thread(target=connect, daemon=True)
        attempt.start()
        attempt.join(timeout=10)

    assert not attempt.is_alive(), "the client still waits after 10 s; connection_timeout is 1 s"
    assert isinstance(result[0], mysql.connector.Error)


@pytest.mark.exclusive
def test_client_reconnects_after_a_server_restart_and_capture_goes_on(
    mysql_connection: MySQLConnectionAbstract,
    mysql_table: Callable[[str], str],
    stack_settings: Settings,
    connect_client: ConnectClient,
    change_events: Callable[..., Any],
) -> None:
    table = mysql_table("id INT PRIMARY KEY")
    with mysql_connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (1)")
    started = answer(mysql_connection, "SELECT @@server_uuid, CONNECTION_ID()")
    events = change_events(table, from_beginning=True)

    container(stack_settings, "mysql").restart(timeout=30)

    with pytest.raises(mysql.connector.Error):
        answer(mysql_connection, "SELECT 1")
    Retrying(
        retry=retry_if_exception_type(mysql.connector.Error),
        stop=stop_after_delay(90),
        wait=wait_fixed(0.2),
        reraise=True,
    )(mysql_connection.reconnect)
    with mysql_connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (2)")
    assert answer(mysql_connection, f"SELECT COUNT(*) FROM {table}") == (2,)
    assert answer(mysql_connection, "SELECT @@server_uuid")[0] == started[0]
    # At least once: the first row may come again.
    seen = events.take_until(lambda event: event.key == {"id": 2}, timeout=90)
    assert {event.key["id"] for event in seen} == {1, 2}
    connect_client.wait_for(stack_connector(connect_client))


def test_transaction_shows_nothing_before_its_commit_and_nothing_after_a_rollback(
    mysql_connection: MySQLConnectionAbstract, mysql_parameters: dict[str, Any], mysql_table: Callable[[str], str]
) -> None:
    table = mysql_table("id INT PRIMARY KEY, amount DECIMAL(10,2) NOT NULL")
    count = f"SELECT COUNT(*), SUM(amount) FROM {table}"
    with mysql.connector.connect(**mysql_parameters, autocommit=True) as other, mysql_connection.cursor() as cursor:
        mysql_connection.start_transaction()
        cursor.execute(f"INSERT INTO {table} VALUES (1, 10.10), (2, 20.20)")
        assert answer(other, count) == (0, None)
        mysql_connection.commit()
        assert answer(other, count) == (2, Decimal("30.30"))

        mysql_connection.start_transaction()
        cursor.execute(f"DELETE FROM {table}")
        mysql_connection.rollback()
        assert answer(other, count) == (2, Decimal("30.30"))


def test_text_of_any_script_and_emoji_survives_the_round_trip(
    mysql_connection: MySQLConnectionAbstract, mysql_table: Callable[[str], str]
) -> None:
    table = mysql_table("id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(100)")
    texts = ["Ünïcödé", "日本語", "Привет", "مرحبا", "𝄞 🚀 👩‍👩‍👧", "'; DROP TABLE x; --", "back\\slash"]
    with mysql_connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} (text) VALUES (%s)", [(text,) for text in texts])
        cursor.execute(f"SELECT text, CHAR_LENGTH(text) FROM {table} ORDER BY id")
        assert cursor.fetchall() == [(text, len(text)) for text in texts]
    assert answer(mysql_connection, "SELECT @@character_set_server, @@character_set_client") == ("utf8mb4", "utf8mb4")


def test_prepared_statement_is_reused_with_typed_parameters(
    mysql_connection: MySQLConnectionAbstract, mysql_table: Callable[[str], str]
) -> None:
    table = mysql_table("id INT PRIMARY KEY, price DECIMAL(12,4), note VARCHAR(50)")
    rows = [(number, Decimal(f"{number}.0001"), None if number % 2 else f"note {number}") for number in range(20)]
    with mysql_connection.cursor(prepared=True) as cursor:
        for row in rows:
            cursor.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", row)
        cursor.execute(f"SELECT id, price, note FROM {table} WHERE id >= ? ORDER BY id", (0,))
        assert cursor.fetchall() == rows
    # A parameter is a value and never a piece of the statement.
    with mysql_connection.cursor(prepared=True) as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE note = ?", ("x' OR '1'='1",))
        assert cursor.fetchone() == (0,)


def test_pool_lends_each_connection_once_and_takes_it_back(mysql_parameters: dict[str, Any]) -> None:
    pool = MySQLConnectionPool(pool_name=f"pool_{uuid4().hex[:8]}", pool_size=3, **mysql_parameters)
    lent = [pool.get_connection() for _ in range(3)]
    try:
        sessions = {answer(connection, "SELECT CONNECTION_ID()") for connection in lent}
        assert len(sessions) == 3
        with pytest.raises(errors.PoolError):
            pool.get_connection()

        lent.pop().close()
        again = pool.get_connection()
        lent.append(again)
        assert answer(again, "SELECT CONNECTION_ID()") in sessions
    finally:
        for connection in lent:
            connection.close()
        pool._remove_connections()
