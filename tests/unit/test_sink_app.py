"""The application around the tables: what a failed commit costs, and what a topic's life does."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.app import Sink, Topic
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.settings import SinkSettings

TOPIC = "debezium.db.t"


class FakeTable:
    """A table that takes note of what it is given, and fails as long as it is told to."""

    name = "db.t"
    topic = TOPIC
    topic_id = "topic-1"
    stopped = None

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.fails = False

    def apply(self, _spark: Any, _partition: int, records: list[Record]) -> None:
        if self.fails:
            raise OSError("the disk is full")
        self.applied += [record.offset for record in records]


def sink_with(table: FakeTable) -> Sink:
    sink = Sink(SinkSettings())
    sink.spark = sink.admin = sink.canary = SimpleNamespace(newSession=lambda: None)  # type: ignore[assignment]
    sink.topics[TOPIC] = Topic(table)  # type: ignore[arg-type]
    return sink


def batch(*offsets: int) -> Any:
    """A micro-batch as Spark collects it."""
    rows = [Record(TOPIC, 0, offset, 0, None, b"")._asdict() | {"timestamp": 0} for offset in offsets]
    return SimpleNamespace(toArrow=lambda: pa.Table.from_pylist(rows))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_after_a_failed_commit_nothing_is_applied_until_the_table_is_opened_anew() -> None:
    table = FakeTable()
    sink = sink_with(table)
    receive = sink._receiver(sink.generation)
    table.fails = True
    receive(batch(0, 1), 0)
    until(lambda: sink.restart.is_set() and not sink.topics[TOPIC].running)

    table.fails = False
    receive(batch(2, 3), 1)
    sink.pool.shutdown()

    assert table.applied == []
