"""The service: reads all topics, and lets each table take its changes at its own pace.

Threads: one reads Kafka, one watches topics come and go, and a few write tables, one table at a time each.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import KafkaException

from cdc_workstation.sink import metrics
from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.canary import Canary
from cdc_workstation.sink.control import Control
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.drift import DriftMonitor, LakeCount
from cdc_workstation.sink.events import MalformedError, Position, Record
from cdc_workstation.sink.pacing import Pacing
from cdc_workstation.sink.reader import Reader
from cdc_workstation.sink.settings import SinkSettings, Source
from cdc_workstation.sink.source_changes import TableChange, table_changes
from cdc_workstation.sink.topics import Topics
from cdc_workstation.sink.writers import writer_of

log = logging.getLogger(__name__)

# The consumer group in which lag tools see the sink.
_GROUP = "delta-sink"
# After so many failures in a row a table counts as stopped, though it is tried again all the same.
_FAILURES = 5
_RETRY_SECONDS = 10.0
# Reading of one table rests while so much of it waits to be written, until so much is left: a partition that is resumed
# brings nothing for most of a second.
_PAUSE_BYTES = 48 * 1024 * 1024
_RESUME_BYTES = 32 * 1024 * 1024
# Shorter rests between commits are not worth a change of tables.
_SHORTEST_REST = 0.002


@dataclass(eq=False)
class Topic:
    """A table with the work that waits for it. All but `applier` is guarded by the service's lock."""

    applier: Applier
    partitions: list[int]
    waiting: deque[list[Record]] = field(default_factory=deque)
    actions: deque[Callable[[Applier], None]] = field(default_factory=deque)
    """What else to do with the table, before the records that wait."""
    waiting_bytes: int = 0
    running: bool = False
    paused: bool = False
    rests_until: float = 0.0
    opening: bool = False
    """Whether a worker is to open its table."""
    failures: int = 0
    failed_at: float | None = None
    """When it failed: it takes nothing until its table is opened again, from where it is read again."""

    @property
    def has_work(self) -> bool:
        """Whether a worker should take it."""
        return bool(self.waiting or self.actions) and not self.running


