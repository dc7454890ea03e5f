"""What one statement, name or value must not do to the capture of the others, and what connectors tell besides rows."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from captured import CapturedDatabase, until
from confluent_kafka import Consumer, Producer, TopicPartition

from cdc_workstation.clients.kafka import TOPIC_PREFIX, ChangeEvents
from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.source_changes import table_changes
from cdc_workstation.sink.table_change import TableChange
from cdc_workstation.sink.topic_names import topic_name

pytestmark = pytest.mark.uses("databases")

DDL_TOPICS = {"mysql": TOPIC_PREFIX, "postgres": f"{TOPIC_PREFIX}.message"}


class Changes:
    """What the connectors tell about the tables of one database from now on."""

    def __init__(self, database: CapturedDatabase) -> None:
        self._namespace = database.name
        self._found: list[TableChange] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": database.settings.kafka_bootstrap_servers,
                "group.id": f"test-{uuid4()}",
                "enable.auto.commit": False,
                "log_level": 2,
            }
        )
        topics = [DDL_TOPICS[database.kind], f"debezium_notifications_{database.kind}"]
        ends = [self._consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1] for topic in topics]
        self._consumer.assign([TopicPartition(topic, 0, end) for topic, end in zip(topics, ends, strict=True)])

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def kinds(self, table: str) -> list[str]:
        """The kinds of changes of a table that came so far."""
        while (message := self._consumer.poll(0.05)) is not None:
            if message.error() is None and message.value() is not None:
                record = Record(
                    str(message.topic()),
                    0,
                    int(message.offset() or 0),
                    message.timestamp()[1],
                    None,
                    bytes(message.value() or b""),
                    tuple((name, value) for name, value in message.headers() or [] if isinstance(value, bytes)),
                )
                self._found += [one for one in table_changes(record) if one.namespace == self._namespace]
        return [change.kind for change in self._found if change.table == table]

    def wait_for(self, table: str, *kinds: str) -> list[TableChange]:
        """Wait until just these changes of a table came; return them."""
        wanted = list(kinds)
        until(lambda: self.kinds(table)[: len(wanted)] == wanted, lambda: f"{table}: {self.kinds(table)}, not {wanted}")
        return [change for change in self._found if change.table == table]


@contextmanager
def told(database: CapturedDatabase) -> Iterator[Changes]:
    """Read what the connectors tell about a database."""
    changes = Changes(database)
    try:
        yield changes
    finally:
        changes.close()


def first_row(events: ChangeEvents, key: int) -> dict[str, Any]:
    """Wait for the row with a key; return it."""
    row: dict[str, Any] = events.next(where=lambda event: not event.is_tombstone and event.row["id"] == key).row
    return row


def request_snapshot(database: CapturedDatabase, table: str) -> None:
    """Have the stack's connector read a table again."""
    collections = [re.escape(f"{database.name}.{table}")]
    data = {"type": "blocking", "data-collections": collections}
    request = {"id": str(uuid4()), "type": "execute-snapshot", "data": data}
    producer = Producer({"bootstrap.servers": database.settings.kafka_bootstrap_servers, "log_level": 2})
    producer.produce(f"debezium_signals_{database.kind}", json.dumps(request), TOPIC_PREFIX)
    assert producer.flush(30) == 0


def test_columns_named_like_keywords_are_captured(
    captured_mysql: CapturedDatabase, change_events: Callable[..., ChangeEvents]
) -> None:
    events = change_events("links", database=captured_mysql.name, from_beginning=True)
    captured_mysql.execute(f"CREATE TABLE {captured_mysql.name}.links (id INT PRIMARY KEY, url VARCHAR(9), `rank` INT)")
    captured_mysql.execute(f"INSERT INTO {captured_mysql.name}.links VALUES (1, 'here', 2)")
    assert first_row(events, 1) == {"id": 1, "url": "here", "rank": 2}


