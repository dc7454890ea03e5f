"""The service around the tables: what a failed commit costs, and what a topic's life does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException
from deltalake import DeltaTable
from prometheus_client import REGISTRY
from sink_model import TOPIC, change

from cdc_workstation.sink import metrics, watcher, work
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.service import Sink
from cdc_workstation.sink.settings import SinkSettings

OTHER = "debezium.elsewhere.other"


class Kafka:
    """Topics in memory, as the sink's reader and its admin client see them."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {}
        self.topic_ids: dict[str, str] = {}
        self.starts: dict[str, int] = {}
        self.next: dict[str, int] = {}
        self.paused: set[str] = set()
        self.told: dict[tuple[str, int], int] = {}
        self.is_away = False
        self.reconnected = 0

    def create(self, name: str, topic_id: str = "topic-1", *records: Record) -> None:
        self.records[name] = list(records)
        self.topic_ids[name] = topic_id
        self.starts[name] = 0

    def delete(self, name: str) -> None:
        del self.records[name], self.topic_ids[name], self.starts[name]

    def deliver(self, sink: Sink) -> None:
        """Give the sink what it does not have yet of the topics that it reads."""
        for name, offset in list(self.next.items()):
            records = [one for one in self.records.get(name, []) if one.offset >= offset]
            if records and name not in self.paused:
                self.next[name] = records[-1].offset + 1
                sink.dispatch(name, [one._replace(topic=name) for one in records])

    # The reader

    def start(self, topic: str, offsets: Mapping[int, int]) -> None:
        self.next[topic] = offsets[0]
        self.paused.discard(topic)

    def stop(self, topic: str) -> None:
        self.next.pop(topic, None)

    def pause(self, topic: str, *, paused: bool) -> None:
        (self.paused.add if paused else self.paused.discard)(topic)

    def is_restarted(self, topic: str) -> bool:
        return topic not in self.next

    # The admin client

    def reconnect(self) -> None:
        self.reconnected += 1

    def partitions(self) -> dict[str, list[int]]:
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return {name: [0] for name in self.records}

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.topic_ids[name] for name in names if name in self.topic_ids}

    def first_offsets(self, partitions: Mapping[str, list[int]]) -> dict[str, dict[int, int]]:
        return {name: {0: self.starts[name]} for name in partitions if name in self.starts}

    def next_offsets(self, partitions: Mapping[str, list[int]]) -> dict[str, dict[int, int]]:
        return {
            name: {0: max((one.offset for one in self.records[name]), default=self.starts[name] - 1) + 1}
            for name in partitions
            if name in self.records
        }

    def tell_progress(self, _group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        self.told |= offsets


@pytest.fixture
def kafka() -> Kafka:
    kafka = Kafka()
    kafka.create(TOPIC)
    return kafka


@pytest.fixture
def sink(tmp_path: Path, kafka: Kafka) -> Iterator[Sink]:
    """A sink whose workers are not started."""
    sink = Sink(SinkSettings(tables=str(tmp_path), table_path="{table}"), kafka, kafka)  # type: ignore[arg-type]
    yield sink
    # Metrics belong to the process, and the next test has a table of the same name.
    for name, topic in sink.work.topics.items():
        metrics.forget(topic.applier.name, name)


@pytest.fixture
def worker(sink: Sink) -> Iterator[threading.Thread]:
    """One worker of the sink."""
    thread = threading.Thread(target=sink.apply_work, args=(0,))
    thread.start()
    yield thread
    sink.work.stop()
    thread.join(10)
    assert not thread.is_alive()


def settle(sink: Sink) -> None:
    """Wait until the workers have done what there is."""

    def idle() -> bool:
        return not sink.work._queue and not any(topic.running for topic in sink.work.topics.values())

    with sink.work.changed:
        assert sink.work.changed.wait_for(idle, 10)


def look(sink: Sink) -> None:
    """Do what the watching thread does, until tables are open."""
    sink.watcher.discover()
    settle(sink)


def rows(sink: Sink, topic: str = TOPIC) -> list[int]:
    table = DeltaTable(str(sink.settings.location_of(topic)))
    return sorted(table.to_pyarrow_table(columns=["sent_ms"])["sent_ms"].to_pylist())


def metric(name: str, topic: str = "journal") -> float | None:
    return REGISTRY.get_sample_value(name, {"table": topic})


def failing(times: int) -> Callable[..., None]:
    """A first commit of a table, as it fails so many times."""
    create, left = DeltaRsWriter.create, [times]

    def commit(writer: DeltaRsWriter, *arguments: Any, **options: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError("the disk is full")
        create(writer, *arguments, **options)

    return commit


@pytest.mark.usefixtures("worker")
def test_new_topic_reaches_its_table(sink: Sink, kafka: Kafka) -> None:
    look(sink)
    kafka.records[TOPIC] += [change(0, 1), change(1, 2)]
    kafka.deliver(sink)
    settle(sink)
    assert rows(sink) == [0, 1]

    sink.watcher.look_after()
    assert kafka.told == {(TOPIC, 0): 2}
    assert metric("cdc_sink_lag_offsets") == 0


@pytest.mark.usefixtures("worker")
def test_failed_commit_is_read_again_from_the_table(sink: Sink, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeltaRsWriter, "create", failing(1))
    kafka.records[TOPIC] += [change(0, 1), change(1, 2)]
    look(sink)
    kafka.deliver(sink)
    settle(sink)
    assert TOPIC not in kafka.next

    # Read before the failure was known.
    sink.dispatch(TOPIC, [change(2, 3)])
    settle(sink)
    assert sink.work.topics[TOPIC].applier.writer.version() == -1

    look(sink)
    assert kafka.next == {TOPIC: 0}
    kafka.deliver(sink)
    settle(sink)
    assert rows(sink) == [0, 1]
    assert sink.work.topics[TOPIC].failures == 0


@pytest.mark.usefixtures("worker")
def test_table_that_keeps_failing_counts_as_stopped(sink: Sink, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(DeltaRsWriter, "create", failing(5))
    kafka.records[TOPIC].append(change(0, 1))
    stopped = []
    for _ in range(6):
        look(sink)
        opened = metric("cdc_sink_table_stopped")
        kafka.deliver(sink)
        settle(sink)
        stopped.append((opened, metric("cdc_sink_table_stopped")))

    # Opening it for another try says nothing yet.
    assert stopped[3:] == [(0, 0), (0, 1), (1, 0)]
    assert rows(sink) == [0]


@pytest.mark.usefixtures("worker")
def test_failing_table_does_not_hinder_others(sink: Sink, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.create(OTHER, "topic-2", change(0, 1))
    kafka.records[TOPIC].append(change(0, 1))
    monkeypatch.setattr(DeltaRsWriter, "create", failing(1))
    look(sink)
    kafka.deliver(sink)
    settle(sink)

    failed = [topic.failed_at is not None for topic in sink.work.topics.values()]
    assert sorted(failed) == [False, True]


def test_second_failure_waits_before_it_is_tried_again(sink: Sink, kafka: Kafka) -> None:
    sink.watcher.discover()
    topic = sink.work.topics[TOPIC]
    topic.opening = False
    for again in (True, False):
        sink._failed(topic, OSError("the disk is full"))
        assert topic.failed_at is not None
        assert sink.watcher._is_to_open(topic, [0], topic.failed_at + (work.RETRY_SECONDS if again else 0.0)) is again


def test_reading_rests_while_much_waits_to_be_written(
    sink: Sink, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_PAUSE_BYTES", 1500)
    monkeypatch.setattr(work, "_RESUME_BYTES", 1000)
    sink.watcher.discover()
    kafka.start(TOPIC, {0: 0})
    topic = sink.work.topics[TOPIC]
    for offset in range(5):
        kafka.records[TOPIC].append(change(offset, 1))
        kafka.deliver(sink)
    assert kafka.paused == {TOPIC}
    assert len(topic.waiting) < 5

    sink.work.take(topic)
    assert kafka.paused == set()
    assert topic.waiting_bytes == sink.work.waiting_bytes == 0


def test_commit_takes_no_more_rows_than_it_may(sink: Sink, kafka: Kafka) -> None:
    sink.work._max_rows = 2
    sink.watcher.discover()
    kafka.start(TOPIC, {0: 0})
    for offset in range(3):
        sink.dispatch(TOPIC, [change(offset, 1)])

    assert [len(sink.work.take(sink.work.topics[TOPIC])) for _ in range(2)] == [2, 1]


@pytest.mark.usefixtures("worker")
def test_recreated_topic_is_read_again_once_it_has_a_record(sink: Sink, kafka: Kafka) -> None:
    kafka.records[TOPIC] += [change(0, 1), change(1, 2)]
    look(sink)
    kafka.deliver(sink)
    settle(sink)

    kafka.create(TOPIC, "topic-2")
    sink.watcher.look_after()
    assert TOPIC not in sink.work.topics

    kafka.records[TOPIC].append(change(0, 1, "r", at=90, snapshot="last"))
    look(sink)
    kafka.deliver(sink)
    settle(sink)
    assert rows(sink) == [0]
    assert sink.work.topics[TOPIC].applier.topic_id == "topic-2"


@pytest.mark.usefixtures("worker")
def test_topic_recreated_with_records_is_opened_again(sink: Sink, kafka: Kafka) -> None:
    look(sink)
    kafka.create(TOPIC, "topic-2", change(0, 1))
    sink.watcher.look_after()
    look(sink)
    kafka.deliver(sink)
    settle(sink)

    assert sink.work.topics[TOPIC].applier.topic_id == "topic-2"
    assert rows(sink) == [0]


@pytest.mark.usefixtures("worker")
def test_deleted_topic_is_forgotten_and_its_table_stays(sink: Sink, kafka: Kafka) -> None:
    kafka.records[TOPIC].append(change(0, 1))
    look(sink)
    kafka.deliver(sink)
    settle(sink)

    kafka.delete(TOPIC)
    look(sink)

    assert sink.work.topics == {}
    assert metric("cdc_sink_table_version") is None
    assert rows(sink) == [0]


@pytest.mark.usefixtures("worker")
def test_idle_topic_that_lost_records_stops_its_table(sink: Sink, kafka: Kafka) -> None:
    kafka.records[TOPIC] += [change(0, 1), change(1, 2)]
    look(sink)
    kafka.deliver(sink)
    settle(sink)

    kafka.records[TOPIC].clear()
    kafka.starts[TOPIC] = 5
    sink.watcher.look_after()
    settle(sink)

    assert "Kafka no longer has offsets 2 to 4" in str(sink.work.topics[TOPIC].applier.stopped)
    assert metric("cdc_sink_table_stopped") == 1


@pytest.mark.usefixtures("worker")
def test_stopped_table_that_somebody_repaired_is_opened_again(sink: Sink, kafka: Kafka) -> None:
    kafka.records[TOPIC] += [change(0, 1)._replace(key=None), change(1, 2)]
    look(sink)
    for record in kafka.records[TOPIC]:
        sink.dispatch(TOPIC, [record])
        settle(sink)
    applier = sink.work.topics[TOPIC].applier
    assert applier.stopped is not None
    sink.watcher.look_after()
    assert sink.work.topics[TOPIC].failed_at is None

    DeltaTable(str(applier.location)).alter.set_table_description("repaired")
    sink.watcher.look_after()

    assert sink.work.topics[TOPIC].failed_at is not None


@pytest.mark.usefixtures("worker")
def test_topics_are_read_on_after_kafka_was_away(sink: Sink, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may have forgotten the broker: neither its reader nor its admin client is asked again."""
    monkeypatch.setattr(sink.watcher._canary, "send", lambda: None)
    kafka.records[TOPIC].append(change(0, 1))
    looks = iter(["away", "back", "open", "end"])

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            settle(sink)
            kafka.deliver(sink)
            settle(sink)
            match next(looks):
                case "away":
                    kafka.is_away = True
                    # However short, it counts.
                    monkeypatch.setattr(watcher, "_OUTAGE_SECONDS", 0.0)
                case "back":
                    # The reader brings nothing any more.
                    kafka.next.clear()
                    kafka.is_away = False
                    kafka.records[TOPIC].append(change(1, 2))
                case "open":
                    monkeypatch.setattr(watcher, "_OUTAGE_SECONDS", 20.0)
                case "end":
                    self.set()
            return self.is_set()

    sink.watcher.run(Stopping())

    assert kafka.reconnected >= 2
    assert rows(sink) == [0, 1]


def test_new_tables_do_not_hold_existing_ones_up(sink: Sink, kafka: Kafka) -> None:
    kafka.create(OTHER, "topic-2")
    sink.watcher.discover()
    new, known = sink.work.topics[TOPIC], sink.work.topics[OTHER]
    known.applier.writer.create({"id": pa.int32()}, {}, replaces=False)

    with sink.work.changed:
        first, second = sink.work.next(1), sink.work.next(1)

    assert (first, second) == (known, new)
