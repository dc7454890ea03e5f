"""From a commit in MySQL to Delta: latency at a steady rate, throughput, a snapshot; beside two other ways to do it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import mysql.connector
import requests
from confluent_kafka import Consumer, KafkaException, TopicPartition
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.kafka import TOPIC_PREFIX, delete_topics, stack_connector
from cdc_workstation.settings import Settings, get_settings

HERE = Path(__file__).parent
Figure = tuple[str, float, str, str]

RATE = 50
STEADY_SECONDS = int(os.environ.get("BENCH_SINK_SECONDS", "40"))
WARM_UP_SECONDS = 60
BURST = 60_000
SNAPSHOT = 100_000
# How long one measurement may take before it counts as failed.
PATIENCE = 420
# Where the sink's image finds the brokers.
INTERNAL_BROKERS = "kafka:29092"


class Table:
    """A MySQL table whose rows say, by `sequence`, which change they are from."""

    def __init__(self, settings: Settings, connection: Any, database: str, name: str) -> None:
        self.settings, self.connection = settings, connection
        self.database, self.name = database, name
        self.topic = f"{TOPIC_PREFIX}.{database}.{name}"

    def create(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {self.database}.{self.name} (id INT PRIMARY KEY, sequence BIGINT, note VARCHAR(100))"
            )

    def change(self, number: int, keys: int, rows: int = 1) -> None:
        """Insert or update `rows` rows in one transaction; the changes are numbered from `number` on."""
        values = ", ".join(f"({n % keys}, {n}, '{'x' * 50}')" for n in range(number, number + rows))
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {self.database}.{self.name} VALUES {values} AS new"
                " ON DUPLICATE KEY UPDATE sequence = new.sequence, note = new.note"
            )


class Watcher:
    """Sees commits of a Delta table as they come: the statistics in the log say the newest `sequence` in them."""

    def __init__(self, path: Path) -> None:
        self.log = path / "_delta_log"
        self.seen: list[tuple[float, int]] = []
        """When a commit was there, and the newest change that was visible then."""
        self._next = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        with suppress(FileNotFoundError):
            self._next = max((int(p.stem) for p in self.log.glob("*.json") if p.stem.isdigit()), default=-1) + 1
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for(self, number: int) -> float:
        """Return when change `number` was visible."""
        _until(lambda: self.seen and self.seen[-1][1] >= number, f"change {number} in {self.log.parent}")
        return next(moment for moment, newest in self.seen if newest >= number)

    def _watch(self) -> None:
        newest = -1
        while not self._ended.wait(0.01):
            try:
                text = (self.log / f"{self._next:020}.json").read_text()
            except FileNotFoundError:
                continue
            moment = time.time()
            self._next += 1
            for line in text.splitlines():
                stats = json.loads(json.loads(line).get("add", {}).get("stats") or "{}")
                newest = max(newest, stats.get("maxValues", {}).get("sequence", -1))
            self.seen.append((moment, newest))


def steady(table: Table, path: Path) -> tuple[float, float]:
    """Return p50 and p95, seconds, from commit to Delta at `RATE` single-row commits a second."""
    committed: list[float] = []
    with Watcher(path) as watcher:
        began = time.monotonic()
        for number in range(RATE * (WARM_UP_SECONDS + STEADY_SECONDS)):
            table.change(number, keys=1000)
            committed.append(time.time())
            time.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))
        watcher.wait_for(len(committed) - 1)
        seen = iter(watcher.seen)
        moment, newest = next(seen)
        measured = []
        for number, commit in enumerate(committed):
            while newest < number:
                moment, newest = next(seen)
            if number >= RATE * WARM_UP_SECONDS:
                measured.append(max(0.0, moment - commit))
    return statistics.median(measured), statistics.quantiles(measured, n=20)[18]


def burst(table: Table, path: Path, first: int) -> tuple[float, float]:
    """Return changes a second from the first commit until all are in Delta, and those that MySQL alone took."""
    with Watcher(path) as watcher:
        began = time.time()
        for number in range(first, first + BURST, 200):
            table.change(number, keys=20_000, rows=200)
        written = time.time()
        ended = watcher.wait_for(first + BURST - 1)
    return BURST / (ended - began), BURST / (written - began)


def check(table: Table, path: Path) -> None:
    """End where Delta is not what MySQL is."""
    with table.connection.cursor() as cursor:
        cursor.execute(f"SELECT id, sequence FROM {table.database}.{table.name}")
        wanted = dict(cursor.fetchall())
    rows = DeltaTable(str(path)).to_pyarrow_table(columns=["id", "sequence"]).to_pylist()
    if {row["id"]: row["sequence"] for row in rows} != wanted or len(rows) != len(wanted):
        sys.exit(f"{path} has not the rows of {table.database}.{table.name}")


@contextmanager
def merge_pattern(topic: str, path: Path) -> Iterator[None]:
    """Run the pattern of Delta's documentation in the sink's image, with the sink's memory."""
    sink = json.loads(_output("docker", "inspect", _sink()))[0]
    mounts = [f"{HERE}:/bench:ro", f"{path.parent}:{path.parent}"]
    mounts += [f"{m['Source']}:{m['Destination']}:ro" for m in sink["Mounts"] if m["Destination"] == "/etc/passwd"]
    name = f"bench-{uuid4().hex[:12]}"
    command = ["docker", "run", "--detach", "--rm", "--name", name, "--hostname", name]
    command += ["--network", next(iter(sink["NetworkSettings"]["Networks"])), "--user", sink["Config"]["User"]]
    command += ["--memory", str(sink["HostConfig"]["Memory"]), "--tmpfs=/tmp:exec,mode=1777"]
    command += [argument for mount in mounts for argument in ("--volume", mount)]
    command += ["--env=HADOOP_USER_NAME=cdc", "--env=SPARK_LOCAL_DIRS=/tmp", sink["Config"]["Image"]]
    command += ["java", "@/opt/spark/java.args", "-XX:SharedArchiveFile=/opt/spark/classes.jsa", "-Xmx480m"]
    command += ["-Duser.home=/tmp", "org.apache.spark.deploy.SparkSubmit", "--master=local[*]"]
    command += ["/bench/merge_pattern.py", INTERNAL_BROKERS, topic, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "kill", name], check=False, capture_output=True)


