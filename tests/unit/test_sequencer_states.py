"""Random histories of a table, read with duplicates, restarts and losses: Delta equals the source, or says why not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sink_model import TOPIC, ModelTable, change, tombstone

from cdc_workstation.sink.events import Record

KEYS = st.integers(1, 4)
BINLOG_STEP = 10


class Capture(RuleBasedStateMachine):
    """A source's table, the topic that a connector writes from it, and the sink that reads the topic.

    The connector delivers at least once: after its own crash it repeats records from an earlier position, and a
    snapshot that was cut off begins again. The sink may stop between any two steps, also behind a commit that it did
    not yet take note of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.source: dict[int, int] = {}
        self.log: list[Record] = []
        self.at = 0
        self.clock = 1_000_000
        self.log_start = 0
        self.next = 0
        # Where the newest snapshot's rows begin among the changes: the connector never repeats those before it.
        self.captured_from = 0
        self.table = ModelTable()
        # Positions and times at which the source's table was created empty, and how many of them the sink has heard of.
        self.created: list[tuple[int, int]] = []
        self.heard = 0
        # Whether records that were never read are gone, so that the table may stop.
        self.may_stop = False

    # The source and its connector

    def send(self, key: int, op: str, number: int, **source: Any) -> None:
        at = source.pop("at", self.at)
        record = change(0, key, op, at=at, ts_ms=self.clock, **source)
        self.append(_numbered(record, number))

    def append(self, record: Record) -> None:
        self.log.append(record._replace(offset=len(self.log)))

    def advance(self) -> int:
        self.at += BINLOG_STEP
        self.clock += 1
        return self.at

    @initialize(keys=st.sets(KEYS))
    def begin(self, keys: set[int]) -> None:
        for key in keys:
            self.source[key] = self.advance()
        self.snapshot(len(keys))

    @rule(key=KEYS)
    def write(self, key: int) -> None:
        op = "u" if key in self.source else "c"
        self.source[key] = self.advance()
        self.send(key, op, self.source[key])

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        if key in self.source:
            del self.source[key]
            self.advance()
            self.send(key, "d", 0)
            self.append(tombstone(0, key))

    @rule(old=KEYS, new=KEYS)
    def change_key(self, old: int, new: int) -> None:
        if old in self.source and new not in self.source:
            number = self.source.pop(old)
            self.source[new] = number
            self.advance()
            self.send(old, "d", 0)
            self.append(tombstone(0, old))
            self.send(new, "c", number)

    @rule()
    def truncate(self) -> None:
        self.source.clear()
        self.advance()
        self.send(0, "t", 0)

    @rule()
    def drop_and_create(self) -> None:
        """No change event tells: the sink hears of it by another topic, sooner or later than of changes."""
        self.source.clear()
        self.created.append((self.advance(), self.clock))
        self.clock += 1

    @precondition(lambda self: self.heard < len(self.created))
    @rule()
    def hear(self) -> None:
        order, at_ms = self.created[self.heard]
        self.heard += 1
        self.table.begins_empty(order, at_ms)

    @rule(sent=st.integers(0, 4))
    def snapshot(self, sent: int) -> None:
        """Read all rows, or the first few until the connector is killed; then it begins again."""
        self.advance()
        rows = list(self.source.items())
        self.captured_from = len(self.log)
        if 0 < sent < len(rows):
            self.send_rows(rows, rows[:sent])
        self.send_rows(rows, rows)

    def send_rows(self, rows: list[tuple[int, int]], sent: list[tuple[int, int]]) -> None:
        for place, (key, number) in enumerate(sent):
            mark = "last" if place == len(rows) - 1 else "first" if place == 0 else "true"
            self.send(key, "r", number, snapshot=mark)

    @precondition(lambda self: len(self.log) > self.captured_from)
    @rule(back=st.integers(1, 6))
    def repeat(self, back: int) -> None:
        """The connector was killed before it stored how far it had come."""
        streamed = [
            one for one in self.log[self.captured_from :][-back:] if b'"op":"r"' not in (one.value or b'"op":"r"')
        ]
        # It repeats from a change on, and a delete brings its tombstone.
        for record in streamed:
            self.append(record)
            if record.value is not None and b'"op":"d"' in record.value:
                self.append(record._replace(value=None))

    # Kafka

    @rule(lost=st.integers(1, 5))
    def lose(self, lost: int) -> None:
        """Records reach the end of their retention, whether or not they were read."""
        self.log_start = min(self.log_start + lost, len(self.log))
        self.table.sequencer.log_start[0] = self.log_start
        # What was read and changed nothing leaves no trace in the table: after a restart it counts as never read.
        applied = self.table.state.offsets.get(0, -1) if self.table.state else -1
        if self.log_start > applied + 1:
            self.may_stop = True
        if self.log_start > self.next:
            self.next = self.log_start
            self.check_log_start()

    # The sink

    @rule(count=st.integers(1, 12))
    def read(self, count: int) -> None:
        batch = self.log[self.next : self.next + count]
        if batch:
            self.table.apply(*batch)
            self.next += len(batch)

    @rule(count=st.integers(1, 12), steps=st.integers(1, 4))
    def crash_while_reading(self, count: int, steps: int) -> None:
        batch = self.log[self.next : self.next + count]
        if batch:
            for number, _ in enumerate(self.table.stepwise(*batch), 1):
                if number == steps:
                    break
        self.restart()

    @rule()
    def restart(self) -> None:
        self.next = self.table.restart({0: self.log_start})[0]
        # What another process has heard, this one reads again.
        self.heard = 0
        self.check_log_start()

    @rule()
    def open_again(self) -> None:
        self.next = self.table.open({0: self.log_start})[0]
        if self.heard:
            self.table.begins_empty(*self.created[self.heard - 1])
        self.check_log_start()

    def check_log_start(self) -> None:
        """What the service does from time to time."""
        lost = self.table.sequencer.continuity.lost()
        if lost is not None and self.table.stopped is None:
            self.table.stop(lost)

    # The promise

    @invariant()
    def delta_equals_the_source_or_says_why_not(self) -> None:
        if self.next < len(self.log) or self.heard < len(self.created):
            return
        if self.table.stopped is not None:
            assert self.may_stop, self.table.stopped
            return
        rows = {row.values["id"]: row.values["sent_ms"] for row in self.table.rows}
        assert len(rows) == len(self.table.rows)
        if self.table.state is None:
            assert not self.table.rows
            return
        assert rows == self.source


