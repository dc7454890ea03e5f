"""Change rows in a stack before an upgrade, and find all of them after it.

    CDC_STACK_DIR=... python data.py before|after <file that keeps the state in between>

Raises:
    AssertionError: after the upgrade something is lost, or arrived twice.
    cdc_workstation.clients.delta.RowError: source and Delta do not become equal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from cdc_workstation.clients.comparison import differences
from cdc_workstation.clients.pipeline import CdcPipeline
from cdc_workstation.clients.source import MySQL
from cdc_workstation.settings import Settings, connection_file, get_settings

ROWS_BEFORE, ROWS_BETWEEN = 500, 100
TOPIC = "debezium.cdcdb.products"
# A busy machine starts a whole stack in between.
SECONDS = 180.0


@dataclass
class State:
    """What was there before the upgrade.

    Attributes:
        version: the Delta table's version.
        rows: how many rows that version has.
        events: how many events the topic has had.
        between: how many changes were made since, while nobody captured.
    """

    version: int
    rows: int
    events: int
    between: int


def products(settings: Settings) -> CdcPipeline:
    """Return the sample table with its way to Delta."""
    connection = MySQL(
        {
            "host": settings.mysql_host,
            "port": settings.mysql_port,
            "database": settings.mysql_database,
            "user": settings.mysql_user,
            "password": settings.mysql_password.get_secret_value(),
        }
    )
    path = settings.delta_tables_dir / "cdcdb" / "products"
    return CdcPipeline("mysql", connection, "products", TOPIC, path)


def events(settings: Settings) -> int:
    """Return how many events the topic has had in all its partitions."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "molecule-upgrade"})
    try:
        partitions = consumer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1] for p in partitions)
    finally:
        consumer.close()


def row(number: int) -> dict[str, object]:
    """Return a product."""
    return {"product_name": f"upgrade {number}", "category": "upgrade", "price": "9.99", "stock_quantity": number}


def before(settings: Settings, file: Path) -> None:
    """Change rows, wait for them in Delta, and change more of them while Debezium is down."""
    pipeline = products(settings)
    pipeline.insert_many([row(number) for number in range(ROWS_BEFORE)])
    pipeline.update({"category": "upgrade"}, category="upgraded")
    rows = pipeline.wait_until_equal(timeout=SECONDS)
    state = State(pipeline.delta.version(), len(rows), events(settings), ROWS_BETWEEN)
    subprocess.run(
        ["docker", "compose", "--project-directory", str(connection_file().parent), "stop", "debezium"], check=True
    )
    pipeline.insert_many([row(ROWS_BEFORE + number) for number in range(ROWS_BETWEEN)])
    file.write_text(json.dumps(asdict(state)))


def after(settings: Settings, file: Path) -> None:
    """Compare source, topic and Delta with what they were."""
    state = State(**json.loads(file.read_text()))
    pipeline = products(settings)
    rows = pipeline.wait_until_equal(timeout=SECONDS)
    assert len(rows) == state.rows + state.between
    assert not differences(pipeline.source_rows(), rows, pipeline.key)
    former = pipeline.delta.rows(version=state.version)
    assert len(former) == state.rows, f"version {state.version} has {len(former)} rows, and had {state.rows}"
    came = events(settings) - state.events
    # More would be a second snapshot, less a loss.
    assert came == state.between, f"{came} events came for {state.between} changes"
    print(  # noqa: T201
        f"{len(rows)} rows are equal in source and Delta, version {state.version} still has its {state.rows}, and "
        f"{came} changes made while nobody captured came once."
    )


if __name__ == "__main__":
    {"before": before, "after": after}[sys.argv[1]](get_settings(), Path(sys.argv[2]))
