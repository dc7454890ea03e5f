"""The application: one streaming query reads all topics, each table takes its changes at its own pace.

Spark's checkpoint is a scratch file here, new at each start: every table's log says which Kafka offset it has reached
(`table.State`), and the query starts from the least of what is missing.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from cdc_workstation.sink import metrics
from cdc_workstation.sink.canary import Canary
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.jvm import remember_names
from cdc_workstation.sink.kafka import Admin, client_properties
from cdc_workstation.sink.location import storage_options
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.table import Table

log = logging.getLogger(__name__)

# What a MERGE of a few rows into a small table is quicker with: one task a stage, and no more state than is needed.
SPARK = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Days before 1582 and moments before 1900 are written as they are. So does Spark 4; 3.5 must be told.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
    # A micro-batch is collected through Arrow in parts: its buffers lie outside the heap, and double as they grow.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "500",
    "spark.sql.adaptive.enabled": "false",
    # Code would be written, compiled and warmed up for each table's columns, to be run for a few rows.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.merge.materializeSource": "none",
    "spark.databricks.delta.autoCompact.minNumFiles": "20",
    "spark.databricks.delta.stalenessLimit": "0",
    # Logs of tables that are gone must not stay in memory for an hour.
    "spark.databricks.delta.delta.log.cacheRetentionMinutes": "5",
    "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",
    # Spark's default one asks `readlink` about each file, a process each, several times in a micro-batch.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
    # While nothing comes, Kafka is asked again after so many milliseconds.
    "spark.sql.streaming.pollingDelay": "200",
    "spark.sql.streaming.metricsEnabled": "false",
    "spark.sql.streaming.numRecentProgressUpdates": "1",
    "spark.sql.streaming.kafka.useDeprecatedOffsetFetching": "false",
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.ui.enabled": "false",
    "spark.hadoop.fs.permissions.umask-mode": "002",
    # Tables of one session each must not keep what they cached for another.
    "spark.sql.artifact.isolation.enabled": "false",
}
# How often in a row the query may fail before the process ends, for its supervisor to see, or a table before it stops.
_FAILURES = 5
# A table that failed is tried again after so many seconds.
_RETRY_SECONDS = 30.0
# How long reading rests, at most, while what it brought is being written.
_REST_SECONDS = 3.0


class Topic:
    """A table with the records that wait for it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.waiting: deque[list[Record]] = deque()
        self.running = False
        self.failures = 0
        self.failed_at: float | None = None
        """When it failed: it takes nothing until its table is opened anew, where what it failed on comes again."""


