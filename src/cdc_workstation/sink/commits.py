"""From a table's next events to commits: how rows, columns and the state that they reach go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from cdc_workstation.sink import schema as schemas
from cdc_workstation.sink.deduplicate import deduplicate
from cdc_workstation.sink.events import AFTER_ALL, Event, Position, RowSchema
from cdc_workstation.sink.schema import METADATA, Change, IncompatibleError
from cdc_workstation.sink.state import State
from cdc_workstation.sink.steps import Commit, DeadLetter, DeleteOlder, StoppedError
from cdc_workstation.sink.values import UnknownTypeError

_SNAPSHOT_ENDS = ("last", "last_in_data_collection")


@dataclass
class Table:
    """What is known of a table between two commits."""

    state: State | None = None
    """What was applied, `None` if there is no table."""
    columns: dict[str, pa.DataType] | None = None
    """Its columns, `None` if there is no table."""
    topic_id: str = ""
    log_start: dict[int, int] = field(default_factory=dict)
    """Partition to the first offset that Kafka still has."""
    commits: int = 0
    """How many since the table was opened."""

    def committed(self, step: Commit | DeleteOlder) -> None:
        """Take note that a step is in the table."""
        self.state = step.state
        self.commits += 1
        if isinstance(step, Commit):
            columns = dict(METADATA) if self.columns is None else self.columns
            if step.creates and step.schema is not None:
                columns = {one.name: one.type for one in step.schema.columns} | METADATA
            self.columns = step.change.applied_to(columns)


class Planner:
    """Plans commits of one table.

    Args:
        table: what is known of it; whoever carries a commit out says so there before asking for the next.
        without_key: what a table without primary key gets, `append` or `stop`.
        delete_missing: whether a complete snapshot deletes the rows that it did not read.
        transaction_interval: every how many commits one carries Delta's own transaction.
    """

    def __init__(
        self, table: Table, without_key: Literal["append", "stop"], delete_missing: bool, transaction_interval: int
    ) -> None:
        self._table = table
        self._without_key = without_key
        self._delete_missing = delete_missing
        self._transaction_interval = transaction_interval

    def plan(
        self, partition: int, events: list[Event], dead: list[DeadLetter], last: int | None = None
    ) -> Iterator[Commit | DeleteOlder]:
        """Yield commits; what follows up to the offset `last` needs none (tombstones, older ones, dead letters).

        Raises:
            StoppedError: the table cannot take the rest of the events.
        """
        segments = _segments(events)
        for number, segment in enumerate(segments, 1):
            reached = segment[-1].record.offset if last is None or number < len(segments) else last
            yield from self._commit_of(partition, segment, reached, dead)

    def _commit_of(
        self, partition: int, events: list[Event], reached: int, dead: list[DeadLetter]
    ) -> Iterator[Commit | DeleteOlder]:
        yield from self.overdue(partition)
        if events[0].op == "t":
            if self._table.state is not None:
                yield self._truncate(partition, self._table.state, events, reached, dead)
            return
        schema = next((event.schema for event in events if event.schema is not None), None)
        state = self._table.state.copy() if self._table.state is not None else State(topic_id=self._table.topic_id)
        fresh = self._table.state is None
        if state.keyed is None:
            state.keyed = any(event.key is not None for event in events)
        if state.keyed and any(event.key is None and event.collection for event in events):
            raise StoppedError("the source's table has no primary key any more; take a new snapshot", recovers=True)
        if state.keyed:
            # Of a message that no connector wrote there is no table to ask.
            dead += [
                DeadLetter(event.record, "no_key", "the table has a primary key")
                for event in events
                if event.key is None
            ]
            events = [event for event in events if event.key is not None]
            if not events:
                return
        elif any(event.key is not None for event in events):
            raise StoppedError(
                "the source's table has a primary key now, what was appended before has none; take a new snapshot",
                recovers=True,
            )
        elif self._without_key == "stop":
            raise StoppedError("the table has no primary key")
        if schema is None and fresh:
            return
        first = events[0]
        keys = tuple(first.key_schema.names) if first.key_schema else ()
        try:
            change = self._change(state, schema, first.connector)
        except UnknownTypeError as error:
            raise StoppedError(str(error)) from error
        except IncompatibleError as error:
            if not first.begins or len(self._table.log_start) > 1:
                raise StoppedError(f"{error}; take a new snapshot", recovers=True) from error
            # The snapshot has all rows: the table begins again with its columns.
            change, fresh, state.keys = self._change_of_new_table(schema, first.connector), True, None
        if state.keys is not None and state.keys != [change.renamed.get(key, key) for key in keys]:
            raise StoppedError(
                f"the primary key was ({', '.join(state.keys)}) and is ({', '.join(keys)}); take a new snapshot",
                recovers=True,
            )
        state.keys = list(keys)
        order = _snapshot_order(events)
        insert_only = order is not None and bool(state.keyed) and (fresh or state.snapshot_only == order)
        state.snapshot_only = order if insert_only else None
        state.began = next((event.position.order for event in reversed(events) if event.begins), state.began)
        ended = [event.position.order for event in events if event.snapshot in _SNAPSHOT_ENDS]
        if (
            state.began in ended
            and not insert_only
            and not fresh
            and self._delete_missing
            and len(self._table.log_start) == 1
        ):
            state.sweep = state.began
        if schema is not None:
            state.fields = schema.names
        self._advance(state, partition, events, reached)
        yield Commit(
            partition=partition,
            state=state,
            events=events,
            rows=deduplicate(events) if state.keyed else events,
            schema=schema,
            keys=keys,
            mode="append" if fresh or not state.keyed else "insert" if insert_only else "upsert",
            creates=fresh,
            replaces=fresh and self._table.state is not None,
            change=change,
            transaction=self._table.commits % self._transaction_interval == 0 or not state.keyed,
            dead_letters=self._passed(dead, reached),
        )
        yield from self.overdue(partition)

    def _change(self, state: State, schema: RowSchema | None, connector: str) -> Change:
        if schema is None:
            return Change()
        if self._table.columns is None:
            return self._change_of_new_table(schema, connector)
        missing = METADATA.keys() - self._table.columns.keys()
        if missing:
            raise StoppedError(f"the table was not made by this sink: it has no {', '.join(sorted(missing))}")
        # Of several partitions one may still bring events of the former columns.
        previous = state.fields if len(self._table.log_start) == 1 else None
        return schemas.needed(self._table.columns, schema, previous, connector)

    def _change_of_new_table(self, schema: RowSchema | None, connector: str) -> Change:
        """Check the names of a new table's columns; it needs no change."""
        if schema is not None:
            schemas.needed(dict(METADATA), schema, None, connector)
        return Change()

    def _truncate(
        self, partition: int, state: State, events: list[Event], reached: int, dead: list[DeadLetter]
    ) -> DeleteOlder:
        first = events[0]
        state = state.copy()
        if first.resets:
            state.positions, state.keyed, state.keys = {}, None, None
            # The snapshot has what DDL did before, maybe in another log.
            state.ddl, state.ddl_ms = None, max(state.ddl_ms, first.record.timestamp_ms)
        self._advance(state, partition, events, reached)
        if first.resets:
            # The snapshot's first row has this offset too, and follows in the next commit.
            state.offsets[partition] -= 1
        position = None
        if len(self._table.log_start) > 1 and not first.resets:
            # It comes in one partition, and holds for what the others bring, before and after.
            position = first.position
            for other, start in self._table.log_start.items():
                state.positions[other] = max(position, state.positions.get(other, position))
                state.offsets.setdefault(other, start - 1)
        return DeleteOlder(
            partition,
            state,
            position=position,
            events=events,
            # A reset has the offset of the event before, maybe that of the last transaction, and Delta would skip it.
            transaction=not first.resets and (self._table.commits % self._transaction_interval == 0 or not state.keyed),
            dead_letters=self._passed(dead, state.offsets[partition]),
        )

    def overdue(self, partition: int) -> Iterator[DeleteOlder]:
        """Delete the rows that a complete snapshot did not read: one commit says that it is due, the next does it."""
        if self._table.state is not None and self._table.state.sweep is not None:
            state = self._table.state.copy()
            order, state.sweep = self._table.state.sweep, None
            yield DeleteOlder(partition, state, position=Position(order, 0))

    def _passed(self, dead: list[DeadLetter], reached: int) -> list[DeadLetter]:
        """Return the dead letters that a commit passes: they are written before, for nobody reads them afterwards."""
        return [one for one in dead if one.record.offset <= reached]

    def _advance(self, state: State, partition: int, events: Sequence[Event], reached: int) -> None:
        positions = [event.position for event in events if event.position.suborder != AFTER_ALL]
        if partition in state.positions:
            positions.append(state.positions[partition])
        if positions:
            state.positions[partition] = max(positions)
        state.ts_ms = max(state.ts_ms, *(event.ts_ms for event in events))
        state.offsets[partition] = reached
        state.tombstones = [one for one in state.tombstones if one != partition]
        last = events[-1]
        if last.is_delete and last.record.offset == reached and last.record.value is not None:
            state.tombstones.append(partition)
        state.topic_id = self._table.topic_id


def _snapshot_order(events: Sequence[Event]) -> int | None:
    """Return the order that all events share if they are rows of one snapshot, else `None`."""
    order = events[0].position.order
    if all(event.op == "r" and event.snapshot != "incremental" and event.position.order == order for event in events):
        return order
    return None


def _segments(events: Sequence[Event]) -> list[list[Event]]:
    """Cut where the columns or the key's change, and around truncates: each part is one commit."""
    segments: list[list[Event]] = []
    schema: RowSchema | None = None
    key_schema: RowSchema | None = None
    for event in events:
        new = not segments or event.op == "t" or segments[-1][-1].op == "t"
        if event.schema is not None and schema is not None and event.schema is not schema:
            new = True
        if event.key_schema is not None and key_schema is not None and event.key_schema is not key_schema:
            new = True
        if event.schema is not None and event.op != "t":
            schema = event.schema
        key_schema = event.key_schema or key_schema
        if new:
            segments.append([])
        segments[-1].append(event)
    return segments
