"""Kafka: the change events of a table, topics, and the connectors that produce them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from cdc_workstation.clients.connect import ConnectClient, ConnectorFailedError

# pytest's tracebacks end in the test.
__tracebackhide__ = True

TOPIC_PREFIX = "debezium"
# How the class of a database's connector ends.
CONNECTOR_CLASSES = {"mysql": "MySqlConnector", "postgres": "PostgresConnector"}

# How long a fixture waits for a broker before it counts as absent, and how long one look at the broker may take.
_BROKER_TIMEOUT = 10.0
_POLL_TIMEOUT = 0.1
# How often a wait for an event asks whether one can still come.
_OBSTACLE_INTERVAL = 2.0
# How many messages of a partition are looked at to find its last event.
_LAST = 3

# Tables that fixtures and benchmarks make are named `t_`, `cdc_` or `bench_` and twelve digits.
_TEST_TOPIC = re.compile(r"^[^.]+\.[^.]+\.(t|cdc|bench)_[0-9a-f]{12}$")
_STALE_SECONDS = 600


@dataclass(frozen=True)
class ChangeEvent:
    """One message of a Debezium topic (https://debezium.io/documentation/reference/stable/connectors/mysql.html).

    A *tombstone* has a key and nothing else; it follows the event of a delete, for log compaction.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    """When the message was written to Kafka."""
    key: dict[str, Any] | None
    """The row's primary key."""
    op: str | None
    """`c` insert, `u` update, `d` delete, `r` read by a snapshot, `t` truncate; `None` for a tombstone."""
    before: dict[str, Any] | None
    """The row before the change."""
    after: dict[str, Any] | None
    """The row after the change."""
    source: dict[str, Any] = field(repr=False)
    """Where the change comes from: table, binlog file and position, GTID, commit time (`ts_ms`) and more."""
    schema: dict[str, Any] | None = field(repr=False)
    """Kafka Connect's schema of the message, where the converter sends it."""

    @property
    def is_tombstone(self) -> bool:
        """Whether this message has no value."""
        return self.op is None

    @property
    def row(self) -> dict[str, Any]:
        """The row as it is after the change, or as it was before a delete."""
        return self.after or self.before or {}

    def field_type(self, column: str) -> str:
        """Return the type of a column of the row: its logical name where it has one, else the plain type.

        Raises:
            LookupError: the message carries no schema, or there is no such column.
        """
        for part in (self.schema or {}).get("fields", []):
            if part["field"] == "after":
                for entry in part["fields"]:
                    if entry["field"] == column:
                        return str(entry.get("name", entry["type"]))
        raise LookupError(column)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Parse a message of Kafka Connect's JSON converter, with or without schemas.

        Numbers with a fraction become `Decimal`: the converter writes DECIMAL columns as numbers, and a float would
        lose digits.
        """
        key, _ = _payload(message.key())
        value, schema = _payload(message.value())
        value = value or {}
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp=datetime.fromtimestamp(message.timestamp()[1] / 1000, tz=UTC),
            key=key,
            op=value.get("op"),
            before=value.get("before"),
            after=value.get("after"),
            source=value.get("source") or {},
            schema=schema,
        )


def _payload(raw: bytes | str | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return payload and schema of a JSON message; both `None` where there is none."""
    if raw is None:
        return None, None
    document = json.loads(raw, parse_float=Decimal)
    if isinstance(document, dict) and document.keys() == {"schema", "payload"}:
        return document["payload"], document["schema"]
    return document, None


class ChangeEvents:
    """The change events of one topic, from a known offset on.

    It starts at the end that the topic had when this object was made, so that events of other tests before are not
    seen; a topic that did not exist then is read from its first message.

    Args:
        bootstrap_servers: the brokers.
        topic: the topic; it may come into being later.
        from_beginning: start with the first message instead of the next one.
        obstacle: says why no event can come, or returns an empty text. Waits ask it every two seconds, and end with a
            `ConnectorFailedError` once it says something.

    Raises:
        confluent_kafka.KafkaException: (all methods) the broker cannot be reached.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        from_beginning: bool = False,
        obstacle: Callable[[], str] | None = None,
    ) -> None:
        self._obstacle = obstacle
        # No group: the position is this object's own, and nothing waits for a coordinator.
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"change-events-{uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "topic.metadata.refresh.interval.ms": -1,
                "log_level": 2,
            }
        )
        self.follow(topic, from_beginning=from_beginning)

    def follow(self, topic: str, *, from_beginning: bool = False) -> None:
        """Read another topic from now on: that costs less than another consumer."""
        self.topic = topic
        self._assigned = False
        partitions = self._partitions()
        if partitions:
            self._assign(
                [
                    TopicPartition(
                        topic,
                        partition,
                        OFFSET_BEGINNING if from_beginning else self._end(partition),
                    )
                    for partition in partitions
                ]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._consumer.close()

    def take(
        self,
        count: int,
        *,
        timeout: float = 60.0,
        where: Callable[[ChangeEvent], bool] | None = None,
    ) -> list[ChangeEvent]:
        """Return the next `count` events, of those for which `where` holds; the others are dropped.

        Raises:
            ConnectorFailedError: none can come.
            TimeoutError: fewer came within `timeout` seconds; the message lists those that did.
        """
        events: list[ChangeEvent] = []
        wait = self._wait(timeout)
        while len(events) < count:
            if not next(wait):
                raise TimeoutError(f"{self.topic}: {len(events)} of {count} events within {timeout:.0f} s: {events}")
            event = self._poll()
            if event is not None and (where is None or where(event)):
                events.append(event)
        return events

    def next(self, *, timeout: float = 60.0, where: Callable[[ChangeEvent], bool] | None = None) -> ChangeEvent:
        """Return the next event (for which `where` holds); as `take`."""
        return self.take(1, timeout=timeout, where=where)[0]

    def take_until(self, last: Callable[[ChangeEvent], bool], *, timeout: float = 60.0) -> list[ChangeEvent]:
        """Return all events up to and including the first for which `last` holds.

        To show that nothing else came: make a marker change afterwards, and read until it.

        Raises:
            ConnectorFailedError: none can come.
            TimeoutError: it did not come within `timeout` seconds.
        """
        events: list[ChangeEvent] = []
        wait = self._wait(timeout)
        while not events or not last(events[-1]):
            if not next(wait):
                raise TimeoutError(f"{self.topic}: the last event is missing after {timeout:.0f} s: {events}")
            event = self._poll()
            if event is not None:
                events.append(event)
        return events

    def last(self, *, timeout: float = _BROKER_TIMEOUT) -> ChangeEvent | None:
        """Return the last event that is no tombstone, of those of the last few messages of each partition.

        The position is moved to the topic's end. `None` where there is no such event, or it does not come in time.
        """
        events = self.backlog(_LAST, timeout=timeout)
        return max(
            (event for event in events if not event.is_tombstone), key=lambda event: event.timestamp, default=None
        )

    def exists(self) -> bool:
        """Tell whether there is such a topic."""
        return bool(self._partitions())

    def backlog(self, limit: int, *, timeout: float = _BROKER_TIMEOUT) -> list[ChangeEvent]:
        """Return the last `limit` messages of each partition, oldest first, as far as they come in time.

        The position is moved to the topic's end.
        """
        starts = []
        missing = 0
        for partition in self._partitions():
            place = TopicPartition(self.topic, partition)
            low, high = self._consumer.get_watermark_offsets(place, timeout=timeout, cached=False)
            if high > low:
                starts.append(TopicPartition(self.topic, partition, max(low, high - limit)))
                missing += high - starts[-1].offset
        if not starts:
            return []
        self._assign(starts)
        events: list[ChangeEvent] = []
        deadline = time.monotonic() + timeout
        while missing and time.monotonic() < deadline:
            event = self._poll()
            if event is not None:
                missing -= 1
                events.append(event)
        return sorted(events, key=lambda event: event.timestamp)

    def _wait(self, timeout: float) -> Iterator[bool]:
        """Yield whether there is time left; ask now and then for an obstacle."""
        deadline = time.monotonic() + timeout
        asked = time.monotonic()
        while True:
            now = time.monotonic()
            if self._obstacle and now - asked >= _OBSTACLE_INTERVAL:
                asked = now
                if problem := self._obstacle():
                    raise ConnectorFailedError(f"{self.topic} gets no events: {problem}")
            yield now < deadline

    def _poll(self) -> ChangeEvent | None:
        if not self._assigned:
            partitions = self._partitions()
            if not partitions:
                # The broker answers at once; give the connector time to create it.
                time.sleep(_POLL_TIMEOUT)
                return None
            self._assign([TopicPartition(self.topic, partition, OFFSET_BEGINNING) for partition in partitions])
        message = self._consumer.poll(_POLL_TIMEOUT)
        if message is None:
            return None
        error = message.error()
        if error is None:
            return ChangeEvent.from_message(message)
        if error.retriable() or error.code() in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
            return None
        raise KafkaException(error)

    def _partitions(self) -> list[int]:
        """Return the topic's partitions, none while it does not exist."""
        found = self._consumer.list_topics(self.topic, timeout=_BROKER_TIMEOUT).topics[self.topic]
        if found.error is not None or not found.partitions:
            return []
        return list(found.partitions)

    def _end(self, partition: int) -> int:
        """Return the offset that the next message of a partition will have."""
        _, high = self._consumer.get_watermark_offsets(
            TopicPartition(self.topic, partition), timeout=_BROKER_TIMEOUT, cached=False
        )
        return int(high)

    def _assign(self, partitions: list[TopicPartition]) -> None:
        self._consumer.assign(partitions)
        self._assigned = True


def check_brokers(bootstrap_servers: str) -> None:
    """Ask the brokers for their metadata.

    Raises:
        confluent_kafka.KafkaException: none can be reached.
    """
    AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2}).list_topics(timeout=_BROKER_TIMEOUT)