class CaptureWithoutKey(RuleBasedStateMachine):
    """The same for a table without primary key: each change is appended once, and a snapshot begins again."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Record] = []
        self.changes: list[int] = []
        self.at = 0
        self.next = 0
        self.streamed_from = 0
        self.table = ModelTable()

    def append(self, record: Record) -> None:
        self.log.append(record._replace(key=None, offset=len(self.log)))

    @rule(op=st.sampled_from("cud"))
    def write(self, op: str) -> None:
        self.at += BINLOG_STEP
        self.changes.append(self.at)
        self.append(_numbered(change(0, 1, op, at=self.at), self.at))

    @rule()
    def truncate(self) -> None:
        self.at += BINLOG_STEP
        self.changes.clear()
        self.append(change(0, 1, "t", at=self.at))

    @rule(rows=st.integers(1, 3), sent=st.integers(0, 2))
    def snapshot(self, rows: int, sent: int) -> None:
        """Read all rows, or the first few until the connector is killed; then it begins again."""
        self.at += BINLOG_STEP
        self.changes = [self.at + place for place in range(rows)]
        for count in (sent if sent < rows else 0, rows):
            for place, number in enumerate(self.changes[:count]):
                mark = "last" if place == rows - 1 else "first" if place == 0 else "true"
                self.append(_numbered(change(0, 1, "r", at=self.at, snapshot=mark), number))
        self.streamed_from = len(self.log)

    @precondition(lambda self: len(self.log) > self.streamed_from)
    @rule(back=st.integers(1, 4))
    def repeat(self, back: int) -> None:
        """The connector was killed before it stored how far it had come."""
        for record in self.log[self.streamed_from :][-back:]:
            self.append(record)

    @rule(count=st.integers(1, 8))
    def read(self, count: int) -> None:
        batch = self.log[self.next : self.next + count]
        if batch:
            self.table.apply(*batch)
            self.next += len(batch)

    @rule(count=st.integers(1, 8), steps=st.integers(1, 4))
    def crash_while_reading(self, count: int, steps: int) -> None:
        batch = self.log[self.next : self.next + count]
        if batch:
            for number, _ in enumerate(self.table.stepwise(*batch), 1):
                if number == steps:
                    break
        self.restart()

    @rule()
    def restart(self) -> None:
        self.next = self.table.restart()[0]

    @rule()
    def open_again(self) -> None:
        self.next = self.table.open()[0]

    @invariant()
    def each_change_is_there_once(self) -> None:
        assert self.table.stopped is None
        if self.next == len(self.log):
            assert self.table.values() == self.changes


def _numbered(record: Record, number: int) -> Record:
    """Return the change with another value in its column."""
    assert record.value is not None
    envelope = json.loads(record.value)
    for row in (envelope["payload"]["before"], envelope["payload"]["after"]):
        if row is not None:
            row["sent_ms"] = number
    return record._replace(topic=TOPIC, value=json.dumps(envelope, separators=(",", ":")).encode())


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCapture = Capture.TestCase
TestCapture.settings = SETTINGS
TestCaptureWithoutKey = CaptureWithoutKey.TestCase
TestCaptureWithoutKey.settings = SETTINGS