class Sink:
    """Reads the topics and applies them.

    Args:
        settings: the sink's settings.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self.settings = settings
        self.topics: dict[str, Topic] = {}
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self.pacing = Pacing(settings.rewrite_budget_bytes, settings.retention_seconds)
        self._pattern = re.compile(rf"(?:{settings.topics})|{re.escape(settings.canary_topic)}")
        # Topics with work, the one that waited longest first.
        self._queue: dict[str, Topic] = {}
        self._waiting_bytes = 0
        self._committed: dict[tuple[str, int], int] = {}
        self._fatal: BaseException | None = None
        self._dead_letters = DeadLetters(settings.dead_letters)
        self._admin = Topics(settings.bootstrap_servers)
        self._reader = Reader(settings.bootstrap_servers)
        self._canary = Canary(settings, self._admin)
        self._control = Control()
        self._control_topics: dict[str, Source] = {
            name: source for source in settings.sources for name in (source.changes, source.notifications)
        }
        self._sources = {source.connector: source for source in settings.sources}
        self._reading_control: set[str] = set()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the process's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        metrics.serve(self.settings.metrics_port, self.problem)
        metrics.READY.set_function(lambda: 0 if self.problem() else 1)
        threads = [threading.Thread(target=self._guarded, args=(self._watch,), name="watch")]
        threads += [
            threading.Thread(target=self._guarded, args=(self._work, number), name=f"write-{number}")
            for number in range(self.settings.parallel_tables)
        ]
        for thread in threads:
            thread.start()
        monitor = DriftMonitor(
            self.settings.drift, self._lake, self._is_table, lambda name: self.settings.location_of(name).name
        )
        monitor.start()
        self._guarded(self._read)
        monitor.stop()
        with self.changed:
            self.changed.notify_all()
        for thread in threads:
            thread.join()
        self._reader.close()
        return 0 if self._fatal is None else 1

    def problem(self) -> str:
        """Return what keeps the sink from being ready, nothing if it is."""
        return "" if self._canary.arrived else "no canary row has reached Delta yet"

    def _guarded(self, loop: Callable[..., None], *arguments: object) -> None:
        """Run a thread's loop; if it fails the process ends, for its supervisor to see."""
        try:
            loop(*arguments)
        except BaseException as error:
            log.critical("The sink cannot go on", exc_info=True)
            self._fatal = error
        finally:
            self.stopping.set()
            with self.changed:
                self.changed.notify_all()

    # Reading

    def _read(self) -> None:
        while not self.stopping.is_set():
            for name, records in self._reader.read().items():
                self._dispatch(name, records)
            for name in self._reader.lost():
                # A control topic that was recreated is read from its beginning again.
                self._reading_control.discard(name)
                with self.changed:
                    topic = self.topics.get(name)
                    if topic is not None and topic.failed_at is None:
                        # Deleted, recreated, or behind what Kafka keeps: opening it again tells.
                        self._give_up(topic, time.monotonic() - _RETRY_SECONDS)

    def _dispatch(self, name: str, records: list[Record]) -> None:
        if name in self._control_topics:
            self._take_control(self._control_topics[name], records)
            return
        with self.changed:
            topic = self.topics.get(name)
            if topic is None or topic.failed_at is not None or self._reader.is_restarted(name):
                return
            size = sum(len(record.value or b"") for record in records)
            topic.waiting.append(records)
            topic.waiting_bytes += size
            self._waiting_bytes += size
            if not topic.paused and (
                topic.waiting_bytes > _PAUSE_BYTES or self._waiting_bytes > self.settings.max_waiting_bytes
            ):
                topic.paused = True
                self._reader.pause(name, paused=True)
            self._enqueue(topic)

    def _take_control(self, source: Source, records: list[Record]) -> None:
        """Take note of DDL and of snapshots; tables whose rows are gone lose them."""
        changes: list[TableChange] = []
        for record in records:
            try:
                changes += table_changes(record, source.reserved_pattern)
            except MalformedError as error:
                log.error("Offset %d of %s says nothing about tables: %s", record.offset, record.topic, error)
                metrics.ERRORS.labels("").inc()
        with self.changed:
            for name in self._control.take(source, changes):
                topic = self.topics.get(name)
                if topic is not None and topic.failed_at is None:
                    topic.actions.append(self._discard_older)
                    self._enqueue(topic)

    def _discard_older(self, applier: Applier) -> None:
        """Delete the rows of which the control topics have told that they are gone."""
        with self.changed:
            emptied = self._control.emptied.get(applier.topic)
        if emptied is not None:
            applier.begins_empty(emptied.position, emptied.at_ms)

    def _enqueue(self, topic: Topic) -> None:
        if topic.has_work:
            self._queue.setdefault(topic.applier.topic, topic)
            self.changed.notify()

    # Writing

    def _work(self, number: int) -> None:
        while True:
            with self.changed:
                topic = self._next(number)
                if topic is None:
                    return
                actions = list(topic.actions)
                topic.actions.clear()
                records = self._take(topic)
                topic.running = True
            rest = 0.0
            try:
                for action in actions:
                    action(topic.applier)
                if records:
                    rest = self._apply(topic, records)
                with self.changed:
                    if topic.failures and records:
                        topic.failures = 0
                        if topic.applier.stopped is None:
                            metrics.TABLE_STOPPED.labels(topic.applier.name).set(0)
            except Exception as error:
                self._failed(topic, error)
            finally:
                with self.changed:
                    topic.running = False
                    topic.rests_until = time.monotonic() + rest if rest > _SHORTEST_REST else 0.0
                    self._enqueue(topic)
                    self.changed.notify_all()

    def _next(self, number: int) -> Topic | None:
        """Wait for a topic with work and take it; `None` if the sink stops.

        One worker takes the topic that waited longest. The others prefer tables that are there already: their changes
        should not wait for hundreds of new tables.
        """
        while not self.stopping.is_set():
            now = time.monotonic()
            awake = [topic for topic in self._queue.values() if topic.rests_until <= now]
            if awake:
                there = (topic for topic in awake if topic.applier.writer.version() >= 0)
                topic = awake[0] if number == 0 else next(there, awake[0])
                del self._queue[topic.applier.topic]
                return topic
            rests = [topic.rests_until - now for topic in self._queue.values()]
            self.changed.wait(min(rests, default=None))
        return None

    def _take(self, topic: Topic) -> list[Record]:
        """Take what fits in one commit out of what waits."""
        records: list[Record] = []
        while topic.waiting and (
            not records or len(records) + len(topic.waiting[0]) <= self.settings.max_rows_per_commit
        ):
            records += topic.waiting.popleft()
        size = sum(len(record.value or b"") for record in records)
        topic.waiting_bytes -= size
        self._waiting_bytes -= size
        if topic.paused and topic.waiting_bytes < _RESUME_BYTES:
            topic.paused = False
            self._reader.pause(topic.applier.topic, paused=False)
        return records

    def _apply(self, topic: Topic, records: list[Record]) -> float:
        """Apply records; return how many seconds the table should rest afterwards."""
        applier = topic.applier
        version = applier.writer.version()
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for partition, part in sorted(by_partition.items()):
            if applier.sequencer.has_gap(partition, part):
                # Whether Kafka lost them shows where it begins by now.
                first = self._admin.first_offsets({applier.topic: topic.partitions})
                applier.sequencer.log_starts(first.get(applier.topic, {}))
            applier.apply(partition, part)
        if applier.topic == self._canary.topic and applier.sequencer.state is not None:
            self._canary.look(applier.sequencer.state.ts_ms)
        if applier.writer.version() == version:
            return 0.0
        left = applier.writer.obsolete_bytes()
        return self.pacing.spend(left + applier.writer.maintain())

    def _failed(self, topic: Topic, error: Exception) -> None:
        name = topic.applier.name
        log.exception("%s could not be written", name)
        metrics.ERRORS.labels(name).inc()
        with self.changed:
            topic.failures += 1
            if topic.failures >= _FAILURES:
                log.error("%s: %d commits failed in a row, the last one with %.300r", name, topic.failures, error)
                metrics.TABLE_STOPPED.labels(name).set(1)
            # At once for the first time, after a rest for the others.
            self._give_up(topic, time.monotonic() - (_RETRY_SECONDS if topic.failures == 1 else 0.0))

    def _give_up(self, topic: Topic, failed_at: float) -> None:
        """Drop what waits for a table: it is read again after the table was opened again."""
        topic.failed_at = failed_at
        topic.opening = False
        topic.waiting.clear()
        topic.actions.clear()
        self._waiting_bytes -= topic.waiting_bytes
        topic.waiting_bytes = 0
        self._queue.pop(topic.applier.topic, None)
        self._reader.stop(topic.applier.topic)
        self.changed.notify_all()

    # Topics that come and go

    def _watch(self) -> None:
        sent = False
        watched = 0.0
        while not self.stopping.is_set():
            try:
                if not sent:
                    self._canary.send()
                    sent = True
                self._discover()
                if time.monotonic() - watched > self.settings.watch_seconds:
                    watched = time.monotonic()
                    self._look_after()
            except (KafkaException, TimeoutError) as error:
                log.warning("Kafka does not answer: %s", error)
                metrics.ERRORS.labels("").inc()
            self.stopping.wait(self.settings.discovery_seconds)

    def _discover(self) -> None:
        """Take up topics that are new, let go of those that are gone, and open again those that failed."""
        partitions_of_all = self._admin.partitions()
        partitions = {
            name: numbers
            for name, numbers in partitions_of_all.items()
            if self._pattern.fullmatch(name) and name not in self._control_topics
        }
        self._forget(self.topics.keys() - partitions.keys())
        now = time.monotonic()
        with self.changed:
            to_open = [name for name in partitions if self._is_to_open(self.topics.get(name), partitions[name], now)]
        self._read_control(partitions_of_all)
        if to_open:
            self._open({name: partitions[name] for name in to_open})

    def _is_table(self, name: str) -> bool:
        """Whether a topic's table is this sink's to write."""
        return name != self._canary.topic and self._pattern.fullmatch(name) is not None

    def _read_control(self, partitions: dict[str, list[int]]) -> None:
        """Read control topics from their beginning, once they are there."""
        new = {
            name: partitions[name]
            for name in self._control_topics
            if name in partitions and name not in self._reading_control
        }
        if new:
            for name, first in self._admin.first_offsets(new).items():
                self._reading_control.add(name)
                self._reader.start(name, first)

    def _is_to_open(self, topic: Topic | None, partitions: list[int], now: float) -> bool:
        if topic is None:
            return True
        if topic.running or topic.opening:
            return False
        if topic.failed_at is not None:
            return now - topic.failed_at >= _RETRY_SECONDS
        return topic.partitions != partitions

    def _open(self, partitions: dict[str, list[int]]) -> None:
        """Have workers open tables, and their topics read from where the tables are."""
        ids = self._admin.ids(partitions)
        first = self._admin.first_offsets({name: partitions[name] for name in ids})
        # The canary first: the sink is ready once its row is through.
        for name in sorted(ids, key=lambda one: one != self._canary.topic):
            if len(first.get(name, {})) < len(partitions[name]):
                # Deleted, or not yet there as a whole: seen again at the next look.
                continue
            with self.changed:
                topic = self.topics.get(name)
                if topic is None:
                    location = self.settings.location_of(name)
                    writer = writer_of(self.settings, location)
                    topic = Topic(Applier(self.settings, name, writer, self._dead_letters), partitions[name])
                    self.topics[name] = topic
                topic.partitions = partitions[name]
                topic.opening = True
                topic.actions.clear()
                topic.actions.append(partial(self._open_table, topic, ids[name], first[name]))
                self._enqueue(topic)

    def _open_table(self, topic: Topic, topic_id: str, first: dict[int, int], applier: Applier) -> None:
        applier.writer.forget()
        offsets = applier.open(topic_id, first)
        self._discard_older(applier)
        lost = applier.sequencer.lost()
        if lost is not None:
            applier.stop(lost)
        with self.changed:
            topic.opening = False
            topic.failed_at = None
            topic.paused = False
            self._reader.start(applier.topic, offsets)

    def _look_after(self) -> None:
        """Compare topics with what is read: recreated ones, lost records, lag; and tables that somebody repaired."""
        with self.changed:
            topics = {
                name: topic for name, topic in self.topics.items() if topic.failed_at is None and not topic.opening
            }
        partitions = {name: topic.partitions for name, topic in topics.items()}
        ids = self._admin.ids(partitions)
        first = self._admin.first_offsets(partitions)
        ends = self._admin.next_offsets(partitions)
        for name, topic in topics.items():
            applier = topic.applier
            if ids.get(name, applier.topic_id) != applier.topic_id:
                if any(ends.get(name, {}).values()):
                    log.warning("%s was recreated: starting over with it", name)
                    with self.changed:
                        self._give_up(topic, time.monotonic() - _RETRY_SECONDS)
                else:
                    # A producer that still asks for a deleted topic has the broker create it: nothing to read so far.
                    self._forget([name])
                continue
            self._check_log_start(topic, first.get(name, {}))
            lag = sum(max(end - applier.applied.get(partition, 0), 0) for partition, end in ends.get(name, {}).items())
            applier.show_lag(lag)
            with self.changed:
                idle = not topic.running and not topic.has_work
            if idle and applier.stopped is not None and applier.was_repaired():
                log.info("%s changed since it stopped: trying again", applier.name)
                with self.changed:
                    self._give_up(topic, time.monotonic() - _RETRY_SECONDS)
            elif idle and applier.writer.maintenance_is_due():
                self._act(topic, self._maintain)
        self._tell_progress()
        if self.settings.resnapshot:
            self._request_snapshots()

    def _request_snapshots(self) -> None:
        """Ask the connectors for snapshots of tables whose rows DDL changed without change events."""
        with self.changed:
            for name, topic in self.topics.items():
                stopped, sequencer = topic.applier.stopped, topic.applier.sequencer
                source = self._sources.get(sequencer.connector)
                if stopped is None:
                    self._control.runs(name)
                elif stopped.recovers and source is not None and sequencer.collection and self._is_table(name):
                    self._control.stopped(source, name, sequencer.collection, str(stopped))
            due = self._control.due(time.monotonic(), self._reflected)
            due = [request for request in due if self._is_table(request.topic)]
            metrics.show_requests(
                {
                    self._name(one): request.attempts
                    for one, request in (self._control.stops | self._control.requests).items()
                },
                [self._name(one) for one in self._control.not_captured],
            )
        for request in due:
            log.warning("%s: %s; asking for a snapshot", request.collection, request.detail)
            self._admin.send(request.source.signals, *request.message())

    def _name(self, topic: str) -> str:
        return self.settings.location_of(topic).name

    def _reflected(self, name: str) -> Position | None:
        topic = self.topics.get(name)
        return topic.applier.sequencer.reflected if topic is not None else None

    def _check_log_start(self, topic: Topic, first: dict[int, int]) -> None:
        """Stop a table whose topic has lost records that were never read: an idle one shows no gap."""
        applier = topic.applier

        def check(one: Applier) -> None:
            one.sequencer.log_starts(first)
            lost = one.sequencer.lost()
            if lost is not None and one.stopped is None:
                one.stop(lost)

        with self.changed:
            # Records that wait were read before Kafka lost them.
            behind = any(start > applier.applied.get(partition, 0) for partition, start in first.items())
            if behind and not topic.waiting and not topic.running and applier.stopped is None:
                topic.actions.append(check)
                self._enqueue(topic)

    def _maintain(self, applier: Applier) -> None:
        self.pacing.spend(applier.writer.maintain())

    def _lake(self) -> dict[str, LakeCount]:
        """Return what is known of each table, for the comparison of row counts."""
        with self.changed:
            topics = {name: topic for name, topic in self.topics.items() if not topic.opening}
            waits = {name for name, topic in topics.items() if topic.running or topic.waiting}
        found = {}
        for name, topic in topics.items():
            applier = topic.applier
            state = applier.sequencer.state
            rows = applier.writer.count() if applier.writer.version() >= 0 else None
            waiting = applier.lag or int(name in waits)
            found[name] = LakeCount(applier.name, rows, waiting, state is None or state.keyed is not False)
        return found

    def _act(self, topic: Topic, action: Callable[[Applier], None]) -> None:
        """Have a worker do something with a table."""
        with self.changed:
            if topic.failed_at is None:
                topic.actions.append(action)
                self._enqueue(topic)

    def _forget(self, names: Iterable[str]) -> None:
        """Let go of topics that were deleted; their tables stay as they are."""
        for name in list(names):
            with self.changed:
                topic = self.topics.get(name)
                if topic is None or topic.running:
                    continue
                self._give_up(topic, time.monotonic())
                del self.topics[name]
            log.info("%s was deleted: %s is no longer written", name, topic.applier.location)
            metrics.forget(topic.applier.name, name)

    def _tell_progress(self) -> None:
        applied = {
            (name, partition): offset
            for name, topic in list(self.topics.items())
            for partition, offset in list(topic.applier.applied.items())
        }
        changed = {one: offset for one, offset in applied.items() if self._committed.get(one) != offset}
        self._admin.tell_progress(_GROUP, changed)
        self._committed = applied
