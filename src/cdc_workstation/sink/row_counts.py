"""Counts the rows of captured tables in their databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cdc_workstation.sink.topic_names import topic_name

# How long one answer of a database may take, in seconds.
TIMEOUT = 30


class DriftSource(BaseModel):
    """A database to count rows in, by an account that can only read."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["mysql", "postgres"]
    host: str
    port: int
    user: str
    password_file: Path
    database: str = ""
    """The database in PostgreSQL."""
    prefix: str = "debezium"
    """The `topic.prefix` of the connector that captures it."""
    databases: list[str] = Field(default_factory=list)
    """MySQL: regular expressions of the databases that are captured, as in `database.include.list`."""
    publication: str = "dbz_publication"
    """PostgreSQL: the publication that is captured."""
    reserved: str = ""
    """PostgreSQL: the schemas whose topics are escaped, as `topic.naming.reserved` of the connector."""


def count_rows(source: DriftSource, max_rows: int, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Return topic to the number of rows of its table, of tables whose topic is wanted.

    Args:
        source: the database.
        max_rows: tables that have more, as the database estimates, are left out.
        wanted: tells whether to count the table of a topic.

    Raises:
        Exception: the driver's, if the database does not answer or refuses.
    """
    count = _count_mysql if source.kind == "mysql" else _count_postgres
    return count(source, max_rows, wanted)


def _count_mysql(source: DriftSource, max_rows: int, wanted: Callable[[str], bool]) -> dict[str, int]:
    import mysql.connector

    found = {}
    with closing(
        mysql.connector.connect(
            host=source.host,
            port=source.port,
            user=source.user,
            password=_password(source),
            autocommit=True,
            connection_timeout=TIMEOUT,
        )
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT table_schema, table_name, COALESCE(table_rows, 0) FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE'"
            " AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')"
        )
        for namespace, table, estimated in cursor.fetchall():
            topic = topic_name(source.prefix, namespace, table)
            captured = any(re.fullmatch(pattern, namespace, re.IGNORECASE) for pattern in source.databases)
            if captured and estimated <= max_rows and wanted(topic):
                # A table may be dropped at any moment.
                with suppress(mysql.connector.ProgrammingError):
                    cursor.execute(f"SELECT COUNT(*) FROM {_quoted(namespace, '`')}.{_quoted(table, '`')}")  # noqa: S608
                    found[topic] = int(cursor.fetchall()[0][0])
    return found


def _count_postgres(source: DriftSource, max_rows: int, wanted: Callable[[str], bool]) -> dict[str, int]:
    import psycopg

    found = {}
    reserved = re.compile(source.reserved) if source.reserved else None
    with psycopg.connect(
        host=source.host,
        port=source.port,
        user=source.user,
        password=_password(source),
        dbname=source.database,
        autocommit=True,
        connect_timeout=TIMEOUT,
    ) as connection:
        tables = connection.execute(
            "SELECT p.schemaname, p.tablename, c.reltuples FROM pg_publication_tables p"
            " JOIN pg_namespace n ON n.nspname = p.schemaname"
            " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
            " WHERE p.pubname = %s AND has_table_privilege(c.oid, 'SELECT')",
            (source.publication,),
        ).fetchall()
        for namespace, table, estimated in tables:
            topic = topic_name(source.prefix, namespace, table, reserved=reserved)
            if estimated <= max_rows and wanted(topic):
                with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
                    name = f"{_quoted(namespace, chr(34))}.{_quoted(table, chr(34))}"
                    counted = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()  # noqa: S608
                    found[topic] = int(counted[0][0])
    return found


def _password(source: DriftSource) -> str:
    return source.password_file.read_text(encoding="utf-8").strip()


def _quoted(name: str, quote: str) -> str:
    return f"{quote}{name.replace(quote, quote * 2)}{quote}"