@contextmanager
def delta_rs_consumer(brokers: str, topic: str, path: Path) -> Iterator[None]:
    """Run the consumer without Spark on the host."""
    process = subprocess.Popen([sys.executable, HERE / "delta_rs_consumer.py", brokers, topic, path])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def snapshot(stack: ExitStack, settings: Settings, connection: Any) -> float:
    """Return the seconds that a new connector's snapshot of `SNAPSHOT` rows takes until all are in Delta."""
    name, database = f"bench_{uuid4().hex[:12]}", f"bench_{uuid4().hex[:12]}"
    # The sink leaves tables of this name in the sample database alone; the connector's events go to another topic.
    table = Table(settings, connection, settings.mysql_database, name)
    table.create()
    stack.callback(_execute, connection, f"DROP TABLE {settings.mysql_database}.{name}")
    for number in range(0, SNAPSHOT, 5000):
        table.change(number, keys=SNAPSHOT, rows=5000)
    # The stack's own connector captures this table, too, and would take the cores that are measured.
    with closing(Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "bench"})) as consumer:
        partition = TopicPartition(table.topic, 0)
        _until(
            lambda: consumer.get_watermark_offsets(partition, timeout=5)[1] >= SNAPSHOT,
            f"{SNAPSHOT} changes in {table.topic}",
        )
    path = settings.delta_tables_dir / database / "rows"
    stack.callback(shutil.rmtree, path.parent, ignore_errors=True)
    client = stack.enter_context(ConnectClient(str(settings.debezium_url)))
    stack.callback(
        delete_topics,
        settings.kafka_bootstrap_servers,
        lambda topic: topic.startswith((f"{database}", f"{TOPIC_PREFIX}.{database}.")),
    )
    config = {k: v for k, v in client.config(stack_connector(client)).items() if not k.startswith("cdc.workstation.")}
    config |= {
        "name": database,
        "topic.prefix": database,
        "database.server.id": str(10_000 + uuid4().int % 1_000_000_000),
        "schema.history.internal.kafka.topic": f"{database}_schema_history",
        "topic.heartbeat.prefix": f"{database}_heartbeat",
        "table.include.list": f"{settings.mysql_database}.{name}",
        "transforms": "route",
        "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.route.regex": rf"[^.]+\.[^.]+\.{name}",
        "transforms.route.replacement": f"{TOPIC_PREFIX}.{database}.rows",
    }
    began = time.time()
    client.put(database, config)
    stack.callback(client.delete, database)
    # By the log alone, no file is read.
    _until(lambda: DeltaTable(str(path)).count() >= SNAPSHOT, f"the snapshot in {path}")
    return time.time() - began


