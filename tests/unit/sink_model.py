"""A table of the sink in plain dicts: records as Debezium writes them, and steps carried out as a writer would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cdc_workstation.sink.canary import event
from cdc_workstation.sink.events import Event, Position, Record
from cdc_workstation.sink.schema import METADATA
from cdc_workstation.sink.sequencer import Sequencer
from cdc_workstation.sink.state import State, restore
from cdc_workstation.sink.steps import Commit, DeleteOlder, Recovered, Skipped, Step, StoppedError

TOPIC = "debezium.elsewhere.journal"


def change(
    offset: int, key: int, op: str = "c", *, note: str | None = None, partition: int = 0, **source: Any
) -> Record:
    """Return a change of the row with `key`, ten bytes of the binlog after that of the offset before.

    Column `sent_ms` holds the offset. `at` is another place in the binlog; `source` is more of the envelope's `source`.
    """
    place = source.pop("at", 10 * offset + 10)
    identity, value = event({"id": key, "sent_ms": offset, "note": note}, place, op)
    envelope = json.loads(value)
    envelope["payload"]["source"].update(source)
    if op == "t":
        envelope["payload"] |= {"before": None, "after": None}
        identity = None  # type: ignore[assignment]
    return Record(TOPIC, partition, offset, 0, identity, json.dumps(envelope, separators=(",", ":")).encode())


def without_key(record: Record) -> Record:
    """Return the change as one of a table without primary key."""
    return record._replace(key=None)


def tombstone(offset: int, key: int, partition: int = 0) -> Record:
    """Return what follows the delete of a row."""
    return change(offset, key, partition=partition)._replace(value=None)


def broken(offset: int) -> Record:
    """Return a record that is no change event."""
    return change(offset, 1)._replace(value=b"{this is no JSON")


def postgres(offset: int, key: int, lsn: int, last_commit: int | None, op: str = "c", **source: Any) -> Record:
    """Return a change as PostgreSQL's connector locates it."""
    sequence = json.dumps([last_commit and str(last_commit), str(lsn)])
    return change(offset, key, op, connector="postgresql", lsn=lsn, sequence=sequence, **source)


def keyed_by(record: Record, column: str) -> Record:
    """Return the change with another column as its key."""
    assert record.key is not None
    assert record.value is not None
    after = json.loads(record.value)["payload"]["after"]
    key = json.loads(record.key)
    key["schema"]["fields"] = [{"type": "int64", "optional": False, "field": column}]
    key["payload"] = {column: after[column]}
    return record._replace(key=json.dumps(key).encode())


def retyped(record: Record) -> Record:
    """Return the change with a column `note` of another type."""
    assert record.value is not None
    envelope = json.loads(record.value)
    for part in envelope["schema"]["fields"]:
        part["fields"][2]["type"] = "boolean"
    for row in (envelope["payload"]["before"], envelope["payload"]["after"]):
        if row is not None:
            row["note"] = True
    return record._replace(value=json.dumps(envelope, separators=(",", ":")).encode())


@dataclass
class Row:
    """A row of the table, with what its last change says of itself."""

    key: tuple[Any, ...] | None
    position: Position
    ts_ms: int
    values: dict[str, Any]


