"""Change rows in a stack before an upgrade, and find all of them after it.

    CDC_STACK_DIR=... python data.py before|after <file that keeps the state in between>

Raises:
    AssertionError: after the upgrade something is lost, or a connector read the whole table anew.
    cdc_workstation.clients.delta.RowError: source and Delta do not become equal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from cdc_workstation.clients.comparison import differences
from cdc_workstation.clients.pipeline import CdcPipeline
from cdc_workstation.clients.source import MySQL, PostgreSQL
from cdc_workstation.settings import Settings, connection_file, get_settings

ROWS_BEFORE, ROWS_BETWEEN = 500, 100
# A busy machine starts a whole stack in between.
SECONDS = 180.0


@dataclass
class State:
    """What was there of a table before the upgrade.

    Attributes:
        version: the Delta table's version.
        rows: how many rows that version has.
        ends: where each partition of the topic ended.
        between: how many changes were made since, while nobody captured.
    """

    version: int
    rows: int
    ends: list[int]
    between: int


def pipelines(settings: Settings) -> dict[str, CdcPipeline]:
    """Return the sample table `products` of each database with its way to Delta."""
    mysql = MySQL(
        {
            "host": settings.mysql_host,
            "port": settings.mysql_port,
            "database": settings.mysql_database,
            "user": settings.mysql_user,
            "password": settings.mysql_password.get_secret_value(),
        }
    )
    postgres = PostgreSQL(
        {
            "host": settings.postgres_host,
            "port": settings.postgres_port,
            "dbname": settings.postgres_database,
            "user": settings.postgres_user,
            "password": settings.postgres_password.get_secret_value(),
        }
    )
    tables = settings.delta_tables_dir
    return {
        "mysql": CdcPipeline("mysql", mysql, "products", "debezium.cdcdb.products", tables / "cdcdb" / "products"),
        "postgres": CdcPipeline(
            "postgres", postgres, "products", "debezium.public.products", tables / "public" / "products"
        ),
    }


@contextmanager
def consumer_of(settings: Settings) -> Iterator[Consumer]:
    """Give a consumer of the stack's Kafka."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "molecule-upgrade"})
    try:
        yield consumer
    finally:
        consumer.close()


def ends(consumer: Consumer, topic: str) -> list[int]:
    """Return where each partition of a topic ends."""
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    return [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in sorted(partitions)]


def operations(consumer: Consumer, topic: str, since: list[int]) -> list[tuple[str, bytes]]:
    """Return operation (`op`) and key of every event that a topic has had since."""
    found = []
    for partition, (first, end) in enumerate(zip(since, ends(consumer, topic), strict=True)):
        position = first
        consumer.assign([TopicPartition(topic, partition, first)])
        while position < end:
            message = consumer.poll(30)
            assert message is not None, f"offset {position} of {topic} did not come within 30 s"
            assert message.error() is None, message.error()
            position = message.offset() + 1
            # A tombstone says nothing beside the delete before it.
            if message.value() is not None:
                event = json.loads(message.value())
                found.append((event.get("payload", event)["op"], message.key()))
    return found


def row(database: str, number: int) -> dict[str, object]:
    """Return a product."""
    names = (
        {"product_name": f"upgrade {number}"}
        if database == "mysql"
        else {"name": f"upgrade {number}", "sku": f"UPGRADE-{number}"}
    )
    return {**names, "category": "upgrade", "price": "9.99", "stock_quantity": number}


def before(settings: Settings, file: Path) -> None:
    """Change rows, wait for them in Delta, and change more of them while Debezium is down."""
    found = {}
    tables = pipelines(settings)
    for database, pipeline in tables.items():
        pipeline.insert_many([row(database, number) for number in range(ROWS_BEFORE)])
        pipeline.update({"category": "upgrade"}, category="upgraded")
        rows = pipeline.wait_until_equal(timeout=SECONDS)
        with consumer_of(settings) as consumer:
            found[database] = State(pipeline.delta.version(), len(rows), ends(consumer, pipeline.topic), ROWS_BETWEEN)
    subprocess.run(
        ["docker", "compose", "--project-directory", str(connection_file().parent), "stop", "debezium"], check=True
    )
    for database, pipeline in tables.items():
        pipeline.insert_many([row(database, ROWS_BEFORE + number) for number in range(ROWS_BETWEEN)])
    file.write_text(json.dumps({database: asdict(state) for database, state in found.items()}))


def after(settings: Settings, file: Path) -> None:
    """Compare source, topic and Delta with what they were."""
    tables = pipelines(settings)
    for database, was in json.loads(file.read_text()).items():
        state, pipeline = State(**was), tables[database]
        rows = pipeline.wait_until_equal(timeout=SECONDS)
        assert len(rows) == state.rows + state.between
        assert not differences(pipeline.source_rows(), rows, pipeline.key)
        former = pipeline.delta.rows(version=state.version)
        assert len(former) == state.rows, f"version {state.version} has {len(former)} rows, and had {state.rows}"
        with consumer_of(settings) as consumer:
            came = operations(consumer, pipeline.topic, state.ends)
        kinds = Counter(operation for operation, _ in came)
        assert set(kinds) == {"c"}, f"{database} was read anew, or changed otherwise: {dict(kinds)}"
        # Debezium promises each at least once: one that was killed says again what it had not noted.
        created = {key for _, key in came}
        assert len(created) == state.between, f"{len(created)} rows came for {state.between} changes of {database}"
        print(  # noqa: T201
            f"{database}: {len(rows)} rows are equal in source and Delta, version {state.version} still has its "
            f"{state.rows}, and {state.between} changes made while nobody captured came in {len(came)} events."
        )


if __name__ == "__main__":
    {"before": before, "after": after}[sys.argv[1]](get_settings(), Path(sys.argv[2]))
