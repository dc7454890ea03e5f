"""MySQL or PostgreSQL in the same words, by the drivers that an application uses: for tests that hold for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mysql.connector
import psycopg

from cdc_workstation.clients.kafka import ChangeEvents

ERRORS: dict[str, type[Exception]] = {"mysql": mysql.connector.Error, "postgres": psycopg.Error}
DRIVERS: dict[str, Callable[..., Any]] = {"mysql": mysql.connector.connect, "postgres": psycopg.connect}


@dataclass(frozen=True)
class Source:
    """One of the stack's databases, with a connection that commits each statement at once."""

    kind: str
    connection: Any
    parameters: dict[str, Any]
    namespace: str
    """The part of topics' names between the prefix and the table."""
    table: Callable[[str], str]
    """Create a table that this test alone uses; returns its name."""
    own_connector: Callable[[Mapping[str, str]], tuple[str, str]]
    """Run a connector for this test alone; returns its name and its topic prefix."""
    change_events: Callable[..., ChangeEvents]

    @property
    def error(self) -> type[Exception]:
        """What the driver raises."""
        return ERRORS[self.kind]

    def connect(self, **changes: Any) -> Any:
        """Open another connection of the application's user, with other parameters if need be."""
        return DRIVERS[self.kind](**self.parameters | changes, autocommit=True)

    def reconnect(self) -> Any:
        """Connect again after the connection was lost, in the way that the driver offers."""
        if self.kind != "mysql":
            return self.connect()
        self.connection.reconnect()
        return self.connection

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Execute a statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters))

    def events(self, table: str, **options: Any) -> ChangeEvents:
        """The change events of a table, from now on."""
        return self.change_events(table, database=self.namespace, **options)

    def follow(self, table: str) -> tuple[str, ChangeEvents]:
        """Run a connector for a table; return its name, and the events from its snapshot on."""
        name, prefix = self.own_connector({"table.include.list": f"{self.namespace}.{table}"})
        return name, self.events(table, prefix=prefix, from_beginning=True)


def answer(connection: Any, query: str, parameters: Sequence[object] = ()) -> Any:
    """Return the first row of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, tuple(parameters))
        return cursor.fetchone()


def answers(connection: Any, query: str, parameters: Sequence[object] = ()) -> list[Any]:
    """Return all rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, tuple(parameters))
        return list(cursor.fetchall())
