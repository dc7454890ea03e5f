"""A MySQL database or a PostgreSQL schema for one measurement alone, with tables whose changes are numbered."""

from __future__ import annotations

import base64
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.compute as pc
import requests
from confluent_kafka import KafkaException
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.kafka import TOPIC_PREFIX, ChangeEvents, delete_topics
from cdc_workstation.clients.sink import SinkClient
from cdc_workstation.clients.source import Connection, Database, MySQL, PostgreSQL
from cdc_workstation.settings import Settings

# Keys and texts of no importance.
CHANCE = random.Random()  # noqa: S311
LABELS = {"mysql": "MySQL", "postgres": "PostgreSQL"}
# How long one step of a measurement may take before it counts as failed.
PATIENCE = 600
# Rows of one statement.
_ROWS = 5000


def until(holds: Callable[[], Any], what: str, *, seconds: float = PATIENCE, every: float = 0.1) -> None:
    """Return once `holds()` is true; end the benchmark if that does not come true in time."""
    # Topics and tables may not be there yet.
    expected = (KafkaException, TableNotFoundError, requests.RequestException)
    again = retry_if_exception_type(expected) | retry_if_result(lambda held: not held)
    try:
        Retrying(retry=again, stop=stop_after_delay(seconds), wait=wait_fixed(every))(holds)
    except RetryError:
        sys.exit(f"not there within {seconds:.0f} s: {what}")