def test_columns_that_exchange_names_are_captured(
    captured_mysql: CapturedDatabase, change_events: Callable[..., ChangeEvents]
) -> None:
    name = f"{captured_mysql.name}.swap"
    events = change_events("swap", database=captured_mysql.name, from_beginning=True)
    captured_mysql.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, a INT, b INT)")
    captured_mysql.execute(f"ALTER TABLE {name} RENAME COLUMN a TO b, RENAME COLUMN b TO a")
    captured_mysql.execute(f"INSERT INTO {name} (id, a, b) VALUES (1, 10, 20)")
    assert first_row(events, 1) == {"id": 1, "b": 20, "a": 10}


def test_tables_with_similar_names_have_topics_of_their_own(
    captured: CapturedDatabase, change_events: Callable[..., ChangeEvents]
) -> None:
    quote = "`" if captured.kind == "mysql" else '"'
    names = ["k.v", "k_v", "k v", "Ключ"]
    for key, name in enumerate(names):
        captured.execute(f"CREATE TABLE {captured.name}.{quote}{name}{quote} (id INT PRIMARY KEY)")
        captured.execute(f"INSERT INTO {captured.name}.{quote}{name}{quote} VALUES ({key})")
    for key, name in enumerate(names):
        topic = topic_name(TOPIC_PREFIX, captured.name, name)
        assert change_events(topic=topic, from_beginning=True).next().row == {"id": key}


def test_ddl_is_told(captured: CapturedDatabase) -> None:
    with told(captured) as changes:
        captured.execute(f"CREATE TABLE {captured.name}.a (id INT PRIMARY KEY, v INT)")
        captured.execute(f"ALTER TABLE {captured.name}.a ADD COLUMN w INT")
        captured.execute(f"ALTER TABLE {captured.name}.a RENAME COLUMN w TO x")
        target = f"{captured.name}.b" if captured.kind == "mysql" else "b"
        captured.execute(f"ALTER TABLE {captured.name}.a RENAME TO {target}")
        captured.execute(f"DROP TABLE {captured.name}.b")
        first = changes.wait_for("a", "created", "altered", "rows_changed", "dropped")
        second = changes.wait_for("b", "replaced", "dropped")
    positions = [change.position for change in [*first, *second] if change.position is not None]
    assert positions == sorted(positions)
    assert len(positions) == 6


def test_rolled_back_ddl_is_not_told(captured_postgres: CapturedDatabase) -> None:
    with told(captured_postgres) as changes:
        name = captured_postgres.name
        captured_postgres.execute(
            f"DO $$ BEGIN CREATE TABLE {name}.gone (id INT); RAISE 'no'; EXCEPTION WHEN others THEN NULL; END $$"
        )
        captured_postgres.execute(f"CREATE TABLE {name}.there (id INT)")
        changes.wait_for("there", "created")
        assert changes.kinds("gone") == []


def test_snapshot_of_an_empty_table_is_told(captured: CapturedDatabase) -> None:
    with told(captured) as changes:
        captured.execute(f"CREATE TABLE {captured.name}.bare (id INT PRIMARY KEY)")
        changes.wait_for("bare", "created")
        began = time.time()
        request_snapshot(captured, "bare")
        until(lambda: "snapshot_empty" in changes.kinds("bare"), lambda: f"bare: {changes.kinds('bare')}")
        found = changes.wait_for("bare", "created")
    assert "dropped" not in [change.kind for change in found]
    [empty] = [change for change in found if change.kind == "snapshot_empty"]
    assert empty.position is not None
    assert found[0].position is not None
    assert empty.position > found[0].position
    assert empty.timestamp_ms >= began * 1000 - 1000


def test_definition_that_returns_is_the_one_in_use(
    captured_mysql: CapturedDatabase, change_events: Callable[..., ChangeEvents]
) -> None:
    # A connector keeps the definitions that its snapshots read, and must not go back to one in between.
    name = f"{captured_mysql.name}.back"
    events = change_events("back", database=captured_mysql.name, from_beginning=True)
    captured_mysql.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, d VARCHAR(9))")
    for kind in ("VARCHAR(9)", "INT", "VARCHAR(9)"):
        captured_mysql.execute(f"ALTER TABLE {name} MODIFY d {kind}")
        captured_mysql.execute(f"REPLACE INTO {name} VALUES (1, '{len(kind)}')")
        request_snapshot(captured_mysql, "back")
        expected = len(kind) if kind == "INT" else str(len(kind))
        events.next(where=lambda event, expected=expected: event.op == "r" and event.row["d"] == expected)
    captured_mysql.execute(f"INSERT INTO {name} VALUES (2, 'text')")
    assert first_row(events, 2) == {"id": 2, "d": "text"}


