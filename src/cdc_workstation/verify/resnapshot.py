"""Lets a connector read one table again, and waits until the sink has applied what it read.

Debezium takes such requests as signals from a Kafka topic, and tells by notifications what becomes of them
(https://debezium.io/documentation/reference/stable/configuration/signalling.html). Other tables wait while the table is
read, and lose nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import KafkaException, Producer

from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.log import reached
from cdc_workstation.verify.selection import chosen
from cdc_workstation.verify.stack import Stack
from cdc_workstation.verify.verify import CapturedTable, Verifier

TIMEOUT = 600.0
# A connector looks for signals twice a second, and between two transactions.
_TAKEN_SECONDS = 60.0
_INTERVAL = 0.2

Progress = Callable[[Literal["read", "apply"], int, int], None]
"""Called with the stage, the rows that it is through with, and how many it has; 0 if nobody knows that."""


class ResnapshotError(Exception):
    """The table cannot be read again; the text says why and what to do."""


def resnapshot(
    stack: Stack,
    table: CapturedTable,
    say: Callable[[str], None],
    deadline: float,
    progress: Progress = lambda stage, done, rows: None,
) -> None:
    """Have a table read again, and wait until the sink has applied it.

    Args:
        stack: the stack.
        table: the table.
        say: called with each step that is done.
        deadline: until when, as `time.monotonic` counts.
        progress: called again and again while rows are read and applied.

    Raises:
        ResnapshotError: the connector does not run, has no channel for signals, or does not take the snapshot in time.
    """
    connector = table.connector
    topic, notifications = channel(connector.config)
    problem = stack.connector_problem(connector)
    if problem:
        raise ResnapshotError(f"No snapshot can be taken: {problem}")
    ends = stack.log.ends([notifications, table.topic])
    before, first = ends[notifications], sum(ends[table.topic].values())
    send(stack.servers, topic, connector.prefix, signal(table.name))
    say(f"{connector.name} was asked to read {table.name} again")

    def read() -> None:
        progress("read", sum(stack.log.ends([table.topic])[table.topic].values()) - first, table.rows)

    rows = _wait_for_scan(stack, connector, table.name, notifications, before, deadline, read)
    say(f"it has read {rows:,} rows")
    _wait_until_applied(stack, table, deadline, lambda left: progress("apply", max(rows - left, 0), rows))
    say("they are in Delta")


def channel(config: Any) -> tuple[str, str]:
    """Return a connector's topics for signals and for notifications.

    Raises:
        ResnapshotError: it has none.
    """
    signals = config.get("signal.kafka.topic", "") if "kafka" in config.get("signal.enabled.channels", "") else ""
    answers = (
        config.get("notification.sink.topic.name", "")
        if "sink" in config.get("notification.enabled.channels", "")
        else ""
    )
    if not signals or not answers:
        raise ResnapshotError(
            f"Connector {config.get('name')} takes no signals from Kafka: give it signal.enabled.channels=kafka with "
            "signal.kafka.topic and signal.kafka.bootstrap.servers, and notification.enabled.channels=sink with "
            "notification.sink.topic.name, as the connectors of the role debezium have."
        )
    return signals, answers


def signal(table: TableName) -> dict[str, Any]:
    """Return the signal that asks for a snapshot of one table; it is named by a regular expression."""
    return {
        "id": str(uuid4()),
        "type": "execute-snapshot",
        "data": {"type": "blocking", "data-collections": [re.escape(str(table))]},
    }


def send(servers: str, topic: str, prefix: str, message: dict[str, Any]) -> None:
    """Send a signal.

    Raises:
        ResnapshotError: Kafka does not take it.
    """
    try:
        producer = Producer({"bootstrap.servers": servers, "message.timeout.ms": 10_000, "log_level": 2})
        producer.produce(topic, json.dumps(message).encode(), prefix.encode())
        left = producer.flush(15)
    except KafkaException as error:
        raise ResnapshotError(f"Kafka does not take the signal: {error}. Is it up (`make status`)?") from error
    if left:
        raise ResnapshotError(f"Kafka at {servers} does not take the signal. Is it up (`make status`)?")


def scanned(notification: dict[str, Any], table: TableName) -> int | None:
    """Return how many rows of the table a snapshot has read, as a notification says; `None` if it says nothing of that.

    Raises:
        ResnapshotError: it says that the snapshot has failed.
    """
    kind, more = notification.get("type"), notification.get("additional_data") or {}
    if kind == "ABORTED":
        raise ResnapshotError("The snapshot was aborted: the connector was stopped, or lost its database. Try again.")
    if kind != "TABLE_SCAN_COMPLETED" or more.get("scanned_collection") not in (str(table), f'"{table}"'):
        return None
    if more.get("status") != "SUCCEEDED":
        raise ResnapshotError(f"The connector could not read {table}: {more.get('status')}. Its log says more.")
    return int(more.get("total_rows_scanned") or 0)


def _wait_for_scan(
    stack: Stack,
    connector: Connector,
    table: TableName,
    topic: str,
    before: dict[int, int],
    deadline: float,
    look: Callable[[], None],
) -> int:
    """Wait until the connector has read the table, and look at it meanwhile; return its number of rows."""
    sent = time.monotonic()
    has_started = False
    while True:
        for notification in _notifications(stack, topic, before):
            rows = scanned(notification, table)
            if rows is not None:
                return rows
            has_started = has_started or notification.get("type") == "STARTED"
            if has_started and notification.get("type") == "COMPLETED":
                raise ResnapshotError(f"{connector.name} knows no table {table}: does its configuration capture it?")
        problem = stack.connector_problem(connector)
        if problem:
            raise ResnapshotError(f"The snapshot has ended early: {problem}")
        now = time.monotonic()
        if not has_started and now > min(sent + _TAKEN_SECONDS, deadline):
            raise ResnapshotError(
                f"{connector.name} has not begun a snapshot {now - sent:.0f} s after it was asked to. Does its log say "
                "why (cdc-workstation logs debezium)?"
            )
        if now > deadline:
            raise ResnapshotError("The snapshot has not ended in time; it goes on. Give it more time (--timeout).")
        look()
        time.sleep(_INTERVAL)


def _notifications(stack: Stack, topic: str, before: dict[int, int]) -> Iterator[dict[str, Any]]:
    """Yield what the connector has told since; snapshots before that had notifications of their own."""
    end = stack.log.ends([topic])[topic]
    for _, value in stack.log.records(topic, before, end) or ():
        if value is not None:
            document = json.loads(value)
            yield document.get("payload", document)


def _wait_until_applied(stack: Stack, table: CapturedTable, deadline: float, look: Callable[[int], None]) -> None:
    label = stack.label(table.topic)
    end = stack.log.ends([table.topic])[table.topic]
    while True:
        view = stack.sink_view()
        applied = stack.applied(table.topic, view)
        look(sum(max(last - applied.get(partition, 0), 0) for partition, last in end.items()))
        if not view.has_stopped(label) and reached(applied, end):
            return
        if time.monotonic() > deadline:
            problem = stack.sink.problem() or "it is behind; `make status` shows its lag"
            if view.has_stopped(label):
                problem = "it has stopped the table; its log and the dead letters say why"
            raise ResnapshotError(f"The sink has not applied the snapshot in time: {problem}.")
        time.sleep(_INTERVAL)


def table_named(verifier: Verifier, name: str) -> CapturedTable:
    """Return the one table that a name means."""
    found, unknown = chosen(verifier, [name])
    if unknown:
        raise ResnapshotError(unknown[0].reason.replace("no connector", f"{name}: no connector", 1))
    if len(found) > 1:
        names = ", ".join(f"{table.name.database}:{table.name}" for table in found)
        raise ResnapshotError(f"{name} means several tables: {names}. Name one of them.")
    if not found[0].in_source:
        raise ResnapshotError(f"The source has no table {found[0].name}, so there is nothing to read.")
    return found[0]