class Sink:
    """Reads the topics and applies them."""

    def __init__(self, settings: SinkSettings) -> None:
        self.settings = settings
        self.topics: dict[str, Topic] = {}
        self.ids: dict[str, str] = {}
        self.pattern = re.compile(rf"(?:{settings.topics})|{re.escape(settings.canary_topic)}")
        self.pool = ThreadPoolExecutor(settings.parallel_tables, thread_name_prefix="apply")
        self.sessions = threading.local()
        self.changed = threading.Condition()
        self.waiting_rows = 0
        self.commits = 0
        self.generation = 0
        self.restart = threading.Event()
        self.stopping = threading.Event()
        self.query: StreamingQuery | None = None
        self.spark: SparkSession | None = None
        self.canary: Canary | None = None
        self.admin: Admin | None = None

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the process's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        metrics.serve(self.settings.metrics_port, self.problem)
        metrics.READY.set_function(lambda: 0 if self.problem() else 1)
        self.spark = self._session()
        self.settings.storage_options = storage_options(self.spark, self.settings.tables)
        admin = self.admin = Admin(self.spark, self.settings.bootstrap_servers)
        self.canary = Canary(self.spark, self.settings)
        failures = 0
        while not self.stopping.is_set():
            started = time.monotonic()
            try:
                self._start(admin)
                self._watch(admin)
            except Exception:
                log.exception("The query ended")
                metrics.ERRORS.labels("").inc()
                failures = failures + 1 if time.monotonic() - started < 60 else 1
                if failures >= _FAILURES:
                    log.critical("Gave up after %d failures in a row", failures)
                    return 1
            finally:
                self._stop_query()
            self.stopping.wait(min(failures, 5))
        return 0

    def problem(self) -> str:
        """Return what keeps the sink from being ready, nothing where it is."""
        query = self.query
        if query is None:
            return "the query has not started"
        if self.canary is None or not self.canary.arrived:
            return "no canary row has reached Delta yet"
        return ""

    # The query

    def _session(self) -> SparkSession:
        builder = SparkSession.builder.master(self.settings.master).appName("delta-sink")
        for name, value in (SPARK | self.settings.spark).items():
            builder = builder.config(name, value)
        session: SparkSession = builder.getOrCreate()
        session.sparkContext.setLogLevel("WARN")
        remember_names()
        return session

    def _start(self, admin: Admin) -> None:
        assert self.spark is not None
        assert self.canary is not None
        self.canary.create_topic(admin)
        with self.changed:
            self.generation += 1
            generation = self.generation
            # A table that is being written to ends first: its log must not change while it is read.
            self.changed.wait_for(lambda: not any(topic.running for topic in self.topics.values()))
            self.waiting_rows = 0
            for topic in self.topics.values():
                topic.waiting.clear()
        self.restart.clear()
        admin.forget_partitions()
        self.ids = self._topics_of(admin)
        self._forget(self.topics.keys() - self.ids.keys())
        starting = self._open(admin, self.ids)
        log.info("Reading %d topics", len(starting))
        reader = self.spark.readStream.format("kafka").options(
            **{
                **{
                    f"kafka.{name}": value for name, value in client_properties(self.settings.bootstrap_servers).items()
                },
                "subscribePattern": self.pattern.pattern,
                # Of topics that come while the query starts; the others' are in the checkpoint.
                "startingOffsets": "earliest",
                # A gap concerns one table, which stops; it must not end the query of all.
                "failOnDataLoss": "false",
                # A topic that is deleted while it is read is waited for in a task, two minutes by default; two such
                # tasks on two cores, and no commit goes on either.
                "kafkaConsumer.pollTimeoutMs": "5000",
                "kafka.default.api.timeout.ms": "5000",
                "kafka.request.timeout.ms": "5000",
                "maxOffsetsPerTrigger": str(self.settings.max_rows_per_batch),
            }
        )
        directory = self.settings.checkpoint_dir / str(generation)
        shutil.rmtree(self.settings.checkpoint_dir, ignore_errors=True)
        write_first_offsets(directory, starting)
        self.query = (
            reader.load()
            .selectExpr("topic", "partition", "offset", "unix_millis(timestamp) timestamp", "key", "value")
            .writeStream.queryName("delta-sink")
            .option("checkpointLocation", f"file://{directory}")
            .trigger(processingTime=self.settings.trigger_interval)
            .foreachBatch(self._receiver(generation))
            .start()
        )
        self.canary.start()

    def _topics_of(self, admin: Admin) -> dict[str, str]:
        return {name: known for name, known in admin.topics().items() if self.pattern.fullmatch(name)}

    def _open(self, admin: Admin, ids: dict[str, str]) -> dict[str, dict[int, int]]:
        """Open the tables of topics; return where to start reading."""
        earliest, latest = (admin.offsets(ids, latest=late) for late in (False, True))
        starting = {}
        for name, known in ids.items():
            if not earliest[name]:
                # Deleted meanwhile.
                continue
            empty = earliest[name] == latest[name]
            if name not in self.topics and empty and self.settings.location_of(name).version() < 0:
                # Empty, as one that the broker made again after it was deleted: shown once something comes.
                starting[name] = earliest[name]
            else:
                topic = self._topic(name)
                topic.failed_at = None
                starting[name] = topic.table.open(known, earliest[name])
        return starting

    def _watch(self, admin: Admin) -> None:
        """Return when the query must start anew; keep the lag in offsets up to date meanwhile."""
        query = self.query
        assert query is not None
        while not self.stopping.is_set():
            if self.restart.wait(self.settings.watch_seconds) or self.stopping.is_set():
                return
            if not query.isActive:
                if self.ids.keys() - self._topics_of(admin).keys():
                    log.info("The query ended while topics were deleted: starting it anew")
                    return
                error = query.exception()
                raise RuntimeError(str(error) if error else "the query stopped")
            # Those that come after this line are not in the list, and not gone either.
            seen = self.ids.keys() | self.topics.keys()
            topics = self._topics_of(admin)
            gone = seen - topics.keys()
            self._forget(gone)
            for name in gone - self.topics.keys():
                self.ids.pop(name, None)
            ends = admin.offsets(topics, latest=True)
            for name, known in topics.items():
                if self.ids.setdefault(name, known) != known:
                    if any(ends[name].values()):
                        log.warning("%s was made anew: starting over with it", name)
                        return
                    # A producer that still asks for a deleted topic has the broker make it: nothing to read so far.
                    self._forget([name])
                topic = self.topics.get(name)
                if topic is None:
                    # Nothing was ever written to it, or not since the query started.
                    continue
                due = topic.table.due
                lag = sum(max(end - due.get(partition, 0), 0) for partition, end in ends[name].items())
                topic.table.show_lag(lag)
            mended = [one.table.name for one in list(self.topics.values()) if one.table.was_mended]
            if mended:
                log.info("%s changed since it stopped: trying again", ", ".join(mended))
                return
            now = time.monotonic()
            failed = [one.failed_at for one in list(self.topics.values()) if one.failed_at is not None]
            if any(now - moment > _RETRY_SECONDS for moment in failed):
                log.info("Trying tables again that failed")
                return

    def _forget(self, names: Iterable[str]) -> None:
        """Let go of topics that were deleted; their tables stay as they are."""
        for name in list(names):
            with self.changed:
                topic = self.topics.get(name)
                if topic is not None and topic.running:
                    continue
                self.topics.pop(name, None)
                if topic is not None:
                    self.waiting_rows -= sum(len(part) for part in topic.waiting)
                    self.changed.notify_all()
            if topic is not None:
                log.info("%s was deleted: %s is no longer looked after", name, topic.table.location)
                metrics.forget(topic.table.name)

    def _stop_query(self) -> None:
        query, self.query = self.query, None
        if query is not None and query.isActive:
            try:
                query.stop()
            except Exception:
                log.exception("The query did not stop in time")

    # The changes

    def _receiver(self, generation: int) -> Callable[[DataFrame, int], None]:
        def receive(batch: DataFrame, _: int) -> None:
            slices: dict[str, list[Record]] = {}
            for record in _records(batch):
                slices.setdefault(record.topic, []).append(record)
            with self.changed:
                commits = self.commits
                for name, records in slices.items():
                    if generation != self.generation:
                        return
                    topic = self._topic(name)
                    if topic.failed_at is not None:
                        continue
                    topic.waiting.append(records)
                    self.waiting_rows += len(records)
                    self._schedule(topic)
                # Backpressure: the next batch is read while this one is applied, not more.
                self.changed.wait_for(
                    lambda: self.waiting_rows < self.settings.max_rows_per_batch or generation != self.generation
                )
                if 0 < sum(map(len, slices.values())) < self.settings.max_rows_per_batch / 2:
                    # What is read before a commit ends waits for the next one and then for its own, and what comes
                    # meanwhile is in neither. Besides, reading takes of the cores that the commits need. A backlog is
                    # read on: there, the cores would wait.
                    self.changed.wait_for(
                        lambda: (
                            self.commits > commits
                            or generation != self.generation
                            or not any(topic.running for topic in self.topics.values())
                        ),
                        _REST_SECONDS,
                    )

        return receive

    def _topic(self, name: str) -> Topic:
        if name not in self.topics:
            # It came into being while the query was running, and is read from its start.
            self.topics[name] = Topic(Table(self.settings, name))
        return self.topics[name]

    def _schedule(self, topic: Topic) -> None:
        if not topic.running and topic.waiting:
            topic.running = True
            self.pool.submit(self._drain, topic, self.generation)

    def _drain(self, topic: Topic, generation: int) -> None:
        """Apply what waits for one table, as much as fits in one commit at a time."""
        records: list[Record] = []
        try:
            while True:
                with self.changed:
                    if generation != self.generation or not topic.waiting:
                        return
                    records = []
                    while topic.waiting and (
                        not records or len(records) + len(topic.waiting[0]) <= self.settings.max_rows_per_commit
                    ):
                        records += topic.waiting.popleft()
                    self.waiting_rows -= len(records)
                    self.changed.notify_all()
                self._apply(topic, records)
                with self.changed:
                    self.commits += 1
                    self.changed.notify_all()
        except Exception as error:
            log.exception("%s could not be written", topic.table.name)
            metrics.ERRORS.labels(topic.table.name).inc()
            with self.changed:
                topic.failures += 1
                if topic.failures >= _FAILURES and topic.table.stopped is None:
                    topic.table.stop(f"{topic.failures} commits failed in a row, the last one with {error!r:.300}")
                    # As dead letters.
                    topic.waiting.appendleft(records)
                else:
                    topic.waiting.clear()
                    topic.failed_at = time.monotonic()
                    # At once for the first time, after a rest for the others.
                    if topic.failures == 1:
                        self.restart.set()
                self.waiting_rows = sum(len(part) for one in self.topics.values() for part in one.waiting)
        finally:
            with self.changed:
                topic.running = False
                if generation == self.generation:
                    self._schedule(topic)
                self.changed.notify_all()

    def _apply(self, topic: Topic, records: list[Record]) -> None:
        assert self.spark is not None
        assert self.admin is not None
        assert self.canary is not None
        table = topic.table
        if not table.topic_id:
            known = self.admin.topics().get(table.topic)
            earliest = self.admin.offsets([table.topic], latest=False)[table.topic]
            if known is None or not earliest:
                # Deleted before its first records were applied.
                return
            if self.ids.setdefault(table.topic, known) != known:
                # Made anew: whether these are its first records shows when all are read from its start.
                self.restart.set()
                return
            table.open(known, earliest)
        spark = getattr(self.sessions, "spark", None)
        if spark is None:
            spark = self.sessions.spark = self.spark.newSession()
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        if added := by_partition.keys() - table.earliest.keys():
            raise RuntimeError(f"{table.topic} has new partitions, {sorted(added)}: its table is opened anew")
        for partition, part in sorted(by_partition.items()):
            if table.has_gap(partition, part):
                # Whether Kafka lost them shows where it begins by now.
                table.earliest |= self.admin.offsets([table.topic], latest=False)[table.topic]
            table.apply(spark, partition, part)
        if table.stopped is None:
            topic.failures = 0
        if table.topic == self.settings.canary_topic:
            self.canary.look()


