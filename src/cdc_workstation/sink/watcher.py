"""Watches topics come and go, and what their tables lack: opens, forgets, reports, and asks for snapshots."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaException

from cdc_workstation.sink import metrics
from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.canary import Canary
from cdc_workstation.sink.control import Control
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.drift import DRIFT_ROWS, LakeCount
from cdc_workstation.sink.events import Position
from cdc_workstation.sink.pacing import Pacing
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.topics import Topics
from cdc_workstation.sink.work import RETRY_SECONDS, Topic, Work
from cdc_workstation.sink.writers import writer_of

log = logging.getLogger(__name__)

# After so long without an answer of Kafka's, all is read with new connections.
_OUTAGE_SECONDS = 20.0
# The consumer group in which lag tools see the sink.
_GROUP = "delta-sink"


class Watcher:
    """Looks after topics and tables from a thread of its own.

    Args:
        settings: the sink's settings.
        work: what waits for tables.
        topics: asks the broker.
        canary: its row is sent at the start.
        control: what the control topics have told; guarded by the lock of `work`.
        pacing: where maintenance is accounted for.
    """

    def __init__(
        self,
        settings: SinkSettings,
        work: Work,
        topics: Topics,
        canary: Canary,
        control: Control,
        pacing: Pacing,
    ) -> None:
        self._settings = settings
        self._work = work
        self._admin = topics
        self._canary = canary
        self._control = control
        self._pacing = pacing
        self._pattern = re.compile(rf"(?:{settings.topics})|{re.escape(settings.canary_topic)}")
        self._dead_letters = DeadLetters(settings.dead_letters)
        self._sources = {source.connector: source for source in settings.sources}
        self._control_topics = {name for source in settings.sources for name in (source.changes, source.notifications)}
        self._reading_control: set[str] = set()
        self._told: dict[tuple[str, int], int] = {}

    def run(self, stopping: threading.Event) -> None:
        """Watch until the sink stops."""
        sent = False
        watched = 0.0
        answered = time.monotonic()
        while not stopping.is_set():
            try:
                if not sent:
                    self._canary.send()
                    sent = True
                self.discover()
                if time.monotonic() - answered > _OUTAGE_SECONDS:
                    self._start_over()
                answered = time.monotonic()
                if self._settings.resnapshot:
                    self._request_snapshots()
                if time.monotonic() - watched > self._settings.watch_seconds:
                    watched = time.monotonic()
                    self.look_after()
            except (KafkaException, TimeoutError) as error:
                log.warning("Kafka does not answer: %s", error)
                metrics.ERRORS.labels("").inc()
                self._admin.reconnect()
            stopping.wait(self._settings.discovery_seconds)

    def _start_over(self) -> None:
        """Read all topics again from where their tables are.

        While the broker was away the reader may have forgotten it for good (librdkafka#5301), without a word.
        """
        log.warning("Kafka answers again: all topics are read on from where their tables are")
        self._work.reader.reconnect()
        self._reading_control.clear()
        with self._work.changed:
            for topic in self._work.topics.values():
                if topic.failed_at is None:
                    self._work.give_up(topic, at_once=True)

    def discover(self) -> None:
        """Take up topics that are new, let go of those that are gone, and open again those that failed."""
        partitions_of_all = self._admin.partitions()
        partitions = {
            name: numbers
            for name, numbers in partitions_of_all.items()
            if self._pattern.fullmatch(name) and name not in self._control_topics
        }
        self._forget(self._work.topics.keys() - partitions.keys())
        now = time.monotonic()
        with self._work.changed:
            to_open = [
                name for name in partitions if self._is_to_open(self._work.topics.get(name), partitions[name], now)
            ]
        self._read_control(partitions_of_all)
        if to_open:
            self._open({name: partitions[name] for name in to_open})

    def is_table(self, name: str) -> bool:
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
                self._work.reader.start(name, first)

    def _is_to_open(self, topic: Topic | None, partitions: list[int], now: float) -> bool:
        if topic is None:
            return True
        if topic.running or topic.opening:
            return False
        if topic.failed_at is not None:
            return now - topic.failed_at >= RETRY_SECONDS
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
            with self._work.changed:
                topic = self._work.topics.get(name)
                if topic is None:
                    location = self._settings.location_of(name)
                    writer = writer_of(self._settings, location)
                    topic = Topic(Applier(self._settings, name, writer, self._dead_letters), partitions[name])
                    self._work.topics[name] = topic
                topic.partitions = partitions[name]
                topic.opening = True
                topic.actions.clear()
                topic.actions.append(partial(self._open_table, topic, ids[name], first[name]))
                self._work.enqueue(topic)

    def discard_older(self, applier: Applier) -> None:
        """Delete the rows of which the control topics have told that they are gone."""
        with self._work.changed:
            emptied = self._control.emptied.get(applier.topic)
        if emptied is not None:
            applier.begins_empty(emptied.position, emptied.at_ms)

    def reread(self, name: str) -> None:
        """Open a topic again that the broker no longer has as it was read; a control topic from its beginning."""
        self._reading_control.discard(name)
        with self._work.changed:
            topic = self._work.topics.get(name)
            if topic is not None and topic.failed_at is None:
                # Deleted, recreated, or behind what Kafka keeps: opening it again tells.
                self._work.give_up(topic, at_once=True)

    def _open_table(self, topic: Topic, topic_id: str, first: dict[int, int], applier: Applier) -> None:
        applier.writer.forget()
        offsets = applier.open(topic_id, first)
        self.discard_older(applier)
        lost = applier.sequencer.continuity.lost()
        if lost is not None:
            applier.stop(lost)
        with self._work.changed:
            topic.opening = False
            topic.failed_at = None
            topic.paused = False
            self._work.reader.start(applier.topic, offsets)

    def look_after(self) -> None:
        """Compare topics with what is read: recreated ones, lost records, lag; and tables that somebody repaired."""
        with self._work.changed:
            topics = {
                name: topic
                for name, topic in self._work.topics.items()
                if topic.failed_at is None and not topic.opening
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
                    with self._work.changed:
                        self._work.give_up(topic, at_once=True)
                else:
                    # A producer that still asks for a deleted topic has the broker create it: nothing to read so far.
                    self._forget([name])
                continue
            self._check_log_start(topic, first.get(name, {}))
            lag = sum(max(end - applier.applied.get(partition, 0), 0) for partition, end in ends.get(name, {}).items())
            applier.show_lag(lag)
            with self._work.changed:
                idle = not topic.running and not topic.has_work
            if idle and applier.stopped is not None and applier.was_repaired():
                log.info("%s changed since it stopped: trying again", applier.name)
                with self._work.changed:
                    self._work.give_up(topic, at_once=True)
            elif idle and applier.writer.maintenance_is_due():
                with self._work.changed:
                    self._work.act(topic, self._maintain)
            elif idle and not lag and applier.progress_is_due():
                with self._work.changed:
                    self._work.act(topic, Applier.record_progress)
        self._tell_progress()

    def _request_snapshots(self) -> None:
        """Ask the connectors for snapshots of tables whose rows DDL changed without change events."""
        with self._work.changed:
            for name, topic in self._work.topics.items():
                stopped, sequencer = topic.applier.stopped, topic.applier.sequencer
                source = self._sources.get(sequencer.connector)
                if stopped is None:
                    self._control.runs(name)
                elif sequencer.waits_for_snapshot and source is not None and self.is_table(name):
                    self._control.stopped(source, name, sequencer.collection, str(stopped))
            due = self._control.due(time.monotonic(), self._reflected)
            due = [request for request in due if self.is_table(request.topic)]
            metrics.show_requests(
                {
                    self.name_of(one): request.attempts
                    for one, request in (self._control.stops | self._control.requests).items()
                },
                [self.name_of(one) for one in self._control.not_captured],
            )
        for request in due:
            log.warning("%s: %s; asking for a snapshot", request.collection, request.detail)
            self._admin.send(request.source.signals, *request.message())

    def name_of(self, topic: str) -> str:
        """Return what metrics call the table of a topic."""
        return self._settings.location_of(topic).name

    def _reflected(self, name: str) -> Position | None:
        topic = self._work.topics.get(name)
        return topic.applier.sequencer.reflected if topic is not None else None

    def _check_log_start(self, topic: Topic, first: dict[int, int]) -> None:
        """Stop a table whose topic has lost records that were never read: an idle one shows no gap."""
        applier = topic.applier

        def check(one: Applier) -> None:
            one.sequencer.log_starts(first)
            lost = one.sequencer.continuity.lost()
            if lost is not None and one.stopped is None:
                one.stop(lost)

        with self._work.changed:
            # Records that wait were read before Kafka lost them.
            behind = any(start > applier.applied.get(partition, 0) for partition, start in first.items())
            if behind and not topic.waiting and not topic.running and applier.stopped is None:
                self._work.act(topic, check)

    def _maintain(self, applier: Applier) -> None:
        self._pacing.spend(applier.writer.maintain())

    def lake(self) -> dict[str, LakeCount]:
        """Return what is known of each table, for the comparison of row counts."""
        with self._work.changed:
            topics = dict(self._work.topics)
            # One that is not open, or is about to be read again, says nothing yet.
            waits = {
                name
                for name, topic in topics.items()
                if topic.running or topic.waiting or topic.opening or topic.failed_at is not None
            }
        found = {}
        for name, topic in topics.items():
            applier = topic.applier
            state = applier.sequencer.state
            rows = applier.writer.count() if name not in waits and applier.writer.version() >= 0 else None
            waiting = applier.lag or int(name in waits)
            found[name] = LakeCount(applier.name, rows, waiting, state is None or state.keyed is not False)
        return found

    def _forget(self, names: Iterable[str]) -> None:
        """Let go of topics that were deleted; their tables stay as they are."""
        for name in list(names):
            with self._work.changed:
                topic = self._work.topics.get(name)
                if topic is None or topic.running:
                    continue
                self._work.give_up(topic, at_once=False)
                del self._work.topics[name]
            log.info("%s was deleted: %s is no longer written", name, topic.applier.location)
            metrics.forget(topic.applier.name, name)
            with suppress(KeyError):
                DRIFT_ROWS.remove(topic.applier.name)

    def _tell_progress(self) -> None:
        applied = {
            (name, partition): offset
            for name, topic in list(self._work.topics.items())
            for partition, offset in list(topic.applier.applied.items())
        }
        changed = {one: offset for one, offset in applied.items() if self._told.get(one) != offset}
        self._admin.tell_progress(_GROUP, changed)
        self._told = applied
