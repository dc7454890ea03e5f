"""The decisions of the sink: given a table's state and its records, what to commit, skip, dead-letter, or stop for.

Pure: plain data in, plain data out. `Sequencer.sequence` yields steps; whoever carries them out reports each commit
with `committed` before asking for the next step, so that what a failed commit would have reached never counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from cdc_workstation.sink import snapshots
from cdc_workstation.sink.commits import Planner, Table
from cdc_workstation.sink.continuity import Continuity
from cdc_workstation.sink.decoder import Decoder
from cdc_workstation.sink.events import AFTER_ALL, Event, MalformedError, Position, Record, Tombstone
from cdc_workstation.sink.state import State
from cdc_workstation.sink.steps import (
    Commit,
    DeadLetter,
    DeleteOlder,
    Recovered,
    Skipped,
    Step,
    Stopped,
    StoppedError,
)


class Sequencer:
    """Decides over the records of one topic, in Kafka's order.

    Args:
        topic: the topic's name.
        without_key: what a table without primary key gets, `append` or `stop`.
        delete_missing: whether a complete snapshot deletes the rows that it did not read.
        asks_for_snapshots: whether somebody asks for a snapshot of a table that has stopped and recovers by one: what
            comes until then is in that, and no dead letter.
        transaction_interval: every how many commits one carries Delta's own transaction.
    """

    def __init__(
        self,
        topic: str,
        *,
        without_key: Literal["append", "stop"] = "append",
        delete_missing: bool = True,
        asks_for_snapshots: bool = False,
        transaction_interval: int = 50,
    ) -> None:
        self.topic = topic
        self.stopped: StoppedError | None = None
        self.connector = self.collection = ""
        """Who wrote the newest event, and the table as the source names it; empty before the first."""
        self._asks_for_snapshots = asks_for_snapshots
        self._table = Table()
        self._planner = Planner(self._table, without_key, delete_missing, transaction_interval)
        self._decoder = Decoder()
        self.continuity = Continuity(topic, self._table, self._decoder)
        """What was read, and what Kafka has lost."""
        # At this position the source's table was empty, and when that was.
        self._floor: Position | None = None
        self._floor_at_ms = 0
        self._start: dict[int, int] = {}
        self._before: dict[int, Event | None] = {}
        # Position and time that the events reach which are about to be applied.
        self._high: Position | None = None
        self._ts_ms = 0
        self._table.commits = 0

    # What is known

    @property
    def state(self) -> State | None:
        """What was applied, `None` if there is no table."""
        return self._table.state

    @property
    def columns(self) -> dict[str, pa.DataType] | None:
        """The table's columns, `None` if there is no table."""
        return self._table.columns

    @property
    def topic_id(self) -> str:
        """Kafka's id of the topic; empty before `open`."""
        return self._table.topic_id

    @property
    def log_start(self) -> dict[int, int]:
        """Partition to the first offset that Kafka still has."""
        return self._table.log_start

    def log_starts(self, offsets: Mapping[int, int]) -> None:
        """Take note of the first offset that Kafka still has of partitions."""
        self._table.log_start |= offsets

    def open(
        self,
        topic_id: str,
        log_start: Mapping[int, int],
        state: State | None,
        columns: dict[str, pa.DataType] | None,
    ) -> dict[int, int]:
        """Take a table's state as its log tells it; return the offset to go on with for each partition.

        Args:
            topic_id: Kafka's id of the topic.
            log_start: the partitions, each with the first offset that Kafka still has.
            state: what was applied, `None` if there is no table.
            columns: the table's columns, `None` if there is no table.
        """
        seen, before = (self.continuity.seen, self._before) if topic_id == self.topic_id else ({}, {})
        table = self._table
        table.topic_id, table.log_start, table.state, table.columns = topic_id, dict(log_start), state, columns
        if state is not None and state.ddl is not None and (self._floor is None or state.ddl > self._floor):
            # Older changes may still come, before anybody tells again that they are gone.
            self._floor, self._floor_at_ms = state.ddl, state.ddl_ms
        self.stopped = None
        self.continuity.seen = {}
        self._table.commits = 0
        applied = state.offsets if state else {}
        self._start = {partition: max(applied.get(partition, -1) + 1, first) for partition, first in log_start.items()}
        # If reading goes on right behind what was read last, what came before is known as if it had not stopped.
        self._before = {
            partition: event
            for partition, event in before.items()
            if event is not None and event.record.offset == seen.get(partition) == self._start.get(partition, 0) - 1
        }
        return dict(self._start)

    @property
    def reflected(self) -> Position | None:
        """The position up to which the rows reflect DDL that changed them without change events."""
        if self.state is None:
            return None
        began = None if self.state.began is None else Position(self.state.began, AFTER_ALL)
        return max((one for one in (began, self.state.ddl) if one is not None), default=None)

    @property
    def next_offsets(self) -> dict[int, int]:
        """Partition to the offset that comes next."""
        return self._start | {partition: offset + 1 for partition, offset in self.continuity.seen.items()}

    @property
    def progress(self) -> State | None:
        """The table's state with all offsets that were read; `None` if it must not be recorded."""
        if self.state is None or self.stopped is not None:
            return None
        state = self.state.copy()
        for partition, offset in self.continuity.seen.items():
            if offset > state.offsets.get(partition, -1):
                state.offsets[partition] = offset
                state.tombstones = [one for one in state.tombstones if one != partition]
        return state

    def committed(self, step: Commit | DeleteOlder) -> None:
        """Take note that a step is in the table."""
        self._table.committed(step)

    def stop(self, error: StoppedError) -> Stopped:
        """Take no more changes."""
        self.stopped = error
        return Stopped(error)

    @property
    def waits_for_snapshot(self) -> bool:
        """Whether the table has stopped, and goes on with a snapshot that somebody asks for."""
        return self._asks_for_snapshots and self.stopped is not None and self.stopped.recovers and self.collection != ""

    # What changes the table

    def overdue(self) -> list[DeleteOlder]:
        """Return what a run left undone that was killed between two commits: no record may come for a long time."""
        partition = min(self.state.offsets, default=0) if self.state else 0
        return list(self._planner.overdue(partition))

    def begins_empty(self, position: Position, at_ms: int) -> list[DeleteOlder]:
        """Return what to do when the source's table was empty: created, or read by a snapshot that found no row.

        That holds for rows that are there, and for events that still come.

        Args:
            position: where in the source's log.
            at_ms: when that was told, in milliseconds since the epoch, by Kafka's clock.
        """
        state = self.state.copy() if self.state is not None else None
        if state is not None and (at_ms, position) <= (state.ddl_ms, state.ddl or Position(0, 0)):
            return []
        if self._floor is None or position > self._floor:
            self._floor, self._floor_at_ms = position, at_ms
        if state is None:
            return []
        state.ddl, state.ddl_ms = position, at_ms
        # It may be another table by now, with another key, or none.
        state.keyed = state.keys = None
        return [DeleteOlder(min(state.offsets, default=0), state, position=position)]

    def sequence(self, partition: int, records: Sequence[Record]) -> Iterator[Step]:
        """Decide over records of one partition, in Kafka's order."""
        applied = self.state.offsets.get(partition, -1) if self.state else -1
        applied = max(applied, self.continuity.seen.get(partition, -1))
        dead: list[DeadLetter] = []
        events: list[Event] = []
        self._high = self.state.positions.get(partition) if self.state else None
        self._ts_ms = self.state.ts_ms if self.state else 0
        expected = self.continuity.next_offset(partition)
        expected = records[0].offset if expected is None else expected
        first = self.continuity.missing_beginning(partition, records)
        # A snapshot has all; of several partitions one alone has its first row.
        if first is not None and not (self._begins_snapshot(first) or (len(self.log_start) > 1 and first.op == "r")):
            yield self.stop(self.continuity.beginning_lost(first))
        for record in records:
            if record.offset <= applied:
                continue
            if record.offset > expected and self.log_start.get(partition, 0) > expected:
                # What came before the gap is still good.
                yield from self._commits(partition, events, dead)
                events = []
                if self.stopped is None:
                    yield self.stop(self.continuity.loss(expected, record.offset - 1))
                self._before.pop(partition, None)
            expected = record.offset + 1
            try:
                yield from self._take(self._decoder.decode(record), events, dead)
            except MalformedError as malformed:
                # The tombstone of a row without key has nothing at all, and says nothing.
                if malformed.reason != "empty" or (self.state is not None and self.state.keyed):
                    dead.append(DeadLetter(record, malformed.reason, str(malformed)))
            except StoppedError as stopped:
                yield from self._commits(partition, events, dead)
                events = []
                if self.stopped is None:
                    yield self.stop(stopped)
        if self.stopped is None:
            yield from self._commits(partition, events, dead, records[-1].offset)
        if self.stopped is not None and not self.waits_for_snapshot:
            known = {one.record.offset for one in dead}
            reached = max(applied, self.state.offsets.get(partition, -1) if self.state else -1)
            dead += [
                DeadLetter(record, "stopped", str(self.stopped))
                for record in records
                if record.offset > reached and record.offset not in known and record.value is not None
            ]
        if dead:
            yield dead
        self.continuity.seen[partition] = records[-1].offset

    def _take(self, found: Event | Tombstone, events: list[Event], dead: list[DeadLetter]) -> Iterator[Step]:
        """Decide whether a decoded record counts, and turn lone tombstones into deletes."""
        partition, offset = found.record.partition, found.record.offset
        first = partition not in self._before
        before = self._before.get(partition)
        high = self._high
        if isinstance(found, Tombstone):
            self._before[partition] = None
            deleted = before.key if before is not None and before.is_delete else None
            # It belongs to the delete right before it. Alone, the delete was compacted away and it stands for it.
            if deleted == found.key or (first and offset > 0) or self.stopped or high is None:
                return
            position = Position(high.order, AFTER_ALL)
            events.append(Event(found.record, "d", position, "", 0, "false", None, found.key_schema, found.key, None))
            return
        self.connector, self.collection = found.connector, found.collection
        found.begins = self._begins_snapshot(found)
        if found.begins and events:
            # If the table cannot take what came before, the snapshot repairs that.
            yield from self._commits(partition, list(events), dead)
            events.clear()
        if found.op != "r":
            order = before.position.order if before is not None else high.order if high is not None else 0
            found.position = found.position.after(order)
        self._before[partition] = found
        if self.stopped is not None:
            if not (self.stopped.recovers and found.begins):
                if self.waits_for_snapshot:
                    return
                raise MalformedError("stopped", str(self.stopped))
            self.stopped = None
            yield Recovered()
        below = self._floor is not None and found.position < self._floor
        if below and found.ts_ms <= self._floor_at_ms:
            yield Skipped(found)
            return
        went_back = below or (high is not None and found.position.order < high.order and found.ts_ms > self._ts_ms)
        is_whole = len(self.log_start) == 1
        if went_back or (found.begins and snapshots.replaces(found, events, self.state, high, is_whole=is_whole)):
            if not found.begins:
                raise StoppedError(
                    f"the source's log went back: {found.source_position} is newer than what was applied and lies "
                    "before it (a server was replaced, restored, or its logs reset); take a new snapshot",
                    recovers=True,
                )
            if below:
                self._floor = None
            events.append(replace(found, op="t", key=None, raw=None, resets=True))
        elif high is not None and (
            found.position < high or (found.position == high and snapshots.is_repeated(found, events, self.state))
        ):
            yield Skipped(found)
            return
        self._high = found.position
        self._ts_ms = max(self._ts_ms, found.ts_ms)
        events.append(found)

    def _begins_snapshot(self, found: Event) -> bool:
        """Whether it is the first row of a snapshot: marked so, or the last one and alone."""
        partition = found.record.partition
        if partition in self._before or not snapshots.is_last(found):
            return snapshots.begins(found, self._before.get(partition))
        # The record right before it was applied by another run, unless some are missing.
        known = self.stopped is None and self.state is not None and partition in self.state.offsets
        return found.record.offset == 0 or (known and (self._high is None or self._high.order != found.position.order))

    def _commits(
        self, partition: int, events: list[Event], dead: list[DeadLetter], last: int | None = None
    ) -> Iterator[Step]:
        """Yield commits of events, up to where the table cannot take them."""
        try:
            yield from self._planner.plan(partition, events, dead, last)
        except StoppedError as error:
            yield self.stop(error)