def test_number_that_is_none_is_text_or_null(
    captured_postgres: CapturedDatabase, change_events: Callable[..., ChangeEvents]
) -> None:
    events = change_events("numbers", database=captured_postgres.name, from_beginning=True)
    name = f"{captured_postgres.name}.numbers"
    captured_postgres.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, n NUMERIC NOT NULL, m NUMERIC(10,2) NOT NULL)")
    captured_postgres.execute(f"INSERT INTO {name} VALUES (1, 'NaN', 'NaN'), (2, 'Infinity', 1.25)")
    assert first_row(events, 1) == {"id": 1, "n": "NaN", "m": None}
    last = first_row(events, 2)
    assert (last["n"], float(last["m"])) == ("Infinity", 1.25)


def test_value_that_cannot_be_sent_is_counted(
    captured_postgres: CapturedDatabase, prometheus_client: PrometheusClient
) -> None:
    def counted() -> float:
        return sum(value for _, value in prometheus_client.query('debezium_left_out_total{kind="values"}'))

    before = counted()
    name = f"{captured_postgres.name}.counted"
    captured_postgres.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, m NUMERIC(10,2))")
    captured_postgres.execute(f"INSERT INTO {name} VALUES (1, 'NaN')")

    until(lambda: counted() > before, "the value is counted")


def test_zero_date_is_null(captured_mysql: CapturedDatabase, change_events: Callable[..., ChangeEvents]) -> None:
    events = change_events("days", database=captured_mysql.name, from_beginning=True)
    name = f"{captured_mysql.name}.days"
    captured_mysql.execute("SET SESSION sql_mode = ''")
    captured_mysql.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, d DATE NOT NULL, t DATETIME NOT NULL)")
    captured_mysql.execute(f"INSERT INTO {name} VALUES (1, '0000-00-00', '2024-00-01 00:00:00')")
    assert first_row(events, 1) == {"id": 1, "d": None, "t": None}


def test_default_in_hexadecimal_keeps_the_table_captured(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.table("id INT PRIMARY KEY")
    table.execute("INSERT INTO {t} VALUES (1)")
    # By then the connector has told that the table was created.
    table.wait_for({"id": 1})
    with told(captured_mysql) as changes:
        table.execute("ALTER TABLE {t} ADD COLUMN c VARCHAR(9) DEFAULT X'4142', ADD COLUMN b BIT(4) DEFAULT B'0101'")
        changes.wait_for("orders", "rows_changed")
    table.execute("INSERT INTO {t} (id) VALUES (2)")

    table.wait_for({"id": 1, "c": "AB", "b": b"\x05"}, {"id": 2, "c": "AB", "b": b"\x05"})


def test_enum_without_labels_ends_no_capture(captured_postgres: CapturedDatabase) -> None:
    # A domain over an enum counts as one, too.
    name = captured_postgres.name
    captured_postgres.execute(f"CREATE TYPE {name}.mood AS ENUM ('sad', 'it''s')")
    captured_postgres.execute(f"CREATE DOMAIN {name}.required_mood AS {name}.mood NOT NULL")
    captured_postgres.execute(f"CREATE TYPE {name}.nothing AS ENUM ()")
    table = captured_postgres.table(f"id INT PRIMARY KEY, m {name}.required_mood, n {name}.nothing")
    table.execute("INSERT INTO {t} VALUES (1, 'sad', NULL), (2, 'it''s', NULL)")

    table.wait_for({"id": 1, "m": "sad", "n": None}, {"id": 2, "m": "it's", "n": None})
