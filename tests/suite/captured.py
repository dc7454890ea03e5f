"""A database for one test, from its rows to the Delta tables that the sink keeps of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import mysql.connector
import psycopg
import pyarrow as pa
import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.fixtures.kafka import TOPIC_PREFIX, delete_topics
from cdc_workstation.settings import Settings

Row = dict[str, Any]

# How long changes may take to Delta on a machine with other things to do, and how often is looked.
TIMEOUT = 90.0
POLL = 0.2
# The sink's own columns.
METADATA = "_cdc_"


def until(condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = TIMEOUT) -> Any:
    """Return what the condition gives once that is true; fail and say what did not happen."""

    def give_up(_: object) -> None:
        said = what if isinstance(what, str) else what()
        pytest.fail(f"{said} (within {timeout:.0f} s)", pytrace=False)

    return Retrying(
        retry=retry_if_result(lambda found: not found),
        stop=stop_after_delay(timeout),
        wait=wait_fixed(POLL),
        retry_error_callback=give_up,
    )(condition)


@dataclass
class CapturedTable:
    """One table with its topic and its Delta table."""

    database: CapturedDatabase
    name: str

    @property
    def source(self) -> str:
        """The table as SQL names it in its database."""
        return f"{self.database.name}.{self.name}"

    @property
    def topic(self) -> str:
        """The topic of its change events."""
        return f"{TOPIC_PREFIX}.{self.database.name}.{self.name}"

    @property
    def label(self) -> str:
        """What the sink's metrics call it."""
        return f"{self.database.name}.{self.name}"

    @property
    def path(self) -> Path:
        """Its Delta table."""
        return self.database.directory / self.name

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Execute a statement in which `{t}` stands for the table; committed when this returns."""
        self.database.execute(statement.replace("{t}", self.source), parameters)

    def rows(self) -> list[Row]:
        """What the database says, by the first column."""
        return ordered(self.database.query(f"SELECT * FROM {self.source}"))

    def delta(self) -> DeltaTable:
        """Open the Delta table with delta-rs.

        Raises:
            deltalake.exceptions.TableNotFoundError: there is none.
        """
        return DeltaTable(str(self.path))

    def arrow(self) -> pa.Table:
        """All rows and columns of the Delta table, metadata included, read by delta-rs."""
        return self.delta().to_pyarrow_table()

    def delta_rows(self) -> list[Row]:
        """What Delta says, by the first column, without the sink's columns; nothing where there is no table."""
        try:
            table = self.arrow()
        except TableNotFoundError:
            return []
        return ordered(table.select([n for n in table.column_names if not n.startswith(METADATA)]).to_pylist())

    def wait_for(self, *expected: Row) -> None:
        """Wait until the Delta table has just these rows."""
        wanted = ordered(list(expected))
        until(lambda: self.delta_rows() == wanted, lambda: f"{self.label} is {self.delta_rows()} and not {wanted}")

    def settle(self, timeout: float = TIMEOUT) -> list[Row]:
        """Wait until the Delta table equals its source; return the rows."""
        wanted = self.rows()

        def difference() -> str:
            found = self.delta_rows()
            missing, extra = [row for row in wanted if row not in found], [row for row in found if row not in wanted]
            return f"{self.label} has {len(found)} rows and not {len(wanted)}: lacks {missing[:5]}, has {extra[:5]}"

        until(lambda: self.delta_rows() == wanted, difference, timeout)
        return wanted

    def wait_until_applied(self, count: int, op: str) -> None:
        """Wait until the sink has counted so many changes of a kind."""
        until(
            lambda: self.metric("rows_applied_total", op=op) >= count,
            lambda: f"{self.label}: {self.metric('rows_applied_total', op=op):g} of {count} {op} were applied",
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric of the sink about this table, 0 where it has none."""
        return self.database.sink_metric(name, table=self.label, **labels)

    def dead_letters(self) -> list[Row]:
        """Events of this table that the sink set aside, in Kafka's order."""
        try:
            table = DeltaTable(str(self.database.dead_letters))
            rows = table.to_pyarrow_table(filters=[("topic", "=", self.topic)]).to_pylist()
        except TableNotFoundError:
            return []
        return sorted(rows, key=lambda row: row["offset"])

    def wait_for_dead_letters(self, count: int) -> list[Row]:
        """Wait until so many events were set aside; return them."""
        until(
            lambda: len(self.dead_letters()) >= count,
            lambda: f"{self.label} has {len(self.dead_letters())} of {count} dead letters",
        )
        return self.dead_letters()


@dataclass
class CapturedDatabase:
    """A MySQL database or a PostgreSQL schema of one test, which the stack's connector and sink follow.

    Its name is unique, so its topics, its Delta tables and its metrics are.
    """

    kind: str
    name: str
    settings: Settings
    execute: Callable[..., None]
    query: Callable[..., list[Row]]
    reconnect: Callable[[], None]
    """Open the connection anew, after the database was restarted."""
    tables: list[CapturedTable] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        """Where its Delta tables lie."""
        return self.settings.delta_tables_dir / self.name

    @property
    def dead_letters(self) -> Path:
        """The table of all dead letters."""
        return self.settings.delta_tables_dir / "_cdc" / "dead_letters"

    def table(self, columns: str, name: str = "orders") -> CapturedTable:
        """Create a table."""
        if columns:
            self.execute(f"CREATE TABLE {self.name}.{name} ({columns})")
        if columns and self.kind == "postgres":
            self.execute(f"ALTER TABLE {self.name}.{name} REPLICA IDENTITY FULL")
        self.tables.append(CapturedTable(self, name))
        return self.tables[-1]

    def topic_alone(self, name: str = "orders") -> CapturedTable:
        """A Delta table whose events the test writes itself: there is no table in the database."""
        return self.table("", name)

    def produce(self, table: CapturedTable, *messages: tuple[bytes | None, bytes | None], partition: int = 0) -> None:
        """Write messages to a table's topic and wait until Kafka has them."""
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "log_level": 2})
        for key, value in messages:
            producer.produce(table.topic, value, key, partition=partition)
        assert producer.flush(30) == 0

    def messages(self, table: CapturedTable) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of all messages of a table's topic."""
        consumer = self._consumer()
        consumer.assign([TopicPartition(table.topic, 0, 0)])
        found = []
        try:
            while True:
                message = consumer.poll(TIMEOUT)
                assert message is not None, f"{table.topic} has no end"
                if message.error() is not None:
                    return found
                found.append((message.key(), message.value()))
        finally:
            consumer.close()

    def end(self, table: CapturedTable) -> int:
        """Return where a table's topic ends, 0 where it has none."""
        consumer = self._consumer()
        try:
            if table.topic not in consumer.list_topics(timeout=30).topics:
                return 0
            end: int = consumer.get_watermark_offsets(TopicPartition(table.topic, 0), timeout=30)[1]
            return end
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap_servers,
                "group.id": f"captured-{uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 2,
            }
        )

    def sink_metric(self, name: str, **labels: str) -> float:
        """Return a metric of the sink, 0 where it has none; of several samples the sum."""
        total = 0.0
        for line in self.sink_metrics().splitlines():
            head, _, value = line.rpartition(" ")
            if head.startswith(f"cdc_sink_{name}{{") and all(f'{key}="{one}"' in head for key, one in labels.items()):
                total += float(value)
        return total

    def sink_metrics(self) -> str:
        """Return all metrics of the sink."""
        with requests.Session() as session:
            # The stack is on this machine or its network: a proxy for the world outside has no part in it.
            session.trust_env = False
            answer = session.get(f"{self.settings.delta_sink_url}/metrics", timeout=30)
        answer.raise_for_status()
        return answer.text

    def forget_topics(self) -> None:
        """Delete the topics; the sink lets go of their tables within seconds."""
        delete_topics(
            str(self.settings.kafka_bootstrap_servers), lambda t: t.startswith(f"{TOPIC_PREFIX}.{self.name}.")
        )


