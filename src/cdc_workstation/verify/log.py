"""The change log in Kafka: where topics end, and which keys have changes between two offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cdc_workstation.verify.databases import NotComparableError

# Partition to the offset that comes next.
Ends = dict[int, int]
_TIMEOUT = 10.0
# Records between two offsets that are looked at; where there are more, all keys count as changed.
_RECORDS = 200_000


class ChangeLog:
    """The topics of captured tables.

    Args:
        servers: Kafka's bootstrap servers.
    """

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._idle: Consumer | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def topics(self) -> set[str]:
        """Return the names of all topics.

        Raises:
            NotComparableError: Kafka does not answer.
        """
        with self._consumer() as consumer:
            return set(consumer.list_topics(timeout=_TIMEOUT).topics)

    def ends(self, topics: Iterable[str]) -> dict[str, Ends]:
        """Return where topics end now; nothing for a topic that does not exist.

        Raises:
            NotComparableError: Kafka does not answer.
        """
        with self._consumer() as consumer:
            known = consumer.list_topics(timeout=_TIMEOUT).topics
            found: dict[str, Ends] = {}
            for topic in topics:
                # Named, because a question about an unknown topic would have the broker create it.
                partitions = known[topic].partitions if topic in known else {}
                found[topic] = {
                    partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)[1]
                    for partition in partitions
                }
            return found

    def records(self, topic: str, first: Ends, end: Ends) -> Iterator[tuple[bytes | None, bytes | None]] | None:
        """Return key and value of the records from `first` up to `end`; `None` if they are too many to look at.

        Raises:
            NotComparableError: Kafka does not answer.
        """
        spans = {
            partition: (first.get(partition, 0), last)
            for partition, last in end.items()
            if last > first.get(partition, 0)
        }
        if sum(last - begin for begin, last in spans.values()) > _RECORDS:
            return None
        return self._read(topic, spans)

    def _read(self, topic: str, spans: dict[int, tuple[int, int]]) -> Iterator[tuple[bytes | None, bytes | None]]:
        if not spans:
            return
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, partition, begin) for partition, (begin, _) in spans.items()])
            open_ = set(spans)
            while open_:
                messages = consumer.consume(1000, timeout=_TIMEOUT)
                if not messages:
                    raise NotComparableError(
                        f"Kafka sends no records of {topic} for {_TIMEOUT:.0f} s: is it up (`make status`)?"
                    )
                for message in messages:
                    partition, last = message.partition(), spans[message.partition()][1]
                    if message.error() is not None or message.offset() >= last:
                        # The end, behind records that are no longer there.
                        open_.discard(partition)
                        continue
                    yield message.key(), message.value()
                    if message.offset() == last - 1:
                        open_.discard(partition)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        # One connection is enough for one question after another; a generator that still reads has its own.
        consumer, self._idle = self._idle, None
        consumer = consumer or Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": f"verify-{uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "log_level": 2,
            }
        )
        try:
            yield consumer
        except KafkaException as error:
            raise NotComparableError(
                f"Kafka at {self._servers} does not answer: {error}. Is it up (`make status`)?"
            ) from error
        finally:
            if self._idle is None:
                consumer.unassign()
                self._idle = consumer
            else:
                consumer.close()


def reached(applied: Ends, end: Ends) -> bool:
    """Tell whether everything before `end` is applied."""
    return all(applied.get(partition, 0) >= last for partition, last in end.items() if last > 0)
