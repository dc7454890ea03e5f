"""What is MySQL's own in the way an application meets it: its prepared statements, pools and character set."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from mysql.connector import errors
from mysql.connector.abstracts import MySQLConnectionAbstract
from mysql.connector.pooling import MySQLConnectionPool
from source import answer

pytestmark = pytest.mark.uses("databases")


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


def test_server_and_client_speak_utf8mb4(mysql_connection: MySQLConnectionAbstract) -> None:
    assert answer(mysql_connection, "SELECT @@character_set_server, @@character_set_client") == ("utf8mb4", "utf8mb4")


def test_application_user_may_create_functions_and_triggers(
    mysql_connection: MySQLConnectionAbstract, mysql_table: Callable[[str], str]
) -> None:
    table = mysql_table("id INT PRIMARY KEY, price INT, gross INT")
    function = f"gross_{table}"
    with mysql_connection.cursor() as cursor:
        cursor.execute(f"CREATE FUNCTION {function}(price INT) RETURNS INT DETERMINISTIC RETURN price * 2")
        try:
            action = f"SET NEW.gross = {function}(NEW.price)"
            cursor.execute(f"CREATE TRIGGER {table}_gross BEFORE INSERT ON {table} FOR EACH ROW {action}")
            cursor.execute(f"INSERT INTO {table} (id, price) VALUES (1, 21)")
            cursor.execute(f"SELECT gross FROM {table}")
            assert cursor.fetchall() == [(42,)]
        finally:
            cursor.execute(f"DROP FUNCTION {function}")


def test_application_user_sees_where_the_binlog_ends(mysql_connection: MySQLConnectionAbstract) -> None:
    with mysql_connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOG STATUS")
        [row] = cursor.fetchall()
    assert str(row[0]).startswith("binlog.")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE USER intruder",
        "CREATE DATABASE intruder",
        "SELECT * FROM mysql.user",
        "SET GLOBAL max_connections = 1",
        "SET SESSION sql_log_bin = 0",
        "PURGE BINARY LOGS BEFORE NOW()",
        "SHUTDOWN",
    ],
)
def test_application_user_may_not_change_the_server(mysql_connection: MySQLConnectionAbstract, statement: str) -> None:
    with mysql_connection.cursor() as cursor, pytest.raises(errors.Error, match="denied"):
        cursor.execute(statement)