class Leftovers:
    """Delta tables of databases that are gone, removed once the sink has let go of them: no test waits for that.

    It looks for deleted topics every few seconds, and would fail on a table that goes before.
    """

    def __init__(self) -> None:
        self._waiting: list[CapturedDatabase] = []

    def add(self, database: CapturedDatabase) -> None:
        """Take a database whose topics were deleted, and remove what can be of those before it."""
        self._sweep()
        self._waiting.append(database)

    def remove(self) -> None:
        """Remove all of them, after a while also one that the sink still knows: what it writes there is found later."""

        def done() -> bool:
            for database in self._waiting:
                # A producer may have asked for a topic, and so made it anew.
                database.forget_topics()
            return self._sweep()

        Retrying(
            retry=retry_if_result(lambda gone: not gone),
            stop=stop_after_delay(TIMEOUT),
            wait=wait_fixed(1),
            retry_error_callback=lambda _: None,
        )(done)
        self._discard(self._waiting)

    def _sweep(self) -> bool:
        """Remove what the sink no longer knows; tell whether nothing is left."""
        try:
            known = self._waiting[0].sink_metrics() if self._waiting else ""
        except requests.ConnectionError:
            # There is no sink: a new one will not know what has no topic.
            known = ""
        except requests.RequestException:
            return False
        self._discard([database for database in self._waiting if f'"{database.name}.' not in known])
        return not self._waiting

    def _discard(self, databases: list[CapturedDatabase]) -> None:
        self._waiting = [database for database in self._waiting if database not in databases]
        for database in databases:
            shutil.rmtree(database.directory, ignore_errors=True)
        _forget_dead_letters(databases)


