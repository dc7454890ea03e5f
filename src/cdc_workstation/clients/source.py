"""A table of a source database, in the same words for MySQL and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

import mysql.connector
import psycopg
from mysql.connector.constants import FieldType

from cdc_workstation.redaction import Password
from cdc_workstation.settings import Settings

# pytest's tracebacks end in the test.
__tracebackhide__ = True

Row = dict[str, Any]
Database = Literal["mysql", "postgres"]


class Json:
    """A JSON document: equal to one with the same content, however it is written."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self.document == other.document

    def __hash__(self) -> int:
        return hash(json.dumps(self.document, sort_keys=True))

    def __repr__(self) -> str:
        return f"Json({self.document!r})"


class Connection(Protocol):
    """A connection to one of the databases; outside of a transaction each statement is committed at once."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement with `%s` for each parameter; return its rows, none where it gives none."""

    def select(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Execute a query and return its rows by column; JSON columns as `Json`, times in UTC."""

    def insert(self, table: str, row: Mapping[str, Any], key: Sequence[str]) -> Row:
        """Insert a row and return its key, generated parts included."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what the block does at its end, or roll it back where it raises."""

    def quoted(self, name: str) -> str:
        """Return an identifier as SQL takes it."""

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table's primary key, in its order; none where it has no key."""

    def truncate(self, table: str) -> None:
        """Empty a table, whatever refers to it."""

    def drop(self, table: str) -> None:
        """Drop a table, whatever refers to it."""

    def reset(self) -> None:
        """Make the session as good as new: what is uncommitted is rolled back, settings and locks are gone."""

    def close(self) -> None:
        """Give the connection up; what is uncommitted is rolled back."""


class MySQL:
    """MySQL by mysql-connector-python.

    Args:
        parameters: keyword arguments of `mysql.connector.connect`.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._connection: Any = mysql.connector.connect(**parameters, autocommit=True)
        self.database = str(parameters["database"])
        self._prepare()

    def _prepare(self) -> None:
        # TIMESTAMP columns are read, and written, in UTC.
        self.execute("SET time_zone = '+00:00'")

    def reset(self) -> None:
        """Reset the session."""
        self._connection.cmd_reset_connection()
        self._connection.autocommit = True
        self._prepare()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters))
            return list(cursor.fetchall()) if cursor.with_rows else []

    def select(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Execute a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters))
            names = [column[0] for column in cursor.description]
            documents = {column[0] for column in cursor.description if column[1] == FieldType.JSON}
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            for name in documents:
                if row[name] is not None:
                    row[name] = Json(json.loads(row[name]))
        return rows

    def insert(self, table: str, row: Mapping[str, Any], key: Sequence[str]) -> Row:
        """Insert a row."""
        with self._connection.cursor() as cursor:
            cursor.execute(_insert(self, table, row), tuple(row.values()))
            return {name: row.get(name, cursor.lastrowid) for name in key}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a transaction."""
        self._connection.start_transaction()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def quoted(self, name: str) -> str:
        """Quote an identifier."""
        return "`" + name.replace("`", "``") + "`"

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the primary key's columns."""
        found = self.execute(
            "SELECT column_name FROM information_schema.key_column_usage"
            " WHERE table_schema = %s AND table_name = %s AND constraint_name = 'PRIMARY' ORDER BY ordinal_position",
            (self.database, table),
        )
        return tuple(str(row[0]) for row in found)

    def truncate(self, table: str) -> None:
        """Empty a table."""
        self._unchecked(f"TRUNCATE TABLE {self.quoted(table)}")

    def drop(self, table: str) -> None:
        """Drop a table."""
        self._unchecked(f"DROP TABLE IF EXISTS {self.quoted(table)}")

    def _unchecked(self, statement: str) -> None:
        self.execute("SET foreign_key_checks = 0")
        try:
            self.execute(statement)
        finally:
            self.execute("SET foreign_key_checks = 1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgreSQL:
    """PostgreSQL by psycopg.

    Args:
        parameters: keyword arguments of `psycopg.connect`.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
        self._prepare()

    def _prepare(self) -> None:
        self.execute("SET TIME ZONE 'UTC'")

    def reset(self) -> None:
        """Reset the session."""
        self._connection.rollback()
        self.execute("DISCARD ALL")
        self._prepare()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement."""
        # Without parameters a percent sign stands for itself.
        cursor = self._connection.execute(statement.encode(), parameters or None)
        return list(cursor.fetchall()) if cursor.description else []

    def select(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Execute a query."""
        cursor = self._connection.execute(statement.encode(), parameters or None)
        columns = cursor.description or []
        documents = {column.name for column in columns if column.type_display in ("json", "jsonb")}
        rows = [dict(zip((column.name for column in columns), row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            for name in documents:
                # NULL and the document `null` are read as one.
                if row[name] is not None:
                    row[name] = Json(row[name])
        return rows

    def insert(self, table: str, row: Mapping[str, Any], key: Sequence[str]) -> Row:
        """Insert a row."""
        returned = f" RETURNING {', '.join(map(self.quoted, key))}" if key else ""
        found = self.execute(_insert(self, table, row) + returned, tuple(row.values()))
        return dict(zip(key, found[0], strict=True)) if key else {}

    def transaction(self) -> AbstractContextManager[Any]:
        """Run a transaction."""
        return self._connection.transaction()

    def quoted(self, name: str) -> str:
        """Quote an identifier."""
        return '"' + name.replace('"', '""') + '"'

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the primary key's columns."""
        found = self.execute(
            "SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(number, place)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
            " WHERE i.indrelid = %s::regclass AND i.indisprimary ORDER BY k.place",
            (self.quoted(table),),
        )
        return tuple(str(row[0]) for row in found)

    def truncate(self, table: str) -> None:
        """Empty a table."""
        self.execute(f"TRUNCATE TABLE {self.quoted(table)} CASCADE")

    def drop(self, table: str) -> None:
        """Drop a table."""
        self.execute(f"DROP TABLE IF EXISTS {self.quoted(table)} CASCADE")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_source(settings: Settings, database: Database, *, timeout: float = 10.0) -> MySQL | PostgreSQL:
    """Connect to a source database of the stack as the application's user.

    Raises:
        ValueError: the stack has no such database.
        mysql.connector.Error, psycopg.Error: it cannot be reached, or refuses the login.
    """
    host = settings.mysql_host if database == "mysql" else settings.postgres_host
    if host is None:
        raise ValueError(f"the stack has no {database}")
    if database == "mysql":
        return MySQL(
            {
                "host": host,
                "port": settings.mysql_port,
                "database": settings.mysql_database,
                "user": settings.mysql_user,
                "password": Password(settings.mysql_password.get_secret_value()),
                "connection_timeout": int(timeout),
            }
        )
    return PostgreSQL(
        {
            "host": host,
            "port": settings.postgres_port,
            "dbname": settings.postgres_database,
            "user": settings.postgres_user,
            "password": Password(settings.postgres_password.get_secret_value()),
            "connect_timeout": int(timeout),
        }
    )


def _insert(connection: MySQL | PostgreSQL, table: str, row: Mapping[str, Any]) -> str:
    columns = ", ".join(map(connection.quoted, row))
    marks = ", ".join(["%s"] * len(row))
    return f"INSERT INTO {connection.quoted(table)} ({columns}) VALUES ({marks})"  # noqa: S608 -- quoted
