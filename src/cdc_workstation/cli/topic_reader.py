"""Reads the topic of one captured table from Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NoReturn, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from cdc_workstation.cli.captured import CapturedTopic, find, needed, registered
from cdc_workstation.cli.outcome import CliError
from cdc_workstation.settings import Settings
from cdc_workstation.sink.events import Record

_POLL_SECONDS = 0.2
_TIMEOUT = 10.0


class TopicReader:
    """A consumer of a captured table's topic; a context manager.

    Args:
        settings: where the services are.
        table: the table, as a person types it.

    Raises:
        CliError: (all methods) no table has this name, or a service does not answer.
    """

    def __init__(self, settings: Settings, table: str) -> None:
        self._servers = needed("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
        known = registered(settings)
        self._consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": "cdc-workstation-tail",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "log_level": 0,
            }
        )
        try:
            topics = self._consumer.list_topics(timeout=_TIMEOUT).topics
        except KafkaException:
            self._fail()
        self.found: CapturedTopic = find(table, known, set(topics))
        self._partitions = sorted(topics[self.found.topic].partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def records(self, last: int | None, *, follow: bool) -> Iterator[Record]:
        """Yield records.

        Args:
            last: begin this many records before the end; `None` begins with the oldest.
            follow: wait for more records at the end, for ever.
        """
        starts = []
        for partition in self._partitions:
            place = TopicPartition(self.found.topic, partition)
            low, high = self._consumer.get_watermark_offsets(place, timeout=_TIMEOUT)
            first = low if last is None else max(low, high - last)
            starts.append(TopicPartition(self.found.topic, partition, first))
        self._consumer.assign(starts)
        before_end = set(self._partitions)
        heard = time.monotonic()
        while follow or before_end:
            message = self._consumer.poll(_POLL_SECONDS)
            error = message.error() if message is not None else None
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                before_end.discard(message.partition())
            elif message is not None and error is None:
                heard = time.monotonic()
                yield Record(
                    self.found.topic,
                    message.partition(),
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                )
            elif before_end and time.monotonic() - heard > _TIMEOUT:
                self._fail()

    def _fail(self) -> NoReturn:
        raise CliError(f"Kafka at {self._servers} does not answer. `cdc-workstation status` shows what runs.")