def write_first_offsets(checkpoint: Path, offsets: dict[str, dict[int, int]]) -> None:
    """Write down where a query starts, as Spark's Kafka source does before its first batch.

    It compares the option `startingOffsets` with the topics that there are then, seconds later, and the query ends
    where one has come or gone meanwhile. What is written down already is taken as it is.

    The format: org.apache.spark.sql.kafka010.KafkaSourceInitialOffsetWriter, unchanged since Spark 2.1.
    """
    log_of_source = checkpoint / "sources" / "0"
    log_of_source.mkdir(parents=True)
    (log_of_source / "0").write_bytes(b"\0v1\n" + json.dumps(offsets).encode())


def _records(batch: DataFrame) -> list[Record]:
    """Collect a micro-batch, in Kafka's order."""
    rows: Iterable[tuple[Any, ...]]
    if hasattr(batch, "toArrow"):
        table: Any = batch.toArrow()
        columns = [table.column(name) for name in ("topic", "partition", "offset", "timestamp", "key", "value")]
        rows = zip(*(one.to_pylist() for one in columns), strict=True)
    else:
        rows = (
            (row.topic, row.partition, row.offset, row.timestamp, _raw(row.key), _raw(row.value))
            for row in batch.collect()
        )
    return sorted((Record(*row) for row in rows), key=lambda one: (one.topic, one.partition, one.offset))


def _raw(value: bytearray | None) -> bytes | None:
    return None if value is None else bytes(value)
