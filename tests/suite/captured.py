"""A database for one test, from its rows to the Delta tables that the sink keeps of them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import mysql.connector
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_workstation.clients import capture
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import CONNECTOR_CLASSES, TOPIC_PREFIX, find_connector
from cdc_workstation.clients.sink import SinkClient, samples, total
from cdc_workstation.settings import Settings
from cdc_workstation.sink.canary import event

Row = dict[str, Any]

# How long changes may take to Delta on a machine with other things to do, how often a wait looks, and how often it asks
# whether what it waits for can still come.
TIMEOUT = 90.0
POLL = 0.1
PROBLEM_INTERVAL = 2.0
# The sink's own columns.
METADATA = "_cdc_"


def until(
    condition: Callable[[], Any],
    what: str | Callable[[], str],
    timeout: float = TIMEOUT,
    problem: Callable[[], str] = str,
) -> Any:
    """Return what the condition gives once that is true; fail and say what did not happen.

    Args:
        condition: what is waited for.
        what: names it, or says how far it is.
        timeout: seconds to wait.
        problem: says why it cannot come any more, or returns an empty text; asked at the start and every two seconds.
    """
    began = time.monotonic()
    asked = began - PROBLEM_INTERVAL
    obstacle = ""
    while not (found := condition()):
        now = time.monotonic()
        if obstacle or now - began > timeout:
            said = what if isinstance(what, str) else what()
            pytest.fail(f"{said} (after {now - began:.0f} s){obstacle and f': {obstacle}'}", pytrace=False)
        if now - asked >= PROBLEM_INTERVAL:
            # The condition is looked at once more: what it waits for may just have come.
            asked, obstacle = now, problem()
        else:
            time.sleep(POLL)
    return found


@dataclass
class CapturedTable:
    """One table with its topic and its Delta table."""

    database: CapturedDatabase
    name: str
    connector: str | None
    """The connector of the stack that captures it; `None` if the test writes its events, or has a connector for it."""

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

    def problem(self) -> str:
        """Say why no change of this table arrives; empty if changes may arrive."""
        return self._health.problem()

    @cached_property
    def _health(self) -> capture.CaptureHealth:
        return capture.CaptureHealth(self.database.settings, self.connector, self.label, self.topic)

    def until(self, condition: Callable[[], Any], what: str | Callable[[], str]) -> Any:
        """Return what a condition of this table gives once that is true; fail as soon as no change can come."""
        return until(condition, what, problem=self.problem)

    def wait_for(self, *expected: Row, repaired: bool = False) -> None:
        """Wait until the Delta table has just these rows.

        Args:
            *expected: the rows.
            repaired: the sink has stopped the table, and what the test did makes it go on.
        """
        wanted = ordered(list(expected))
        until(
            lambda: self.delta_rows() == wanted,
            lambda: f"{self.label} is {self.delta_rows()} and not {wanted}",
            problem=self._health.connector_problem if repaired else self.problem,
        )

    def settle(self, timeout: float = TIMEOUT) -> list[Row]:
        """Wait until the Delta table equals its source; return the rows."""
        wanted = self.rows()

        def difference() -> str:
            found = self.delta_rows()
            missing, extra = [row for row in wanted if row not in found], [row for row in found if row not in wanted]
            return f"{self.label} has {len(found)} rows and not {len(wanted)}: lacks {missing[:5]}, has {extra[:5]}"

        until(lambda: self.delta_rows() == wanted, difference, timeout, self.problem)
        return wanted

    def wait_until_applied(self, count: int, op: str) -> None:
        """Wait until the sink has counted so many changes of a kind."""
        until(
            lambda: self.metric("rows_applied_total", op=op) >= count,
            lambda: f"{self.label}: {self.metric('rows_applied_total', op=op):g} of {count} {op} were applied",
            problem=self.problem,
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric of the sink about this table, 0 where it has none."""
        return self.database.sink_metric(name, table=self.label, **labels)

    def dead_letters(self) -> list[Row]:
        """Events of this table that the sink sent to the dead-letter table, in Kafka's order."""
        try:
            table = DeltaTable(str(self.database.dead_letters))
            rows = table.to_pyarrow_table(filters=[("topic", "=", self.topic)]).to_pylist()
        except TableNotFoundError:
            return []
        return sorted(rows, key=lambda row: row["offset"])

    def wait_for_dead_letters(self, count: int) -> list[Row]:
        """Wait until so many events are dead letters; return them."""
        until(
            lambda: len(self.dead_letters()) >= count,
            lambda: f"{self.label} has {len(self.dead_letters())} of {count} dead letters",
            problem=self._health.connector_problem,
        )
        return self.dead_letters()


