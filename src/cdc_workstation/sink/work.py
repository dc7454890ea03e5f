"""The work that waits for tables, and which table's is next."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.reader import Reader

# A table that failed is opened again after so many seconds.
RETRY_SECONDS = 10.0
# Reading of one table rests while so much of it waits to be written, until so much is left: a partition that is resumed
# brings nothing for most of a second.
_PAUSE_BYTES = 48 * 1024 * 1024
_RESUME_BYTES = 32 * 1024 * 1024


@dataclass(eq=False)
class Topic:
    """A table with the work that waits for it. All but `applier` is guarded by the lock of `Work`."""

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


class Work:
    """All topics with what waits for them. Its methods are for who holds `changed`.

    Args:
        reader: paused while too much waits.
        max_waiting_bytes: records in memory, of all tables together, before reading rests.
        max_rows: records that are applied to a table at a time.
    """

    def __init__(self, reader: Reader, max_waiting_bytes: int, max_rows: int) -> None:
        self.changed = threading.Condition()
        self.topics: dict[str, Topic] = {}
        self.reader = reader
        self.waiting_bytes = 0
        self.stopping = False
        self._max_waiting_bytes = max_waiting_bytes
        self._max_rows = max_rows
        # Topics with work, the one that waited longest first.
        self._queue: dict[str, Topic] = {}

    def stop(self) -> None:
        """Wake all who wait: there will be no more work."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()

    def add(self, topic: Topic, records: list[Record]) -> None:
        """Take records for a table."""
        size = sum(len(record.value or b"") for record in records)
        topic.waiting.append(records)
        topic.waiting_bytes += size
        self.waiting_bytes += size
        if not topic.paused and (topic.waiting_bytes > _PAUSE_BYTES or self.waiting_bytes > self._max_waiting_bytes):
            topic.paused = True
            self.reader.pause(topic.applier.topic, paused=True)
        self.enqueue(topic)

    def act(self, topic: Topic, action: Callable[[Applier], None]) -> None:
        """Have a worker do something with a table, unless it is to be opened again first."""
        if topic.failed_at is None:
            topic.actions.append(action)
            self.enqueue(topic)

    def enqueue(self, topic: Topic) -> None:
        """Let a worker take a topic, if it has work."""
        if topic.has_work:
            self._queue.setdefault(topic.applier.topic, topic)
            self.changed.notify_all()

    def next(self, number: int) -> Topic | None:
        """Wait for a topic with work and take it; `None` if the sink stops.

        One worker takes the topic that waited longest. The others prefer tables that are there already: their changes
        should not wait for hundreds of new tables.
        """
        while not self.stopping:
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

    def take(self, topic: Topic) -> list[Record]:
        """Take what fits in one commit out of what waits."""
        records: list[Record] = []
        while topic.waiting and (not records or len(records) + len(topic.waiting[0]) <= self._max_rows):
            records += topic.waiting.popleft()
        size = sum(len(record.value or b"") for record in records)
        topic.waiting_bytes -= size
        self.waiting_bytes -= size
        if topic.paused and topic.waiting_bytes < _RESUME_BYTES:
            topic.paused = False
            self.reader.pause(topic.applier.topic, paused=False)
        return records

    def give_up(self, topic: Topic, *, at_once: bool) -> None:
        """Drop what waits for a table: it is read again after the table was opened again, at once or after a rest."""
        topic.failed_at = time.monotonic() - (RETRY_SECONDS if at_once else 0.0)
        topic.opening = False
        topic.waiting.clear()
        topic.actions.clear()
        self.waiting_bytes -= topic.waiting_bytes
        topic.waiting_bytes = 0
        self._queue.pop(topic.applier.topic, None)
        self.reader.stop(topic.applier.topic)
        self.changed.notify_all()
