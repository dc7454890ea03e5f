"""Kafka's admin and producer clients, those of the driver's own JVM: no second client library in the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession


def client_properties(bootstrap_servers: str) -> dict[str, str]:
    """Return what all clients of the sink have in common.

    A client asks for the offsets of a topic that was deleted a moment ago until its time is up, a minute by default,
    and all tables would wait as long.
    """
    return {
        "bootstrap.servers": bootstrap_servers,
        "default.api.timeout.ms": "10000",
        "request.timeout.ms": "10000",
    }


class Admin:
    """Topics with their ids and offsets."""

    def __init__(self, spark: SparkSession, bootstrap_servers: str) -> None:
        self._jvm: Any = spark._jvm
        properties = self._jvm.java.util.Properties()
        for name, value in client_properties(bootstrap_servers).items():
            properties.put(name, value)
        properties.put("client.id", "delta-sink-admin")
        self._client = self._jvm.org.apache.kafka.clients.admin.AdminClient.create(properties)
        self._partitions: dict[str, list[int]] = {}

    def topics(self) -> dict[str, str]:
        """Return name and id of all topics; a topic that is deleted and made anew has another id."""
        return {
            one.name(): str(one.topicId().toString()) for one in self._client.listTopics().listings().get().toArray()
        }

    def forget_partitions(self) -> None:
        """Ask anew which partitions topics have: some may have been added."""
        self._partitions = {}

    def offsets(self, topics: Iterable[str], *, latest: bool) -> dict[str, dict[int, int]]:
        """Return for each topic its partitions with the first offset, or with the one that comes next."""
        names = list(topics)
        if not names:
            return {}
        unknown = [name for name in names if name not in self._partitions]
        asked_for = self._jvm.java.util.ArrayList()
        for name in unknown:
            asked_for.add(name)
        if unknown:
            described = self._client.describeTopics(asked_for).topicNameValues()
            for name in unknown:
                try:
                    self._partitions[name] = [one.partition() for one in described[name].get().partitions()]
                except Py4JJavaError:
                    # The topic was deleted meanwhile.
                    self._partitions.pop(name, None)
        admin = self._jvm.org.apache.kafka.clients.admin
        spec = admin.OffsetSpec.latest() if latest else admin.OffsetSpec.earliest()
        asked = self._jvm.java.util.HashMap()
        for name in names:
            for partition in self._partitions.get(name, []):
                asked.put(self._jvm.org.apache.kafka.common.TopicPartition(name, partition), spec)
        answer = self._client.listOffsets(asked)
        found: dict[str, dict[int, int]] = {name: {} for name in names}
        for key in asked.keySet():
            try:
                found[key.topic()][key.partition()] = answer.partitionResult(key).get().offset()
            except Py4JJavaError:
                # The topic was deleted meanwhile.
                self._partitions.pop(key.topic(), None)
        return found

    def create(self, topic: str) -> None:
        """Create a topic of one partition unless it exists."""
        if topic in self.topics():
            return
        java = self._jvm.java.util
        new = self._jvm.org.apache.kafka.clients.admin.NewTopic(topic, java.Optional.of(1), java.Optional.empty())
        self._client.createTopics(java.Collections.singletonList(new)).all().get()


class Producer:
    """Writes records."""

    def __init__(self, spark: SparkSession, bootstrap_servers: str) -> None:
        self._jvm: Any = spark._jvm
        properties = self._jvm.java.util.Properties()
        properties.put("bootstrap.servers", bootstrap_servers)
        serializer = "org.apache.kafka.common.serialization.ByteArraySerializer"
        properties.put("key.serializer", serializer)
        properties.put("value.serializer", serializer)
        self._producer = self._jvm.org.apache.kafka.clients.producer.KafkaProducer(properties)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Write one record and wait until Kafka has it."""
        record = self._jvm.org.apache.kafka.clients.producer.ProducerRecord(topic, key, value)
        self._producer.send(record).get()
