"""One table: carries out what the sequencer decides, by a writer, and says in metrics what it did."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from cdc_workstation.sink import metrics
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.events import Event, Position, Record
from cdc_workstation.sink.rows import build
from cdc_workstation.sink.schema import METADATA
from cdc_workstation.sink.sequencer import Sequencer
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.state import State, app_id, restore, without_history
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
from cdc_workstation.sink.writer import CommitInfo, TableWriter

log = logging.getLogger(__name__)

# Offsets of records without effect are recorded once a table was idle for so long.
_IDLE_SECONDS = 10.0
# How many commits back the state is looked for: nearly always the last one has it; others than the sink's may follow.
_HISTORY = (1, 10, 200)


class Applier:
    """Applies the records of one topic to one Delta table; used by one thread at a time.

    Args:
        settings: the sink's settings.
        topic: the topic.
        writer: writes the table.
        dead_letters: the dead-letter table.
    """

    def __init__(self, settings: SinkSettings, topic: str, writer: TableWriter, dead_letters: DeadLetters) -> None:
        self.topic = topic
        self.location = settings.location_of(topic)
        self.name = self.location.name
        self.writer = writer
        self.sequencer = Sequencer(
            topic,
            without_key=settings.without_key,
            delete_missing=settings.delete_missing,
            asks_for_snapshots=settings.resnapshot,
        )
        self.applied: dict[int, int] = {}
        """Partition to the offset behind the last record that needs nothing more, committed or without effect."""
        self.lag = 0
        """Records in Kafka that are not applied yet, as of the last look."""
        self._settings = settings
        self._dead_letters = dead_letters
        self._recorded: dict[int, int] = {}
        self._changed_at = 0.0
        self._stopped_version = -1
        self._warned = False
        self._behind_since: float | None = None
        metrics.expose(self.name)

    # What is known

    @property
    def topic_id(self) -> str:
        """Kafka's id of the topic that is read; empty before `open`."""
        return self.sequencer.topic_id

    @property
    def stopped(self) -> StoppedError | None:
        """Why the table takes no more changes."""
        return self.sequencer.stopped

    def open(self, topic_id: str, log_start: Mapping[int, int]) -> dict[int, int]:
        """Read the state from the table's log; return the offset to go on with for each partition.

        Args:
            topic_id: Kafka's id of the topic.
            log_start: the partitions, each with the first offset that Kafka still has.
        """
        version = self.writer.refresh()
        state = self._state(topic_id, list(log_start)) if version >= 0 else None
        offsets = self.sequencer.open(topic_id, log_start, state, self.writer.columns())
        self.applied = dict(offsets)
        self._recorded = state.next_offsets if state is not None else {}
        if METADATA.keys() <= (self.writer.columns() or {}).keys():
            self.writer.retain(self._settings.table_properties)
        if version >= 0:
            metrics.TABLE_VERSION.labels(self.name).set(self.writer.version())
        for step in self.sequencer.overdue():
            self._carry_out(step)
        return offsets

    def _state(self, topic_id: str, partitions: Sequence[int]) -> State:
        transactions = {}
        for partition in partitions:
            version = self.writer.transaction_version(app_id(topic_id, partition))
            if version is not None:
                transactions[partition] = version
        for limit in _HISTORY:
            commits = self.writer.history(limit)
            state = restore(commits, transactions, self.topic, topic_id, partitions)
            if state is not None:
                return state
            if len(commits) < limit:
                break
        return without_history(transactions, topic_id)

    def was_repaired(self) -> bool:
        """Whether somebody has changed the table since it stopped: it is worth another try."""
        return self.stopped is not None and self.writer.refresh() != self._stopped_version

    # What changes the table

    def apply(self, partition: int, records: Sequence[Record]) -> None:
        """Apply records of one partition, in Kafka's order."""
        for step in self.sequencer.sequence(partition, records):
            self._carry_out(step)
        self.applied[partition] = records[-1].offset + 1
        self._changed_at = time.monotonic()
        self._show_running()

    def begins_empty(self, position: Position, at_ms: int) -> None:
        """Delete what is older than a position of the source's log at which its table was empty."""
        for step in self.sequencer.begins_empty(position, at_ms):
            self._carry_out(step)

    def progress_is_due(self) -> bool:
        """Whether `record_progress` has something to do."""
        unrecorded = any(offset > self._recorded.get(partition, 0) for partition, offset in self.applied.items())
        idle = time.monotonic() - self._changed_at > _IDLE_SECONDS
        return unrecorded and idle and self.sequencer.progress is not None

    def record_progress(self) -> None:
        """Commit the offsets of records that changed no row.

        Otherwise nobody could tell them from lost ones, once Kafka has removed them and the sink starts again.
        """
        state = self.sequencer.progress
        if state is not None and self.progress_is_due():
            self.writer.record(CommitInfo(state.metadata(self.topic)))
            self._recorded = state.next_offsets
            metrics.TABLE_VERSION.labels(self.name).set(self.writer.version())

    def stop(self, error: StoppedError) -> None:
        """Take no more changes: they become dead letters."""
        self._carry_out(self.sequencer.stop(error))

    def _carry_out(self, step: Step) -> None:
        if isinstance(step, Commit):
            self._commit(step)
        elif isinstance(step, DeleteOlder):
            self._delete_older(step)
        elif isinstance(step, Skipped):
            metrics.STALE_EVENTS.labels(self.name).inc()
        elif isinstance(step, Stopped):
            self._stop(step.error)
        elif isinstance(step, Recovered):
            log.warning("%s: goes on with a new snapshot", self.name)
            metrics.TABLE_STOPPED.labels(self.name).set(0)
        else:
            self._dead_letter(step)

    def _commit(self, step: Commit) -> None:
        started = time.monotonic()
        if step.creates and step.schema is not None:
            self.writer.create(
                {one.name: one.type for one in step.schema.columns} | METADATA,
                self._settings.table_properties,
                replaces=step.replaces,
            )
        elif step.change:
            self._evolve(step)
        columns = self.writer.columns() or {}
        version = self.writer.version()
        rows = build(step.rows, step.schema, step.keys, columns)
        for column, count in rows.nulls.items():
            metrics.UNREPRESENTABLE.labels(self.name, column).inc(count)
            log.warning("%s: %d values of %s are NULL: Delta has no place for them", self.name, count, column)
        self._dead_letter([*step.dead_letters, *rows.dead_letters])
        if rows.table.num_rows:
            info = self._info(step)
            if step.mode == "append":
                if not step.state.keyed and not self._warned:
                    log.warning("%s has no primary key: its changes are appended, not applied", self.name)
                    self._warned = True
                self.writer.append(rows, info, with_deleted=not step.state.keyed)
            else:
                self.writer.upsert(rows, step.keys, info, insert_only=step.mode == "insert")
        self._committed(step, version)
        self._count(step.events, started)

    def _evolve(self, step: Commit) -> None:
        change = step.change
        log.warning(
            "%s: added %s, widened %s%s",
            self.name,
            list(change.added),
            list(change.retyped),
            f", renamed {change.renamed}" if change.renamed else "",
        )
        if change.unknown:
            log.warning(
                "%s: only the source knows what rows that are there have in %s, they get NULL: take a new snapshot",
                self.name,
                change.unknown,
            )
        self.writer.evolve(change)

    def _delete_older(self, step: DeleteOlder) -> None:
        started = time.monotonic()
        self._dead_letter(step.dead_letters)
        version = self.writer.version()
        self.writer.delete_older(step.position, self._info(step))
        self._committed(step, version)
        if step.events:
            self._count(step.events, started)

    def _committed(self, step: Commit | DeleteOlder, version: int) -> None:
        """Take note of a step; one that changed no row is not in the table's log."""
        self.sequencer.committed(step)
        if self.writer.version() > version:
            self._recorded = step.state.next_offsets

    def _info(self, step: Commit | DeleteOlder) -> CommitInfo:
        """Return what the commit carries.

        Every commit has the offset in its metadata. Delta's own transaction is for who lost that, behind many commits
        of others: in each commit where applying a change twice would show, else from time to time.
        """
        state = step.state
        if not step.transaction:
            return CommitInfo(state.metadata(self.topic))
        application = app_id(state.topic_id, step.partition)
        return CommitInfo(state.metadata(self.topic), (application, state.offsets[step.partition]))

    def _count(self, events: Sequence[Event], started: float) -> None:
        ops: dict[str, int] = {}
        for event in events:
            ops[event.op] = ops.get(event.op, 0) + 1
        for op, count in ops.items():
            metrics.ROWS_APPLIED.labels(self.name, op).inc(count)
        newest = max(event.ts_ms for event in events)
        if newest:
            metrics.LAG_SECONDS.labels(self.name).set(max(time.time() - newest / 1000, 0.0))
        metrics.COMMIT_SECONDS.labels(self.name).observe(time.monotonic() - started)
        metrics.TABLE_VERSION.labels(self.name).set(self.writer.version())

    def show_lag(self, offsets: int) -> None:
        """Show how many records wait. While some do, the lag in seconds grows, whether or not any is applied."""
        self.lag = offsets
        metrics.LAG_OFFSETS.labels(self.name).set(offsets)
        for partition, offset in self.applied.items():
            metrics.APPLIED_OFFSET.labels(self.topic, str(partition)).set(offset)
        now = time.time()
        if not offsets:
            self._behind_since = None
            self._show_running()
        elif self._behind_since is None:
            self._behind_since = now
        else:
            state = self.sequencer.state
            newest = state.ts_ms / 1000 if state else 0.0
            metrics.LAG_SECONDS.labels(self.name).set(max(now - max(newest, self._behind_since), 0.0))

    def _show_running(self) -> None:
        """Show that the table takes changes: once it did, not as soon as it is opened for another try."""
        if self.stopped is None:
            metrics.TABLE_STOPPED.labels(self.name).set(0)

    def _stop(self, error: StoppedError) -> None:
        # First, because the version is compared as soon as the table has stopped.
        self._stopped_version = self.writer.refresh()
        log.error("%s takes no more changes: %s", self.name, error)
        metrics.TABLE_STOPPED.labels(self.name).set(1)
        metrics.ERRORS.labels(self.name).inc()

    def _dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        count = self._dead_letters.write(self.name, self.topic_id, letters)
        if count:
            metrics.DEAD_LETTERED.labels(self.name).inc(count)
            log.error(
                "%s: %d events are in the dead-letter table, the first because: %s", self.name, count, letters[0].detail
            )