class ModelTable:
    """A sequencer and the table that its steps make; `rows` and `state` outlive a restart, as a Delta table does.

    Args:
        log_start: the partitions, each with the first offset that Kafka has.
        options: the sequencer's options.
    """

    def __init__(self, log_start: Mapping[int, int] | None = None, **options: Any) -> None:
        self.rows: list[Row] = []
        self.state: State | None = None
        self.columns: dict[str, pa.DataType] | None = None
        self.dead: list[tuple[int, str]] = []
        self.skipped: list[int] = []
        self.steps: list[Step] = []
        self.recovered = 0
        self._options = options
        self.sequencer = Sequencer(TOPIC, **options)
        self.open(log_start)

    def open(self, log_start: Mapping[int, int] | None = None, topic_id: str = "topic-1") -> dict[int, int]:
        """Open the table again in the same process."""
        log_start = log_start or {0: 0}
        state = None
        if self.state is not None:
            commit = {"userMetadata": self.state.metadata(TOPIC)}
            state = restore([commit], {}, TOPIC, topic_id, list(log_start))
        return self.sequencer.open(topic_id, log_start, state, self.columns)

    def restart(self, log_start: Mapping[int, int] | None = None, topic_id: str = "topic-1") -> dict[int, int]:
        """Open the table in a new process, which knows what the table's log says."""
        self.sequencer = Sequencer(TOPIC, **self._options)
        return self.open(log_start, topic_id)

    @property
    def stopped(self) -> str | None:
        """Why the table takes no more changes."""
        return None if self.sequencer.stopped is None else str(self.sequencer.stopped)

    def apply(self, *records: Record) -> None:
        """Apply records of one partition."""
        for step in self.sequencer.sequence(records[0].partition, records):
            self.carry_out(step)

    def stepwise(self, *records: Record) -> Iterator[Step]:
        """Carry out one step after the other; each is yielded once it is in the table and not yet reported."""
        for step in self.sequencer.sequence(records[0].partition, records):
            self._write(step)
            yield step
            if isinstance(step, Commit | DeleteOlder):
                self.sequencer.committed(step)

    def begins_empty(self, order: int, at_ms: int) -> None:
        """The source's table was created empty."""
        for step in self.sequencer.begins_empty(Position(order, 0), at_ms):
            self.carry_out(step)

    def stop(self, error: StoppedError) -> None:
        """Take no more changes."""
        self.carry_out(self.sequencer.stop(error))

    def carry_out(self, step: Step) -> None:
        """Do what the applier does."""
        self._write(step)
        if isinstance(step, Commit | DeleteOlder):
            self.sequencer.committed(step)

    def values(self, column: str = "sent_ms") -> list[Any]:
        """Return one column of all rows, sorted."""
        return sorted(row.values[column] for row in self.rows)

    def _write(self, step: Step) -> None:
        self.steps.append(step)
        if isinstance(step, list):
            self._dead_letters(step)
        elif isinstance(step, Skipped):
            self.skipped.append(step.event.record.offset)
        elif isinstance(step, Recovered):
            self.recovered += 1
        elif isinstance(step, Commit):
            self._commit(step)
        elif isinstance(step, DeleteOlder):
            self._dead_letters(step.dead_letters)
            self.rows = [one for one in self.rows if not _is_older(one.position, step)]
            self.state = step.state.copy()

    def _dead_letters(self, letters: list[Any]) -> None:
        known = {offset for offset, _ in self.dead}
        self.dead += [(one.record.offset, one.reason) for one in letters if one.record.offset not in known]

    def _commit(self, step: Commit) -> None:
        self._dead_letters(step.dead_letters)
        columns = dict(METADATA) if self.columns is None else self.columns
        if step.replaces:
            self.rows = []
        if step.creates and step.schema is not None:
            columns = {one.name: one.type for one in step.schema.columns} | METADATA
        self.columns = step.change.applied_to(columns)
        for fill in step.change.fills:
            for row in self.rows:
                row.values[fill.column] = row.values.get(fill.source) if fill.source else fill.value
        for one in step.rows:
            self._apply(one, step)
        self.state = step.state.copy()

    def _apply(self, one: Event, step: Commit) -> None:
        new = Row(one.key, one.position, one.ts_ms, dict(one.raw or {}))
        if step.mode == "append":
            if not (step.state.keyed and one.is_delete):
                self.rows.append(new)
            return
        found = next((row for row in self.rows if row.key == one.key), None)
        if found is None:
            if not one.is_delete:
                self.rows.append(new)
        elif step.mode == "upsert" and one.position > found.position:
            self.rows.remove(found)
            if not one.is_delete:
                new.values |= {name: found.values.get(name) for name in one.unavailable}
                self.rows.append(new)


def _is_older(position: Position, step: DeleteOlder) -> bool:
    return step.position is None or position < step.position
