"""The reader: one Kafka consumer whose partitions are assigned by hand, paused, and read again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc_workstation.sink.events import Record

log = logging.getLogger(__name__)

# How many records one look takes at most, and how long it waits for a first one.
_RECORDS = 5000
_WAIT_SECONDS = 0.1
# How long an answer about new topics may keep the others waiting.
_LEADERS_SECONDS = 0.5
# A topic that is gone, or the part of it that was read: the topic is looked at again.
_LOST = frozenset(
    {
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)


class Reader:
    """Reads partitions from given offsets.

    `read` belongs to one thread; the others may be called from any. `read` carries out changes of the assignment,
    since the client library takes them only between two looks.

    Args:
        bootstrap_servers: the brokers.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer = self._connect()
        self._reconnecting = False
        self._lock = threading.Lock()
        self._wanted: dict[tuple[str, int], int | None] = {}
        """Partitions to read from an offset, or no longer (`None`)."""
        self._pausing: dict[tuple[str, int], bool] = {}
        self._assigned: set[tuple[str, int]] = set()
        self._lost: set[str] = set()

    def _connect(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                # The library wants one, though nothing is asked of the group.
                "group.id": "delta-sink-reader",
                "client.id": "delta-sink",
                "enable.auto.commit": False,
                # An offset that Kafka no longer has is a loss, and never skipped in silence.
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                # A record is handed over as soon as it is there. A partition that is added waits for the request under
                # way, so that is short.
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 100,
                "fetch.queue.backoff.ms": 20,
                "max.partition.fetch.bytes": 4 * 1024 * 1024,
                "fetch.max.bytes": 16 * 1024 * 1024,
                # What is read ahead, of all partitions together.
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 24 * 1024,
                # Topics come and go; who asks for one that is gone should be told at once.
                "topic.metadata.propagation.max.ms": 1000,
                "topic.metadata.refresh.interval.ms": 60_000,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 3,
            }
        )

    def reconnect(self) -> None:
        """Begin with new connections at the next `read`; what is to be read must be started again."""
        with self._lock:
            self._reconnecting = True

    def start(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read a topic from these offsets, from the next `read` on; also one that is read already."""
        with self._lock:
            for partition, offset in offsets.items():
                self._wanted[topic, partition] = offset
                self._pausing.pop((topic, partition), None)

    def stop(self, topic: str) -> None:
        """Read a topic no longer."""
        with self._lock:
            for name, partition in {*self._assigned, *self._wanted}:
                if name == topic:
                    self._wanted[name, partition] = None

    def pause(self, topic: str, *, paused: bool) -> None:
        """Rest, or go on, with a topic: what it brought waits to be written."""
        with self._lock:
            for name, partition in self._assigned:
                if name == topic:
                    self._pausing[name, partition] = paused

    def is_restarted(self, topic: str) -> bool:
        """Whether a topic was started again, or stopped, since the last `read`: what that brought is not wanted."""
        with self._lock:
            return any(name == topic for name, _ in self._wanted)

    def read(self) -> dict[str, list[Record]]:
        """Return the next records by topic, in the order of each partition; empty if none came in time."""
        self._carry_out()
        first = self._consumer.poll(_WAIT_SECONDS)
        if first is None:
            return {}
        found: dict[str, list[Record]] = {}
        for message in [first, *self._consumer.consume(_RECORDS, timeout=0)]:
            record = self._record(message)
            if record is not None:
                found.setdefault(record.topic, []).append(record)
        return found

    def lost(self) -> set[str]:
        """Return the topics that the broker no longer has as they were read, and forget them."""
        with self._lock:
            lost, self._lost = self._lost, set()
        return lost

    def close(self) -> None:
        """Give the connections up."""
        self._consumer.close()

    def _carry_out(self) -> None:
        with self._lock:
            reconnecting, self._reconnecting = self._reconnecting, False
            if reconnecting:
                self._assigned = set()
        if reconnecting:
            self._consumer.close()
            self._consumer = self._connect()
        with self._lock:
            wanted, self._wanted = self._wanted, {}
            pausing, self._pausing = self._pausing, {}
        gone = [one for one in wanted if one in self._assigned]
        if gone:
            self._consumer.incremental_unassign([TopicPartition(*one) for one in gone])
        new = {one: offset for one, offset in wanted.items() if offset is not None}
        if new:
            self._learn_leaders({topic for topic, _ in new})
            self._consumer.incremental_assign([TopicPartition(*one, offset) for one, offset in new.items()])
        with self._lock:
            self._assigned = (self._assigned - wanted.keys()) | new.keys()
        for paused, change in ((True, self._consumer.pause), (False, self._consumer.resume)):
            partitions = [
                TopicPartition(*one) for one, state in pausing.items() if state is paused and one in self._assigned
            ]
            if partitions:
                change(partitions)

    def _learn_leaders(self, topics: set[str]) -> None:
        """Ask who leads new topics: the client library would look only about twice a second."""
        if not self._assigned:
            # Nothing waits meanwhile, and the library is only just connecting.
            return
        with suppress(KafkaException):
            self._consumer.list_topics(topics.pop() if len(topics) == 1 else None, timeout=_LEADERS_SECONDS)

    def _record(self, message: Message) -> Record | None:
        error = message.error()
        if error is None:
            kind, moment = message.timestamp()
            return Record(
                message.topic(),
                message.partition(),
                message.offset(),
                0 if kind == TIMESTAMP_NOT_AVAILABLE else moment,
                message.key(),
                message.value(),
                tuple(message.headers() or ()),
            )
        if error.code() in _LOST and message.topic():
            with self._lock:
                self._lost.add(message.topic())
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.debug("%s: %s", message.topic(), error)
        return None
