"""The application around the tables: what a failed commit costs, and what a topic's life does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pyarrow as pa
import pytest

from cdc_workstation.sink.app import Sink, Topic, write_first_offsets
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.settings import SinkSettings

TOPIC = "debezium.db.t"


class FakeTable:
    """A table that takes note of what it is given, and fails as long as it is told to."""

    name = "db.t"
    topic = TOPIC
    topic_id = "topic-1"
    earliest: ClassVar = {0: 0}

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.fails = False
        self.may_end = threading.Event()
        self.may_end.set()
        self.stopped: str | None = None

    def has_gap(self, *_: Any) -> bool:
        return False

    def stop(self, reason: str) -> None:
        self.stopped = reason

    def apply(self, _spark: Any, _partition: int, records: list[Record]) -> None:
        if self.fails and not self.stopped:
            raise OSError("the disk is full")
        assert self.may_end.wait(10)
        self.applied += [record.offset for record in records]


class FakeAdmin:
    """Lists of topics, one after the other and then the last for ever."""

    def __init__(self, *lists: set[str]) -> None:
        self.lists = list(lists)

    def topics(self) -> dict[str, str]:
        names = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        return {name: f"id of {name}" for name in names}

    def offsets(self, topics: Iterable[str], *, latest: bool) -> dict[str, dict[int, int]]:
        return {name: {0: 0} for name in topics}

    def forget_partitions(self) -> None:
        """There is nothing to forget."""


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


@pytest.mark.parametrize(("records", "rests"), [(4, True), (5, False)])
def test_reading_rests_while_little_is_written_and_goes_on_where_much_waits(
    monkeypatch: pytest.MonkeyPatch, records: int, rests: bool
) -> None:
    monkeypatch.setattr("cdc_workstation.sink.app._REST_SECONDS", 10.0)
    table = FakeTable()
    table.may_end.clear()
    sink = sink_with(table)
    sink.settings.max_rows_per_batch = 10
    reading = threading.Thread(target=sink._receiver(sink.generation), args=(batch(*range(records)), 0))
    reading.start()
    reading.join(1.0)
    assert reading.is_alive() is rests

    table.may_end.set()
    reading.join(5.0)
    assert not reading.is_alive()
    sink.pool.shutdown()
    assert table.applied == [*range(records)]


@pytest.mark.parametrize("ends", ["a failure", "a new query"])
def test_reading_does_not_rest_for_a_commit_that_will_not_come(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr("cdc_workstation.sink.app._REST_SECONDS", 60.0)
    table = FakeTable()
    table.may_end.clear()
    table.fails = ends == "a failure"
    sink = sink_with(table)
    reading = threading.Thread(target=sink._receiver(sink.generation), args=(batch(0), 0))
    reading.start()
    until(lambda: sink.topics[TOPIC].running or table.fails)
    if not table.fails:
        with sink.changed:
            sink.generation += 1
            sink.changed.notify_all()
    reading.join(5.0)
    assert not reading.is_alive()
    table.may_end.set()
    sink.pool.shutdown()


def test_a_query_starts_where_its_checkpoint_says(tmp_path: Path) -> None:
    write_first_offsets(tmp_path, {TOPIC: {0: 7, 1: 0}})

    assert (tmp_path / "sources" / "0" / "0").read_bytes() == b'\0v1\n{"debezium.db.t": {"0": 7, "1": 0}}'


@pytest.mark.parametrize(("records", "starts_over"), [(0, False), (1, True)])
def test_a_topic_that_is_made_anew_is_read_anew_once_it_has_a_record(records: int, starts_over: bool) -> None:
    sink = Sink(SinkSettings(watch_seconds=0.01))
    sink.query = MagicMock(isActive=True)
    sink._topic(TOPIC)
    sink.ids[TOPIC] = "id of another"
    admin = FakeAdmin({TOPIC})
    looks = iter([{TOPIC: {0: records}}, {TOPIC: {0: records}}])

    def offsets(*_: Any, **__: Any) -> dict[str, dict[int, int]]:
        found = next(looks, None)
        if found is None:
            sink.stopping.set()
        return found or {TOPIC: {0: records}}

    admin.offsets = offsets  # type: ignore[method-assign]

    sink._watch(admin)  # type: ignore[arg-type]

    assert sink.stopping.is_set() is not starts_over
    assert (TOPIC in sink.topics) is starts_over


def test_a_topic_that_was_deleted_before_anything_was_applied_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(SinkSettings(watch_seconds=0.01))
    sink.query = MagicMock(isActive=True)
    sink._topic(TOPIC)
    admin = FakeAdmin(set())
    monkeypatch.setattr(admin, "offsets", lambda *_, **__: sink.stopping.set() or {})

    sink._watch(admin)  # type: ignore[arg-type]

    assert sink.topics == {}


def test_a_table_that_keeps_failing_stops_and_the_others_go_on() -> None:
    table = FakeTable()
    sink = sink_with(table)
    topic = sink.topics[TOPIC]
    receive = sink._receiver(sink.generation)
    table.fails = True
    for failures in range(1, 6):
        # As if its table had been opened anew.
        topic.failed_at = None
        receive(batch(0, 1), 0)
        until(lambda wanted=failures: topic.failures == wanted and not topic.running)  # type: ignore[misc]
    receive(batch(2), 1)
    sink.pool.shutdown()

    assert table.stopped == "5 commits failed in a row, the last one with OSError('the disk is full')"
    # Given to a table that has stopped: dead letters.
    assert table.applied == [0, 1, 2]