def _forget_dead_letters(databases: Sequence[CapturedDatabase]) -> None:
    """Take the dead letters of databases that are gone out of the sink's table."""
    topics = {letter["topic"] for database in databases for table in database.tables for letter in table.dead_letters()}
    if topics:
        wanted = ", ".join(f"'{topic}'" for topic in sorted(topics))
        # The sink, or another worker, may write there at the same moment.
        Retrying(
            retry=retry_if_exception_type(DeltaError),
            stop=stop_after_delay(TIMEOUT),
            wait=wait_fixed(POLL),
            reraise=True,
        )(lambda: DeltaTable(str(databases[0].dead_letters)).delete(f"topic IN ({wanted})"))


@contextmanager
def mysql_database(settings: Settings, parameters: dict[str, Any]) -> Iterator[CapturedDatabase]:
    """A MySQL database of its own, gone afterwards with its topics; its Delta tables are for `Leftovers`."""
    name = f"cdcdb_test_{uuid4().hex[:12]}"

    def connect() -> Any:
        return mysql.connector.connect(**parameters, autocommit=True, time_zone="+00:00")

    def execute(statement: str, parameters: Sequence[object] = ()) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters))

    def query(statement: str) -> list[Row]:
        with connection.cursor(dictionary=True) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def reconnect() -> None:
        nonlocal connection
        with suppress(mysql.connector.Error):
            connection.close()
        connection = connect()

    connection = connect()
    database = CapturedDatabase("mysql", name, settings, execute, query, reconnect)
    try:
        execute(f"CREATE DATABASE {name}")
        yield database
    finally:
        # The test may have lost it, or left a transaction open.
        reconnect()
        execute(f"DROP DATABASE IF EXISTS {name}")
        connection.close()
        database.forget_topics()


@contextmanager
def postgres_schema(settings: Settings, parameters: dict[str, Any]) -> Iterator[CapturedDatabase]:
    """A PostgreSQL schema of its own, gone afterwards with its topics; its Delta tables are for `Leftovers`."""
    name = f"test_{uuid4().hex[:12]}"

    def connect() -> Any:
        return psycopg.connect(**parameters, autocommit=True, row_factory=psycopg.rows.dict_row)

    def execute(statement: str, parameters: Sequence[object] = ()) -> None:
        connection.execute(statement, parameters or None)

    def query(statement: str) -> list[Row]:
        return list(connection.execute(statement).fetchall())

    def reconnect() -> None:
        nonlocal connection
        with suppress(psycopg.Error):
            connection.close()
        connection = connect()

    connection = connect()
    database = CapturedDatabase("postgres", name, settings, execute, query, reconnect)
    try:
        execute(f"CREATE SCHEMA {name}")
        yield database
    finally:
        reconnect()
        execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        connection.close()
        database.forget_topics()


def ordered(rows: list[Row]) -> list[Row]:
    """Return rows by their first column, then by all."""
    return sorted(rows, key=lambda row: [(value is not None, str(type(value)), str(value)) for value in row.values()])
