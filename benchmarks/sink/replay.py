"""Events that are in Kafka before anybody reads them, and a sink on the host that applies them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.sink.source import CHANCE, PATIENCE, Source, note, until
from benchmarks.sink.watch import Watcher
from cdc_workstation.clients.kafka import delete_topics

_REPOSITORY = Path(__file__).parents[2]


def recorded(source: Source) -> tuple[Message, Message]:
    """Return an insert and an update as the connector writes them."""
    table = source.uncaptured()
    table.create()
    table.insert(1)
    table.update(0, 1)
    found: list[Message] = []
    consumer = Consumer({"bootstrap.servers": source.servers, "group.id": "bench", "log_level": 2})

    def read() -> bool:
        if not consumer.assignment():
            consumer.get_watermark_offsets(TopicPartition(table.topic, 0), timeout=5)
            consumer.assign([TopicPartition(table.topic, 0, 0)])
        found.extend(one for one in consumer.consume(2, 1) if one.error() is None)
        return len(found) >= 2

    try:
        until(read, f"two records of {table.topic}")
    finally:
        consumer.close()
    return found[0], found[1]


def events(source: Source, count: int) -> Iterator[tuple[str, str]]:
    """Yield key and value of events like those of the connector: inserts, then as many updates in no order."""
    templates = []
    for message in recorded(source):
        key, value = json.loads(message.key()), json.loads(message.value())
        # The schemas are most of a record, and the same in all.
        heads = [f'{{"schema":{json.dumps(one["schema"], separators=(",", ":"))},"payload":' for one in (key, value)]
        templates.append((*heads, value["payload"]))
    position = templates[0][2]["source"]["pos"]
    rows = count // 2
    before: dict[str, Any] | None = None
    for number in range(count):
        key_head, value_head, payload = templates[number // rows % 2]
        row = number if number < rows else CHANCE.randrange(rows)
        after = {"id": row, "sequence": number, "note": note()}
        before = None if number < rows else {"id": row, "sequence": row, "note": note()}
        place = payload["source"] | {"pos": position + number * 300, "gtid": None}
        changed = payload | {"before": before, "after": after, "source": place}
        yield f'{key_head}{{"id":{row}}}}}', f"{value_head}{json.dumps(changed, separators=(',', ':'))}}}"


def prefill(source: Source, topic: str, count: int) -> None:
    """Create a topic and write events into it."""
    admin = AdminClient({"bootstrap.servers": source.servers, "log_level": 2})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(PATIENCE)
    producer = Producer(
        {"bootstrap.servers": source.servers, "linger.ms": 50, "compression.type": "lz4", "log_level": 2}
    )
    for key, value in events(source, count):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(PATIENCE):
        raise KafkaException(f"Kafka did not take all of {count} records")


@contextmanager
def host_sink(source: Source, topic: str, tables: Path) -> Iterator[None]:
    """Run a sink for this topic alone, with tables, a canary and a port of its own."""
    # Not below the prefix of tables, which the stack's own sink would read.
    canary = f"cdc_sink_canary_{topic.rpartition('.')[2]}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "bootstrap_servers": source.servers,
        "topics": topic.replace(".", r"\."),
        "sources": [],
        "tables": str(tables),
        "table_path": "{table}",
        "table_properties": {"delta.enableChangeDataFeed": "true"},
        "metrics_port": port,
        "canary_topic": canary,
    }
    file = tables / "sink.json"
    file.write_text(json.dumps(settings))
    environment = os.environ | {"CDC_SINK_CONFIG": str(file), "PYTHONPATH": str(_REPOSITORY / "src")}
    with (tables / "sink.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdc_workstation.sink"], env=environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        delete_topics(source.servers, canary.__eq__)


def replayed(source: Source, count: int) -> float:
    """Return the seconds from the table's creation by a sink until all of `count` events are applied."""
    # By its name the stack's own sink leaves it alone.
    topic = source.uncaptured().topic
    prefill(source, topic, count)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, topic.rpartition(".")[2])
        with Watcher(path) as watcher, host_sink(source, topic, Path(directory)):
            ended = watcher.wait_for(count - 1)
        return ended - watcher.seen[0][0]
