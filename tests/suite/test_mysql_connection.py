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