def bench_sink() -> Iterator[Figure]:
    """Measure the sink, then the two others on the same load; yield `(name, value, unit, target)` of each figure."""
    settings = get_settings()
    if settings.mysql_host is None or settings.kafka_bootstrap_servers is None or settings.delta_sink_url is None:
        sys.exit("the stack has no MySQL, no Kafka or no Delta sink")
    database = f"{settings.mysql_database}_bench_{uuid4().hex[:12]}"
    with ExitStack() as stack:
        connection = stack.enter_context(
            mysql.connector.connect(
                host=settings.mysql_host,
                port=settings.mysql_port,
                user=settings.mysql_user,
                password=settings.mysql_password.get_secret_value(),
                autocommit=True,
            )
        )
        stack.callback(shutil.rmtree, settings.delta_tables_dir / database, ignore_errors=True)
        stack.callback(_wait_until_forgotten, str(settings.delta_sink_url), database)
        stack.callback(
            delete_topics,
            settings.kafka_bootstrap_servers,
            lambda topic: topic.startswith(f"{TOPIC_PREFIX}.{database}."),
        )
        _execute(connection, f"CREATE DATABASE {database}")
        stack.callback(_execute, connection, f"DROP DATABASE {database}")

        table = Table(settings, connection, database, "orders")
        table.create()
        path = settings.delta_tables_dir / database / "orders"
        p50, p95 = steady(table, path)
        yield f"MySQL commit -> Delta p50, {RATE} changes/s", p50, "s", "< 2"
        yield f"MySQL commit -> Delta p95, {RATE} changes/s", p95, "s", "< 3.5"
        everything, written = burst(table, path, first=RATE * (WARM_UP_SECONDS + STEADY_SECONDS))
        check(table, path)
        yield f"{BURST} changes, until the lag is zero", everything, "changes/s", "> 2000"
        yield "  the same, MySQL's commits alone", written, "changes/s", ""
        yield f"snapshot of {SNAPSHOT} rows -> Delta", snapshot(stack, settings, connection), "s", "< 60"

        others: list[tuple[str, Callable[[str, Path], Any]]] = [
            ("foreachBatch + MERGE as documented", merge_pattern),
            (
                "delta-rs consumer",
                lambda topic, at: delta_rs_consumer(str(settings.kafka_bootstrap_servers), topic, at),
            ),
        ]
        for number, (what, consumer) in enumerate(others):
            # The sink leaves topics of such tables alone, so that one thing is measured at a time.
            other = Table(settings, connection, settings.mysql_database, f"bench_{uuid4().hex[:12]}")
            other.create()
            stack.callback(_execute, connection, f"DROP TABLE {other.database}.{other.name}")
            directory = settings.delta_tables_dir / f"{database}_{number}"
            directory.mkdir(mode=0o777)
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            other.change(0, keys=1000)
            with consumer(other.topic, directory / "orders"):
                with Watcher(directory / "orders") as watcher:
                    watcher.wait_for(0)
                their50, their95 = steady(other, directory / "orders")
            yield f"{what}: p50", their50, "s", ""
            yield f"{what}: p95", their95, "s", ""
            yield f"{what} / sink, p50", their50 / p50, "times", ""
            yield f"{what} / sink, p95", their95 / p95, "times", ""


def _execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _sink() -> str:
    project = get_settings().compose_project_name
    filters = (f"label=com.docker.compose.project={project}", "label=com.docker.compose.service=delta-sink")
    return _output("docker", "ps", "--quiet", *(f"--filter={one}" for one in filters)).strip()


def _until(holds: Callable[[], Any], what: str) -> None:
    """Return once `holds()` is true; end the measurement where it is not within `PATIENCE`."""
    # Topics and tables may not be there yet.
    again = retry_if_exception_type((KafkaException, TableNotFoundError)) | retry_if_result(lambda held: not held)
    try:
        Retrying(retry=again, stop=stop_after_delay(PATIENCE), wait=wait_fixed(0.1))(holds)
    except RetryError:
        sys.exit(f"not there within {PATIENCE} s: {what}")


def _wait_until_forgotten(url: str, database: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and f'"{database}.' in requests.get(f"{url}/metrics", timeout=10).text:
        time.sleep(0.5)


if __name__ == "__main__":
    bench_sink()
