"""The service: reads all topics, and lets each table take its changes at its own pace.

Threads: one reads Kafka, one watches topics come and go, a few write tables, one table at a time each, and one removes
files of former versions.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable

from cdc_workstation.sink import metrics
from cdc_workstation.sink.canary import Canary
from cdc_workstation.sink.control import Control
from cdc_workstation.sink.drift import DriftMonitor
from cdc_workstation.sink.events import MalformedError, Record
from cdc_workstation.sink.pacing import Pacing
from cdc_workstation.sink.reader import Reader
from cdc_workstation.sink.settings import SinkSettings, Source
from cdc_workstation.sink.source_changes import table_changes
from cdc_workstation.sink.table_change import TableChange
from cdc_workstation.sink.topics import Topics
from cdc_workstation.sink.watcher import Watcher
from cdc_workstation.sink.work import Topic, Work

log = logging.getLogger(__name__)

# After so many failures in a row a table counts as stopped, though it is tried again all the same.
_FAILURES = 5
# Shorter rests between commits are not worth a change of tables.
_SHORTEST_REST = 0.002


class Sink:
    """Reads the topics and applies them.

    Args:
        settings: the sink's settings.
        topics: asks the broker; by default one of the sink's own.
        reader: reads records; by default one of the sink's own.
    """

    def __init__(self, settings: SinkSettings, topics: Topics | None = None, reader: Reader | None = None) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        self._admin = topics or Topics(settings.bootstrap_servers)
        self._reader = reader or Reader(settings.bootstrap_servers)
        self._fatal: BaseException | None = None
        self._pacing = Pacing(settings.rewrite_budget_bytes, settings.retention_seconds)
        self._canary = Canary(settings, self._admin)
        self._control = Control()
        self._control_topics: dict[str, Source] = {
            name: source for source in settings.sources for name in (source.changes, source.notifications)
        }
        self.work = Work(self._reader, settings.max_waiting_bytes, settings.max_rows_per_commit)
        self.watcher = Watcher(settings, self.work, self._admin, self._canary, self._control, self._pacing)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the process's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        metrics.serve(self.settings.metrics_port, self.problem, self.settings.metrics_hosts)
        metrics.READY.set_function(lambda: 0 if self.problem() else 1)
        threads = [threading.Thread(target=self._guarded, args=(self.watcher.run, self.stopping), name="watch")]
        threads.append(threading.Thread(target=self._guarded, args=(self.vacuum,), name="vacuum"))
        threads += [
            threading.Thread(target=self._guarded, args=(self.apply_work, number), name=f"write-{number}")
            for number in range(self.settings.parallel_tables)
        ]
        for thread in threads:
            thread.start()
        watcher = self.watcher
        monitor = DriftMonitor(self.settings.drift, watcher.lake, watcher.is_table, watcher.name_of)
        monitor.start()
        self._guarded(self._read)
        monitor.stop()
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
            self.work.stop()

    # Reading

    def _read(self) -> None:
        while not self.stopping.is_set():
            for name, records in self._reader.read().items():
                self.dispatch(name, records)
            for name in self._reader.lost():
                self.watcher.reread(name)

    def dispatch(self, name: str, records: list[Record]) -> None:
        """Take the records that were read of a topic."""
        if name in self._control_topics:
            self._take_control(self._control_topics[name], records)
            return
        with self.work.changed:
            topic = self.work.topics.get(name)
            if topic is None or topic.failed_at is not None or self._reader.is_restarted(name):
                return
            self.work.add(topic, records)

    def _take_control(self, source: Source, records: list[Record]) -> None:
        """Take note of DDL and of snapshots; tables whose rows are gone lose them."""
        changes: list[TableChange] = []
        for record in records:
            try:
                changes += table_changes(record, source.reserved_pattern)
            except MalformedError as error:
                log.error("Offset %d of %s says nothing about tables: %s", record.offset, record.topic, error)
                metrics.ERRORS.labels("").inc()
        with self.work.changed:
            for name in self._control.take(source, changes):
                topic = self.work.topics.get(name)
                if topic is not None:
                    self.work.act(topic, self.watcher.discard_older)
        last = records[-1]
        metrics.APPLIED_OFFSET.labels(last.topic, str(last.partition)).set(last.offset + 1)

    # Writing

    def apply_work(self, number: int) -> None:
        """Apply what waits for tables, one at a time, until the sink stops."""
        while True:
            with self.work.changed:
                topic = self.work.next(number)
                if topic is None:
                    return
                actions = list(topic.actions)
                topic.actions.clear()
                records = self.work.take(topic)
                topic.running = True
            rest = 0.0
            try:
                for action in actions:
                    action(topic.applier)
                if records:
                    rest = self._apply(topic, records)
                with self.work.changed:
                    if records:
                        topic.failures = 0
            except Exception as error:
                self._failed(topic, error)
            finally:
                with self.work.changed:
                    topic.running = False
                    topic.rests_until = time.monotonic() + rest if rest > _SHORTEST_REST else 0.0
                    self.work.enqueue(topic)
                    self.work.changed.notify_all()

    def _apply(self, topic: Topic, records: list[Record]) -> float:
        """Apply records; return how many seconds the table should rest afterwards."""
        applier = topic.applier
        version = applier.writer.version()
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for partition, part in sorted(by_partition.items()):
            if applier.sequencer.continuity.has_gap(partition, part):
                # Whether Kafka lost them shows where it begins by now.
                first = self._admin.first_offsets({applier.topic: topic.partitions})
                applier.sequencer.log_starts(first.get(applier.topic, {}))
            applier.apply(partition, part)
        if applier.topic == self._canary.topic and applier.sequencer.state is not None:
            self._canary.look(applier.sequencer.state.ts_ms)
        if applier.writer.version() == version:
            return 0.0
        left = applier.writer.obsolete_bytes()
        return self._pacing.spend(left + applier.writer.maintain())

    def _failed(self, topic: Topic, error: Exception) -> None:
        name = topic.applier.name
        log.exception("%s could not be written", name)
        metrics.ERRORS.labels(name).inc()
        with self.work.changed:
            topic.failures += 1
            if topic.failures >= _FAILURES:
                log.error("%s: %d commits failed in a row, the last one with %.300r", name, topic.failures, error)
                metrics.TABLE_STOPPED.labels(name).set(1)
            # At once for the first time, after a rest for the others.
            self.work.give_up(topic, at_once=topic.failures == 1)

    # Former versions

    def vacuum(self) -> None:
        """Remove files of versions past their retention, table by table, until the sink stops."""
        while not self.stopping.wait(self.settings.watch_seconds):
            with self.work.changed:
                writers = [(topic.applier.name, topic.applier.writer) for topic in self.work.topics.values()]
            for name, writer in writers:
                if writer.vacuum_is_due() and not self.stopping.is_set():
                    try:
                        writer.vacuum()
                    except Exception:
                        # The next one comes. What fails for long shows on the disk, and as an error rate.
                        log.exception("%s: files of former versions could not be removed", name)
                        metrics.ERRORS.labels(name).inc()
