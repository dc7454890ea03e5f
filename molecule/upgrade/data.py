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
        events: how many events the topic has had.
        between: how many changes were made since, while nobody captured.
    """

    version: int
    rows: int
    events: int
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


def events(settings: Settings, topic: str) -> int:
    """Return how many events a topic has had in all its partitions."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "molecule-upgrade"})
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in partitions)
    finally:
        consumer.close()


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
        found[database] = State(pipeline.delta.version(), len(rows), events(settings, pipeline.topic), ROWS_BETWEEN)
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
        came = events(settings, pipeline.topic) - state.events
        # More would be a second snapshot, less a loss.
        assert came == state.between, f"{came} events came for {state.between} changes of {database}"
        print(  # noqa: T201
            f"{database}: {len(rows)} rows are equal in source and Delta, version {state.version} still has its "
            f"{state.rows}, and {came} changes made while nobody captured came once."
        )


if __name__ == "__main__":
    {"before": before, "after": after}[sys.argv[1]](get_settings(), Path(sys.argv[2]))