def note(length: int = 84) -> str:
    """Return text that cannot be compressed to nothing, as real rows cannot."""
    return base64.b64encode(CHANCE.randbytes(length * 3 // 4)).decode()


@dataclass
class SourceTable:
    """A table of 100-byte rows; `sequence` tells which change a row is from."""

    connection: Connection
    database: str
    """Its database in MySQL, its schema in PostgreSQL."""
    name: str
    path: Path
    """Its Delta table."""

    @property
    def topic(self) -> str:
        """The topic of its change events."""
        return f"{TOPIC_PREFIX}.{self.database}.{self.name}"

    def create(self) -> None:
        """Create the table, empty."""
        self.connection.execute(
            f"CREATE TABLE {self.database}.{self.name} (id INT PRIMARY KEY, sequence BIGINT, note VARCHAR(100))"
        )

    def insert(self, rows: int, first: int = 0) -> None:
        """Insert rows whose `id` and `sequence` are numbered from `first` on."""
        for low in range(first, first + rows, _ROWS):
            high = min(low + _ROWS, first + rows)
            values = ", ".join(f"({number}, {number}, '{note()}')" for number in range(low, high))
            self.connection.execute(f"INSERT INTO {self.database}.{self.name} VALUES {values}")

    def update(self, row: int, number: int) -> None:
        """Update a row by the change `number`."""
        self.connection.execute(
            f"UPDATE {self.database}.{self.name} SET sequence = {number}, note = '{note()}' WHERE id = {row}"
        )

    def check(self) -> None:
        """End the benchmark if the Delta table has other rows: a figure of wrong rows is none."""
        [(count, total)] = self.connection.execute(
            f"SELECT count(*), coalesce(sum(sequence), 0) FROM {self.database}.{self.name}"
        )
        rows = DeltaTable(str(self.path)).to_pyarrow_table(columns=["id", "sequence"])
        found = (rows.num_rows, pc.count_distinct(rows["id"]).as_py(), pc.sum(rows["sequence"]).as_py() or 0)
        if found != (count, count, total):
            sys.exit(f"{self.path} differs from its source: {found} rows, keys and sum, not {(count, count, total)}")


class Source:
    """A database or schema of its own; everything in it is captured.

    Args:
        settings: the stack's settings.
        kind: `mysql` or `postgres`.
    """

    def __init__(self, settings: Settings, kind: Database) -> None:
        self.settings = settings
        self.kind = kind
        self.label = LABELS[kind]
        token = uuid4().hex[:12]
        self.name = f"{settings.mysql_database}_bench_{token}" if kind == "mysql" else f"bench_{token}"
        self.connection = self.connect()
        self._uncaptured: list[SourceTable] = []

    def connect(self) -> Connection:
        """Open one more connection."""
        one = self.settings
        if self.kind == "mysql":
            return MySQL(
                {
                    "host": one.mysql_host,
                    "port": one.mysql_port,
                    "database": one.mysql_database,
                    "user": one.mysql_user,
                    "password": one.mysql_password.get_secret_value(),
                }
            )
        return PostgreSQL(
            {
                "host": one.postgres_host,
                "port": one.postgres_port,
                "dbname": one.postgres_database,
                "user": one.postgres_user,
                "password": one.postgres_password.get_secret_value(),
            }
        )

    def table(self, name: str = "orders", connection: Connection | None = None) -> SourceTable:
        """Return a table that may not exist yet."""
        path = self.settings.delta_tables_dir / self.name / name
        return SourceTable(connection or self.connection, self.name, name, path)

    def uncaptured(self) -> SourceTable:
        """Return a table whose events end at Kafka: the sink leaves such names in the sample database alone.

        It is dropped with the rest. Its Delta table is whoever's reads the topic.
        """
        database = self.settings.mysql_database if self.kind == "mysql" else "public"
        name = f"bench_{uuid4().hex[:12]}"
        path = self.settings.delta_tables_dir / name / "orders"
        path.parent.mkdir(mode=0o777)
        self._uncaptured.append(SourceTable(self.connection, database, name, path))
        return self._uncaptured[-1]

    def _wait_until_captured(self) -> None:
        """Return once all that was committed so far is in Kafka: a connector writes in the log's order."""
        marker = self.uncaptured()
        marker.create()
        marker.insert(1)
        with ChangeEvents(self.servers, marker.topic, from_beginning=True) as events:
            events.next(timeout=PATIENCE)

    @property
    def servers(self) -> str:
        """The brokers."""
        return self.settings.kafka_bootstrap_servers or ""

    def create(self) -> None:
        """Create the database or schema."""
        self.connection.execute(f"CREATE {'DATABASE' if self.kind == 'mysql' else 'SCHEMA'} {self.name}")

    def remove(self) -> None:
        """Drop everything, and remove topics and Delta tables once nothing can recreate them."""
        # Ctrl-C may have left the other connection in the middle of an answer.
        self.connection = self.connect()
        self.connection.execute(
            f"DROP DATABASE IF EXISTS {self.name}"
            if self.kind == "mysql"
            else f"DROP SCHEMA IF EXISTS {self.name} CASCADE"
        )
        try:
            self._wait_until_captured()
        finally:
            for table in self._uncaptured:
                self.connection.execute(f"DROP TABLE IF EXISTS {table.database}.{table.name}")
            self.connection.close()
            topics = {table.topic for table in self._uncaptured}
            delete_topics(
                self.servers, lambda topic: topic in topics or topic.startswith(f"{TOPIC_PREFIX}.{self.name}.")
            )
            with suppress(SystemExit):
                until(self._is_forgotten, f"the sink still has tables of {self.name}", seconds=60)
            for path in (self.settings.delta_tables_dir / self.name, *(one.path.parent for one in self._uncaptured)):
                shutil.rmtree(path, ignore_errors=True)

    def _is_forgotten(self) -> bool:
        with SinkClient(str(self.settings.delta_sink_url)) as sink:
            return f'"{self.name}.' not in sink.metrics()


@contextmanager
def source_of(settings: Settings, kind: Database) -> Iterator[Source]:
    """Create a database or schema; remove it, its topics and Delta tables at the end."""
    source = Source(settings, kind)
    try:
        source.create()
        yield source
    finally:
        source.remove()


def paced(rate: float, seconds: float) -> Iterator[int]:
    """Yield numbers from 0 on at a rate; one that was late is followed by the next one at once."""
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield number
