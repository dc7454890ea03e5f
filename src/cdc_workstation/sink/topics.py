"""Kafka's topics as the sink sees them: ids, partitions, first and next offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

_TIMEOUT = 10.0
_URL_SAFE = str.maketrans("+/", "-_", "=")
Offsets = dict[str, dict[int, int]]


class Topics:
    """Asks the broker.

    Args:
        bootstrap_servers: the brokers.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self.reconnect()

    def reconnect(self) -> None:
        """Begin with new connections: the library can forget all brokers for good (librdkafka#5301)."""
        self._producer = Producer(
            {"bootstrap.servers": self._bootstrap_servers, "client.id": "delta-sink-producer", "log_level": 3}
        )
        self._client = AdminClient(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "client.id": "delta-sink-admin",
                "log_level": 3,
                # A broker that comes back is found at once.
                "reconnect.backoff.max.ms": 1000,
            }
        )

    def partitions(self) -> dict[str, list[int]]:
        """Return the topics' names, each with its partitions."""
        metadata = self._client.list_topics(timeout=_TIMEOUT)
        return {name: sorted(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return the topics' ids; a recreated topic has another one. Topics that are gone are left out."""
        wanted = list(names)
        if not wanted:
            return {}
        found = {}
        described = self._client.describe_topics(TopicCollection(wanted), request_timeout=_TIMEOUT)
        for name, description in described.items():
            topic = _result(description)
            if topic is not None:
                # As Kafka's own tools write it, and the sink's commits of all times.
                found[name] = str(topic.topic_id).translate(_URL_SAFE)
        return found

    def first_offsets(self, partitions: dict[str, list[int]]) -> Offsets:
        """Return the first offset that Kafka still has of each partition; partitions that are gone are left out."""
        return self._offsets(partitions, OffsetSpec.earliest())

    def next_offsets(self, partitions: dict[str, list[int]]) -> Offsets:
        """Return the offset that comes next in each partition; partitions that are gone are left out."""
        return self._offsets(partitions, OffsetSpec.latest())

    def _offsets(self, partitions: dict[str, list[int]], spec: OffsetSpec) -> Offsets:
        asked = {TopicPartition(name, one): spec for name, numbers in partitions.items() for one in numbers}
        if not asked:
            return {}
        answers = self._client.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT
        )
        found: Offsets = {}
        for partition, answer in answers.items():
            result = _result(answer)
            if result is not None:
                found.setdefault(partition.topic, {})[partition.partition] = result.offset
        return found

    def tell_progress(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Note in a consumer group how far the tables are: for people's tools, the sink itself never asks.

        Args:
            group: the group's name.
            offsets: topic and partition to the offset that comes next.
        """
        if offsets:
            partitions = [TopicPartition(topic, one, offset) for (topic, one), offset in offsets.items()]
            self._client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Write a record and wait until Kafka has it.

        Raises:
            TimeoutError: it did not take it in time.
        """
        self._producer.produce(topic, value, key)
        if self._producer.flush(_TIMEOUT):
            raise TimeoutError(f"Kafka did not take a record of {topic} within {_TIMEOUT:.0f} s")

    def create(self, name: str) -> None:
        """Create a topic of one partition unless it exists."""
        if name not in self.partitions():
            self._client.create_topics([NewTopic(name, 1, 1)])[name].result(_TIMEOUT)


def _result(answer: Future[Any]) -> Any:
    """Return what the broker answers about one topic, `None` if the topic is gone.

    Raises:
        KafkaException: the broker does not answer.
    """
    try:
        return answer.result(_TIMEOUT)
    except KafkaException as error:
        if error.args[0].retriable() and error.args[0].name() not in ("UNKNOWN_TOPIC_OR_PART", "LEADER_NOT_AVAILABLE"):
            raise
        return None