def topic_of_table(
    bootstrap_servers: str, table: str, prefix: str, namespaces: Sequence[str], made: Collection[str] = ()
) -> str:
    """Return the topic of a table by its name alone.

    Args:
        bootstrap_servers: the brokers.
        table: the table's name.
        prefix: what topics begin with.
        namespaces: the databases or schemas that may have it, in the order of preference. The first one is taken where
            no topic of that name exists yet.
        made: the stack's own topics of tables that were made, and perhaps not changed yet. Another connector's topic of
            such a table has the same namespace.

    Raises:
        confluent_kafka.KafkaException: the broker cannot be reached.
    """
    topics = [f"{prefix}.{namespace}.{table}" for namespace in namespaces]
    known = [topic for topic, one in zip(topics, namespaces, strict=True) if f"{TOPIC_PREFIX}.{one}.{table}" in made]
    if not known:
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
        found = admin.list_topics(timeout=_BROKER_TIMEOUT).topics
        known = [topic for topic in topics if topic in found]
    return (known or topics)[0]


def delete_topics(bootstrap_servers: str, wanted: Callable[[str], bool]) -> None:
    """Delete the topics whose names are `wanted`.

    Raises:
        confluent_kafka.KafkaException: the broker cannot be reached.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    topics = [topic for topic in admin.list_topics(timeout=_BROKER_TIMEOUT).topics if wanted(topic)]
    for future in admin.delete_topics(topics).values() if topics else []:
        # What another worker deleted meanwhile is as wanted.
        future.exception(timeout=_BROKER_TIMEOUT)


def delete_stale_topics(bootstrap_servers: str, own: re.Pattern[str] = _TEST_TOPIC) -> None:
    """Delete the topics of tables that tests of earlier sessions made and dropped; `own` is what their names match.

    What was deleted at the end of its own session may be there again: a producer asks for the metadata of every topic
    that it wrote to within the last five minutes (`metadata.max.idle.ms`), and its question recreates the topic. So
    those go that are older than that.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    found = admin.list_topics(timeout=_BROKER_TIMEOUT).topics
    asked = {
        TopicPartition(name, partition): OffsetSpec.max_timestamp()
        for name, topic in found.items()
        if own.search(name)
        for partition in topic.partitions
    }
    if not asked:
        return
    limit = (time.time() - _STALE_SECONDS) * 1000
    recent = set()
    for partition, future in admin.list_offsets(asked).items():
        # A topic without a record may have been made this moment, or be one that a producer asked for: -1.
        if future.exception(timeout=_BROKER_TIMEOUT) is not None or future.result().timestamp > limit:
            recent.add(partition.topic)
    stale = {partition.topic for partition in asked} - recent
    delete_topics(bootstrap_servers, stale.__contains__)


def stack_connector(client: ConnectClient) -> str:
    """Return the name of the stack's MySQL connector.

    Raises:
        LookupError: none is registered.
    """
    return find_connector(client, CONNECTOR_CLASSES["mysql"])


def find_connector(client: ConnectClient, kind: str) -> str:
    """Return the name of the stack's connector whose class ends in `kind`.

    Raises:
        LookupError: none is registered.
    """
    for name, config in client.configs().items():
        if config["connector.class"].endswith(f".{kind}") and config.get("topic.prefix") == TOPIC_PREFIX:
            return name
    raise LookupError(f"no {kind} with the stack's topic prefix is registered; run `make up`")