@dataclass(eq=False)
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
    """Open the connection again, after the database was restarted."""

    @property
    def directory(self) -> Path:
        """Where its Delta tables lie."""
        return self.settings.delta_tables_dir / self.name

    @property
    def dead_letters(self) -> Path:
        """The table of all dead letters."""
        return capture.dead_letters(self.settings)

    @cached_property
    def connector(self) -> str:
        """The connector of the stack that captures it."""
        with ConnectClient.of(self.settings) as client:
            return find_connector(client, CONNECTOR_CLASSES[self.kind])

    def table(self, columns: str, name: str = "orders") -> CapturedTable:
        """Create a table."""
        self.execute(f"CREATE TABLE {self.name}.{name} ({columns})")
        if self.kind == "postgres":
            self.execute(f"ALTER TABLE {self.name}.{name} REPLICA IDENTITY FULL")
        return CapturedTable(self, name, self.connector)

    def topic_only(self, name: str = "orders") -> CapturedTable:
        """A Delta table whose events the test writes itself: there is no table in the database."""
        return CapturedTable(self, name, None)

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
        """Return a metric of the sink, 0 if it has none; of several samples the sum."""
        return total(self.sink_metrics(), name, **labels)

    def sink_metrics(self) -> str:
        """Return all metrics of the sink."""
        with SinkClient(str(self.settings.delta_sink_url)) as sink:
            return sink.metrics()


class Leftovers:
    """Topics and Delta tables of databases that are gone. No test waits until they are gone too.

    Topics go with the next database, when nothing is on its way to them any more; Delta tables once the sink has
    dropped theirs, because it would recreate a directory that goes before.
    """

    def __init__(self) -> None:
        self._waiting: list[CapturedDatabase] = []
        self._removed: list[CapturedDatabase] = []
        self._admin: AdminClient | None = None

    def add(self, database: CapturedDatabase) -> None:
        """Take a database that was dropped, and remove what can be removed of those before it."""
        # What fails now is tried again.
        with suppress(requests.RequestException, KafkaException):
            self._remove_unknown()
        self._waiting.append(database)

    def remove(self) -> None:
        """Remove all of them, in the end also tables that the sink still knows: the leak check finds what returns."""
        with suppress(pytest.fail.Exception, requests.RequestException, KafkaException):
            until(self._remove_unknown, "the sink has dropped the tables")
        self._remove_directories(self._waiting)
        _remove_dead_letters(self._removed)

    def _remove_unknown(self) -> bool:
        """Delete the topics, and the Delta tables that the sink no longer knows; tell whether nothing is left."""
        if not self._waiting:
            return True
        self._delete_topics()
        try:
            known = {labels["table"] for labels, _ in samples(self._waiting[0].sink_metrics(), "table_stopped")}
        except requests.ConnectionError:
            # There is no sink: a new one will not know what has no topic.
            known = set()
        in_use = {table.partition(".")[0] for table in known}
        self._remove_directories([database for database in self._waiting if database.name not in in_use])
        return not self._waiting

    def _delete_topics(self) -> None:
        servers = str(self._waiting[0].settings.kafka_bootstrap_servers)
        self._admin = self._admin or AdminClient({"bootstrap.servers": servers, "log_level": 2})
        prefixes = tuple(f"{TOPIC_PREFIX}.{database.name}." for database in self._waiting)
        topics = [topic for topic in self._admin.list_topics(timeout=30).topics if topic.startswith(prefixes)]
        if topics:
            # Whether they are gone is seen by the sink, and by the leak check.
            self._admin.delete_topics(topics)

    def _remove_directories(self, databases: list[CapturedDatabase]) -> None:
        self._waiting = [database for database in self._waiting if database not in databases]
        self._removed += databases
        for database in databases:
            shutil.rmtree(database.directory, ignore_errors=True)


def _remove_dead_letters(databases: Sequence[CapturedDatabase]) -> None:
    """Delete the dead letters of databases that are gone from the sink's table."""
    prefixes = tuple(f"{TOPIC_PREFIX}.{database.name}." for database in databases)

    def delete() -> None:
        try:
            table = DeltaTable(str(databases[0].dead_letters))
        except TableNotFoundError:
            return
        topics = pc.unique(table.to_pyarrow_table(columns=["topic"])["topic"]).to_pylist()
        wanted = ", ".join(f"'{topic}'" for topic in sorted(topics) if topic.startswith(prefixes))
        if wanted:
            table.delete(f"topic IN ({wanted})")

    if databases:
        # The sink, or another worker, may write there at the same moment.
        Retrying(
            retry=retry_if_exception_type(DeltaError),
            stop=stop_after_delay(TIMEOUT),
            wait=wait_fixed(POLL),
            reraise=True,
        )(delete)


@contextmanager
def mysql_database(settings: Settings, parameters: dict[str, Any]) -> Iterator[CapturedDatabase]:
    """A MySQL database of its own, dropped afterwards; its topics and Delta tables are for `Leftovers`."""
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


@contextmanager
def postgres_schema(settings: Settings, parameters: dict[str, Any]) -> Iterator[CapturedDatabase]:
    """A PostgreSQL schema of its own, dropped afterwards; its topics and Delta tables are for `Leftovers`."""
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


def ordered(rows: list[Row]) -> list[Row]:
    """Return rows by their first column, then by all."""
    return sorted(rows, key=lambda row: [(value is not None, str(type(value)), str(value)) for value in row.values()])


def incompatible(key: int, position: int) -> tuple[bytes, bytes]:
    """A change event in which a number of the events before is a text."""
    identity, value = event({"id": key, "sent_ms": str(position), "note": None}, position)
    envelope = json.loads(value)
    for image in envelope["schema"]["fields"][:2]:
        image["fields"][1]["type"] = "string"
    return identity, json.dumps(envelope).encode()
