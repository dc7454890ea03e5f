"""How long a committed change takes to reach a consumer of its Kafka topic."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from uuid import uuid4

import mysql.connector

from cdc_workstation.clients.kafka import TOPIC_PREFIX, ChangeEvents
from cdc_workstation.settings import get_settings

ROUNDS = 300
WARM_UP = 20
# Pauses between changes, 20 to 180 ms in no order, so that they do not fall into step with the connector's polls.
PAUSES_SECONDS = [(20 + number * 67 % 161) / 1000 for number in range(161)]
TARGET_MS = 80.0


def bench_cdc(rounds: int = ROUNDS) -> list[tuple[str, float, str, str]]:
    """Insert rows one by one and watch them arrive; return `(name, value, unit, target)` of each figure.

    A change counts from the return of its commit until a consumer on the host has it, so that the figure is an upper
    bound of the time to Kafka itself.
    """
    settings = get_settings()
    if settings.mysql_host is None or settings.kafka_bootstrap_servers is None:
        sys.exit("the stack has no MySQL or no Kafka")
    table = f"bench_{uuid4().hex[:12]}"
    connection = mysql.connector.connect(
        host=settings.mysql_host,
        port=settings.mysql_port,
        database=settings.mysql_database,
        user=settings.mysql_user,
        password=settings.mysql_password.get_secret_value(),
        autocommit=True,
    )
    committed: dict[int, float] = {}
    arrived: dict[int, float] = {}
    total = WARM_UP + rounds
    topic = f"{TOPIC_PREFIX}.{settings.mysql_database}.{table}"
    with connection, connection.cursor() as cursor, ChangeEvents(settings.kafka_bootstrap_servers, topic) as events:
        cursor.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY, payload VARCHAR(100))")
        try:

            def watch() -> None:
                for _ in range(total):
                    event = events.next()
                    arrived[event.row["id"]] = time.perf_counter()

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            for number in range(total):
                cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", (number, "x" * 100))
                committed[number] = time.perf_counter()
                time.sleep(PAUSES_SECONDS[number % len(PAUSES_SECONDS)])
            watcher.join(timeout=60)
        finally:
            cursor.execute(f"DROP TABLE {table}")
    if len(arrived) < total:
        sys.exit(f"only {len(arrived)} of {total} changes arrived")
    # Arrival may be noticed before the client's own thread runs on after its commit.
    measured = sorted(max(0.0, arrived[number] - committed[number]) * 1000 for number in range(WARM_UP, total))
    return [
        ("MySQL commit -> Kafka consumer p50", statistics.median(measured), "ms", f"< {TARGET_MS:g}"),
        ("MySQL commit -> Kafka consumer p95", statistics.quantiles(measured, n=20)[18], "ms", ""),
    ]


if __name__ == "__main__":
    for name, value, unit, target in bench_cdc():
        print(f"{name}: {value:.1f} {unit} {target}")
