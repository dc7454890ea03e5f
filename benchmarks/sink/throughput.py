"""How fast changes go through: a burst, events that are in Kafka already, a snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable

from benchmarks.sink.latency import Figure
from benchmarks.sink.replay import replayed
from benchmarks.sink.source import Source, SourceTable, note, source_of, until
from benchmarks.sink.watch import Watcher
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import delete_topics, stack_connector
from cdc_workstation.settings import Settings

BURST = 60_000
BURST_KEYS = 20_000
REPLAYED = 500_000
SNAPSHOT = 100_000
_TRANSACTION = 200


def upsert(table: SourceTable, first: int, count: int, keys: int) -> None:
    """Insert or update rows, 200 a transaction; the changes are numbered from `first` on."""
    for low in range(first, first + count, _TRANSACTION):
        numbers = range(low, min(low + _TRANSACTION, first + count))
        values = ", ".join(f"({number % keys}, {number}, '{note()}')" for number in numbers)
        table.connection.execute(
            f"INSERT INTO {table.database}.{table.name} VALUES {values} AS new"
            " ON DUPLICATE KEY UPDATE sequence = new.sequence, note = new.note"
        )


def records(source: Source, topic: str) -> int:
    """Return how many records Kafka has of a topic, from its first one on."""
    consumer = Consumer({"bootstrap.servers": source.servers, "group.id": "bench", "log_level": 2})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)[1])
    finally:
        consumer.close()


def burst(settings: Settings) -> Iterator[Figure]:
    """Measure many changes that come at once."""
    with source_of(settings, "mysql") as source:
        table = source.table()
        table.create()
        with Watcher(table.path) as watcher:
            began = time.time()
            upsert(table, 0, BURST, BURST_KEYS)
            written = time.time()
            until(lambda: records(source, table.topic) >= BURST, f"{BURST} records of {table.topic}", every=0.2)
            captured = time.time()
            ended = watcher.wait_for(BURST - 1)
        table.check()
    yield (
        f"{BURST:,} changes of {BURST_KEYS:,} rows, until the lag is zero",
        BURST / (ended - began),
        "changes/s",
        "> 6000",
    )
    yield "  MySQL's commits alone", BURST / (written - began), "changes/s", ""
    yield "  until all are in Kafka", BURST / (captured - began), "changes/s", ""


def replay(settings: Settings) -> Iterator[Figure]:
    """Measure events that are in Kafka already: half of them inserts, then updates of these rows in no order."""
    with source_of(settings, "mysql") as source:
        seconds = replayed(source, REPLAYED)
    yield f"replay of {REPLAYED:,} events, by a sink on the host", REPLAYED / seconds, "events/s", "> 20000"


def snapshot(settings: Settings) -> Iterator[Figure]:
    """Measure the snapshot that a connector of its own takes."""
    name = f"bench_{uuid4().hex[:12]}"
    with source_of(settings, "mysql") as source, ExitStack() as stack:
        # The sink leaves this table alone; its snapshot goes to a topic of the source that is removed at the end.
        rows = source.uncaptured()
        rows.create()
        rows.insert(SNAPSHOT)
        # The stack's own connector captures this table, too, and would take the cores that are measured.
        until(lambda: records(source, rows.topic) >= SNAPSHOT, f"{SNAPSHOT} records of {rows.topic}")
        table = source.table()
        client = stack.enter_context(ConnectClient.of(settings))
        config = {
            key: value
            for key, value in client.config(stack_connector(client)).items()
            if not key.startswith(("cdc.workstation.", "signal.", "notification.", "topic.naming."))
        }
        config |= {
            "name": name,
            "topic.prefix": name,
            "database.server.id": str(10_000 + uuid4().int % 1_000_000_000),
            "schema.history.internal.kafka.topic": f"{name}_schema_history",
            "topic.heartbeat.prefix": f"{name}_heartbeat",
            "table.include.list": f"{rows.database}.{rows.name}",
            "transforms": "route",
            "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "transforms.route.regex": rf"[^.]+\.[^.]+\.{rows.name}",
            "transforms.route.replacement": table.topic,
        }
        stack.callback(delete_topics, source.servers, lambda topic: topic.startswith(name))
        stack.callback(client.remove, name)
        began = time.time()
        client.put(name, config)
        with Watcher(table.path) as watcher:
            ended = watcher.wait_for(SNAPSHOT - 1)
        until(lambda: DeltaTable(str(table.path)).count() == SNAPSHOT, f"{SNAPSHOT} rows in {table.path}")
    yield f"snapshot of {SNAPSHOT:,} rows, from the connector's start", ended - began, "s", "< 10"
