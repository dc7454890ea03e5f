"""One Delta table: what was applied to it, and how changes get in.

Every commit carries in its `userMetadata` the Kafka offset that it reaches and the position in the source's log. So the
table alone says where to go on, and a Kafka record or a position that was applied is never applied again. There is no
other state.
"""

from __future__ import annotations

import inspect
import json
import logging
import threading
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from cdc_workstation.sink import evolution, metrics
from cdc_workstation.sink.columns import UnknownTypeError, ValueConversionError, quoted, sql_type
from cdc_workstation.sink.events import (
    AFTER_ALL,
    Decoder,
    Event,
    MalformedError,
    Position,
    Record,
    RowSchema,
    Tombstone,
)
from cdc_workstation.sink.evolution import METADATA, IncompatibleError
from cdc_workstation.sink.fold import fold
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.settings import SinkSettings

log = logging.getLogger(__name__)

_APP_ID = "spark.databricks.delta.write.txnAppId"
_APP_VERSION = "spark.databricks.delta.write.txnVersion"
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_METADATA_KEY = "cdc_sink"
# How many commits back the position is looked for; others than the sink's lie between (OPTIMIZE, a user's own).
_HISTORY = 200
# A commit of so many also carries Delta's own transaction.
_TRANSACTION_INTERVAL = 50

# What Arrow says of a value that its type cannot hold.
_DOES_NOT_FIT = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)

_SNAPSHOT_ENDS = ("last", "last_in_data_collection")

_DEAD_LETTERS = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("table", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("kafka_timestamp", pa.timestamp("us", tz="UTC")),
        ("written_at", pa.timestamp("us", tz="UTC")),
    ]
)
_dead_letters_lock = threading.Lock()
# A record that cannot be applied, the reason in a word, and in a sentence.
Dead = tuple[Record, str, str]


class StoppedError(Exception):
    """The table takes no more changes; `heals` says whether a new snapshot mends it."""

    def __init__(self, detail: str, *, heals: bool = False) -> None:
        super().__init__(detail)
        self.heals = heals


@dataclass
class State:
    """What a table's log says about what was applied."""

    topic_id: str = ""
    offsets: dict[int, int] = field(default_factory=dict)
    """Partition to the last offset that was applied."""
    tombstones: list[int] = field(default_factory=list)
    """Partitions whose last offset is a delete: the tombstone after it says nothing, and may be gone from Kafka."""
    positions: dict[int, Position] = field(default_factory=dict)
    """Partition to the greatest position in the source's log that was applied."""
    ts_ms: int = 0
    """The newest change's time in the source."""
    fields: list[str] = field(default_factory=list)
    """The columns of the newest event, in the source's order."""
    snapshot_only: int | None = None
    """The order of the snapshot that all rows come from, while nothing else was applied."""
    began: int | None = None
    """The order of the newest snapshot whose first row was applied."""
    sweep: int | None = None
    """The order of a complete snapshot whose sweep is still to be done."""
    keyed: bool | None = None
    """Whether the source's table has a primary key."""
    keys: list[str] | None = None
    """Its columns."""
    version: int = -1

    @classmethod
    def read(cls, location: Location, topic: str, topic_id: str, partitions: Sequence[int]) -> State | None:
        """Read it from the table's log; `None` where there is no table."""
        table = location.open(without_files=True)
        if table is None:
            return None
        state = cls(topic_id=topic_id, version=table.version())
        for partition in partitions:
            offset = table.transaction_version(app_id(topic_id, partition))
            if offset is not None:
                state.offsets[partition] = offset
        for commit in table.history(_HISTORY):
            try:
                found = json.loads(commit.get("userMetadata") or "{}").get(_METADATA_KEY)
            except (ValueError, AttributeError):
                continue
            if found and found["topic"] == topic:
                state._restore(found, partitions)
                break
        return state

    def _restore(self, found: dict[str, Any], partitions: Sequence[int]) -> None:
        positions = {int(partition): Position(*position) for partition, position in found["positions"].items()}
        # PostgreSQL's snapshots had their LSN twice once.
        positions = {
            partition: Position(p.order, 0) if p.order == p.suborder else p for partition, p in positions.items()
        }
        if positions and max(positions) > max(partitions, default=0):
            # Keys moved between partitions: only what all of them had reached is known to be applied.
            positions = dict.fromkeys(partitions, min(positions.values()))
        self.positions = positions
        self.ts_ms = found["ts_ms"]
        self.fields = found["fields"]
        self.snapshot_only = found["snapshot_only"]
        self.began = found.get("began")
        self.sweep = found["sweep"]
        self.keyed = found["keyed"]
        self.keys = found.get("keys")
        if found["topic_id"] != self.topic_id:
            self.offsets = {}
            return
        self.tombstones = found.get("tombstones", [])
        for partition in partitions:
            if str(partition) in found["offsets"]:
                self.offsets[partition] = max(self.offsets.get(partition, -1), found["offsets"][str(partition)])

    def metadata(self, topic: str) -> str:
        """Return it as a commit's `userMetadata`."""
        shown = asdict(self) | {"topic": topic}
        del shown["version"]
        return json.dumps({_METADATA_KEY: shown}, separators=(",", ":"))


def app_id(topic_id: str, partition: int) -> str:
    """Return the `txnAppId` of commits from a topic's partition: a topic that is made anew has another id."""
    return f"cdc-sink/{topic_id}/{partition}"


class Table:
    """Applies the events of one topic to one Delta table; used by one thread at a time."""

    def __init__(self, settings: SinkSettings, topic: str) -> None:
        self.settings = settings
        self.topic = topic
        self.location = settings.location_of(topic)
        self.path = str(self.location)
        self.name = self.location.name
        self.decoder = Decoder()
        self.stopped: StoppedError | None = None
        self._stopped_version = -1
        self.state: State | None = None
        self.keyless_warned = False
        self.columns: dict[str, pa.DataType] | None = None
        self.topic_id = ""
        self.earliest: dict[int, int] = {}
        self._start: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._before: dict[int, Event | None] = {}
        # Position and time that the events reach which are about to be applied.
        self._high: Position | None = None
        self._ts_ms = 0
        self._dead: dict[int, int] = {}
        self._commits = 0
        self._behind_since: float | None = None
        metrics.expose(self.name)

    # What is known

    def open(self, topic_id: str, earliest: dict[int, int]) -> dict[int, int]:
        """Read the state from the table; return the offset to go on with for each partition.

        Args:
            topic_id: Kafka's id of the topic.
            earliest: the partitions, each with the first offset that Kafka still has.
        """
        seen, before = (self._seen, self._before) if topic_id == self.topic_id else ({}, {})
        self.topic_id = topic_id
        self.earliest = earliest
        self.stopped = None
        self.columns = None
        self._seen = {}
        self._dead = {}
        self._commits = 0
        self.state = State.read(self.location, self.topic, topic_id, list(earliest))
        metrics.TABLE_STOPPED.labels(self.name).set(0)
        if self.state is not None:
            metrics.TABLE_VERSION.labels(self.name).set(self.state.version)
        applied = self.state.offsets if self.state else {}
        self._start = {partition: max(applied.get(partition, -1) + 1, first) for partition, first in earliest.items()}
        # Where reading goes on right behind what was read last, what came before is known as if it had not stopped.
        self._before = {
            partition: event
            for partition, event in before.items()
            if event is not None and event.record.offset == seen.get(partition) == self._start.get(partition, 0) - 1
        }
        return self._start

    @property
    def due(self) -> dict[int, int]:
        """Partition to the offset that comes next."""
        return self._start | {partition: offset + 1 for partition, offset in self._seen.items()}

    @property
    def was_mended(self) -> bool:
        """Whether somebody has changed the table since it stopped: it is worth another try."""
        return self.stopped is not None and self.location.version() != self._stopped_version

    # What changes it

    def apply(self, spark: SparkSession, partition: int, records: Sequence[Record]) -> None:
        """Apply records of one partition, in Kafka's order."""
        applied = self.state.offsets.get(partition, -1) if self.state else -1
        applied = max(applied, self._seen.get(partition, -1))
        dead: list[Dead] = []
        events: list[Event] = []
        self._high = self.state.positions.get(partition) if self.state else None
        self._ts_ms = self.state.ts_ms if self.state else 0
        due = self._due(partition, records)
        self._check_anew(partition, records)
        for record in records:
            if record.offset <= applied:
                continue
            if record.offset > due and self.earliest.get(partition, 0) > due:
                # What came before it is still good.
                self._apply_all(spark, partition, events, dead)
                events = []
                if self.stopped is None:
                    lost = f"Kafka no longer has offsets {due} to {record.offset - 1} of {self.topic}, never applied"
                    self._stop(StoppedError(f"{lost}; take a new snapshot", heals=True))
                self._before.pop(partition, None)
            due = record.offset + 1
            try:
                self._take(self.decoder.decode(record), events)
            except MalformedError as error:
                # The tombstone of a row without key has nothing at all, and says nothing.
                if error.reason != "empty" or (self.state is not None and self.state.keyed):
                    dead.append((record, error.reason, str(error)))
            except StoppedError as error:
                self._apply_all(spark, partition, events, dead)
                events = []
                if self.stopped is None:
                    self._stop(error)
        if self.stopped is None:
            self._apply_all(spark, partition, events, dead, records[-1].offset)
        if self.stopped is not None:
            known = {record.offset for record, _, _ in dead}
            reached = max(applied, self.state.offsets.get(partition, -1) if self.state else -1)
            dead += [
                (record, "stopped", str(self.stopped))
                for record in records
                if record.offset > reached and record.offset not in known and record.value is not None
            ]
        self._bury(spark, partition, dead)
        self._seen[partition] = records[-1].offset

    def has_gap(self, partition: int, records: Sequence[Record]) -> bool:
        """Whether offsets are missing before or among `records`: by a transaction, by compaction, or lost."""
        return records[-1].offset - self._due(partition, records) >= len(records)

    def _due(self, partition: int, records: Sequence[Record]) -> int:
        """Return the first offset that must not be missing."""
        if partition in self._seen:
            return self._seen[partition] + 1
        if self.state is not None and partition in self.state.offsets:
            return self.state.offsets[partition] + 1 + (partition in self.state.tombstones)
        return records[0].offset

    def _check_anew(self, partition: int, records: Sequence[Record]) -> None:
        """See whether what Kafka has of a topic that was never read goes on from what the table has, if anything."""
        if partition in self._seen or (self.state is not None and partition in self.state.offsets):
            return
        floor = self.state.positions.get(partition) if self.state else None
        first = self.earliest.get(partition, 0)
        for record in records:
            try:
                found = self.decoder.decode(record)
            except MalformedError:
                continue
            if isinstance(found, Event):
                missed = ""
                if floor is not None and found.position.after(0) > floor:
                    missed = f"{self.topic} was made anew and starts behind what was applied ({found.source_position})"
                elif floor is None and first > 0:
                    missed = f"Kafka no longer has offsets 0 to {first - 1} of {self.topic}, never applied"
                # A snapshot has all; of several partitions one alone has its first row.
                if missed and not (self._begins_snapshot(found) or (len(self.earliest) > 1 and found.op == "r")):
                    self._stop(StoppedError(f"{missed}; changes may be missing; take a new snapshot", heals=True))
                return

    def _take(self, found: Event | Tombstone, events: list[Event]) -> None:
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
        found.begins = self._begins_snapshot(found)
        if found.op != "r":
            order = before.position.order if before is not None else high.order if high is not None else 0
            found.position = found.position.after(order)
        self._before[partition] = found
        if self.stopped is not None:
            if not (self.stopped.heals and found.begins):
                raise MalformedError("stopped", str(self.stopped))
            log.warning("%s: goes on with a new snapshot", self.name)
            self.stopped = None
            metrics.TABLE_STOPPED.labels(self.name).set(0)
        went_back = high is not None and found.position.order < high.order and found.ts_ms > self._ts_ms
        if went_back or (found.begins and self._replaces(found, events)):
            if not found.begins:
                raise StoppedError(
                    f"the source's log went back: {found.source_position} is newer than what was applied and lies "
                    "before it (a server was replaced, restored, or its logs reset); take a new snapshot",
                    heals=True,
                )
            log.warning(
                "%s: a snapshot of another log, by another key or once more replaces what was applied", self.name
            )
            events.append(replace(found, op="t", key=None, raw=None, resets=True))
        elif high is not None and (
            found.position < high or (found.position == high and self._is_repeated(found, events))
        ):
            metrics.STALE_EVENTS.labels(self.name).inc()
            return
        self._high = found.position
        self._ts_ms = max(self._ts_ms, found.ts_ms)
        events.append(found)

    def _begins_snapshot(self, found: Event) -> bool:
        """Whether it is the first row of a snapshot: marked so, or the last one and alone."""
        if found.op != "r" or not found.snapshot.startswith("last"):
            return found.op == "r" and found.snapshot.startswith("first")
        partition = found.record.partition
        if partition not in self._before:
            # The record right before it was applied by another run, unless some are missing.
            known = self.stopped is None and self.state is not None and partition in self.state.offsets
            return found.record.offset == 0 or (
                known and (self._high is None or self._high.order != found.position.order)
            )
        before = self._before[partition]
        return (
            before is None
            or before.op != "r"
            or before.position.order != found.position.order
            or before.snapshot.startswith("last")
        )

    def _replaces(self, found: Event, events: list[Event]) -> bool:
        """Whether the snapshot that begins takes the place of what was applied, by another key or a second time."""
        if self._is_rekeyed(found):
            return self._high is None or found.position >= self._high
        # Its rows have one position, so those of a snapshot that was cut off and begins again look like more of them.
        # Of several partitions each has some of them, and what one begins says nothing about the others.
        return len(self.earliest) == 1 and found.position == self._high and self._is_keyless(found, events)

    def _is_rekeyed(self, found: Event) -> bool:
        known = self.state.keys if self.state else None
        return known is not None and found.key_schema is not None and found.key_schema.names != known

    def _is_repeated(self, found: Event, events: list[Event]) -> bool:
        """Whether a change at the last position, of a table without primary key, is that change once more.

        Each of MySQL's changes has a position of its own, unlike the rows of a snapshot and those of PostgreSQL's COPY.
        """
        return self._is_keyless(found, events) and found.op in "cud" and found.connector != "postgresql"

    def _is_keyless(self, found: Event, events: list[Event]) -> bool:
        keyed = self.state.keyed if self.state else any(event.key is not None for event in events)
        return not keyed and found.key is None

    def _apply_all(
        self, spark: SparkSession, partition: int, events: list[Event], dead: list[Dead], last: int | None = None
    ) -> None:
        """Apply events; what follows up to the offset `last` needs no commit (tombstones, older ones, dead letters)."""
        segments = _segments(events)
        for number, segment in enumerate(segments, 1):
            reached = segment[-1].record.offset if last is None or number < len(segments) else last
            try:
                self._apply_segment(spark, partition, segment, reached, dead)
            except (IncompatibleError, UnknownTypeError) as error:
                self._stop(StoppedError(str(error)))
                return
            except StoppedError as error:
                self._stop(error)
                return

    def _apply_segment(
        self, spark: SparkSession, partition: int, events: list[Event], reached: int, dead: list[Dead]
    ) -> None:
        started = time.monotonic()
        first = events[0]
        if self.state is not None:
            self._sweep(spark, self.state)
        # A copy, which counts once it is committed.
        state = deepcopy(self.state) or State(topic_id=self.topic_id)
        if first.op == "t":
            if self.state is not None:
                if first.resets:
                    state.positions, state.keyed, state.keys = {}, None, None
                self._advance(state, partition, events, reached)
                if first.resets:
                    # The snapshot's first row has this offset too, and follows in the next commit.
                    state.offsets[partition] -= 1
                older = ""
                if len(self.earliest) > 1 and not first.resets:
                    # It comes in one partition, and holds for what the others bring, before and after.
                    position = first.position
                    for other, earliest in self.earliest.items():
                        state.positions[other] = max(position, state.positions.get(other, position))
                        state.offsets.setdefault(other, earliest - 1)
                    older = (
                        f" WHERE `_cdc_order` < {position.order}"
                        f" OR `_cdc_order` = {position.order} AND `_cdc_suborder` < {position.suborder}"
                    )
                self._commit_as(spark, state, partition, dead, resets=first.resets)
                spark.sql(f"DELETE FROM delta.`{self.path}`{older}")  # noqa: S608
                self._committed(state, events, started)
            return
        schema = next((event.schema for event in events if event.schema is not None), None)
        if state.keyed is None:
            state.keyed = any(event.key is not None for event in events)
        keyless = not state.keyed
        if not keyless:
            dead += [(event.record, "no_key", "the table has a primary key") for event in events if event.key is None]
            events = [event for event in events if event.key is not None]
            if not events:
                return
            first = events[0]
        else:
            if any(event.key is not None for event in events):
                raise StoppedError(
                    "the source's table has a primary key now, what was appended before has none; take a new snapshot",
                    heals=True,
                )
            if self.settings.keyless == "stop":
                raise StoppedError("the table has no primary key")
            if not self.keyless_warned:
                log.warning("%s has no primary key: its changes are appended, not applied", self.name)
                self.keyless_warned = True
        keys = tuple(first.key_schema.names) if first.key_schema else ()
        fresh = self.state is None
        renamed: dict[str, str] = {}
        if schema is not None:
            renamed = self._fit(spark, state, schema, first.connector)
        elif fresh:
            return
        if state.keys is not None and state.keys != [renamed.get(key, key) for key in keys]:
            raise StoppedError(
                f"the primary key was ({', '.join(state.keys)}) and is ({', '.join(keys)}); take a new snapshot",
                heals=True,
            )
        state.keys = list(keys)
        rows = events if keyless else fold(events)
        source, kept = self._rows(rows, schema, keys, dead)
        snapshot_order = _snapshot_order(events)
        insert_only = snapshot_order is not None and not keyless and (fresh or state.snapshot_only == snapshot_order)
        state.snapshot_only = snapshot_order if insert_only else None
        state.began = next((event.position.order for event in reversed(events) if event.begins), state.began)
        ended = [event.position.order for event in events if event.snapshot in _SNAPSHOT_ENDS]
        if not insert_only and self._may_sweep and state.began in ended:
            state.sweep = state.began
        if schema is not None:
            state.fields = schema.names
        self._advance(state, partition, events, reached)
        self._commit_as(spark, state, partition, dead)
        if source.num_rows:
            _frame(spark, source).createOrReplaceTempView("changes")
            columns = [name for name in source.column_names if name not in ("_cdc_deleted", "_cdc_kept")]
            if keyless or fresh:
                # Nothing to compare with: half the work of a MERGE.
                spark.sql(evolution.insert_statement(self.path, columns, with_deleted=keyless))
            else:
                spark.sql(evolution.merge_statement(self.path, columns, keys, kept, insert_only))
        self._committed(state, events, started)
        self._sweep(spark, state)

    @property
    def _may_sweep(self) -> bool:
        """Whether the end of a snapshot in the topic means that all of its rows have come."""
        return self.settings.sweep_after_snapshot and self.state is not None and len(self.earliest) == 1

    def _sweep(self, spark: SparkSession, state: State) -> None:
        """Remove the rows that a complete snapshot did not read: one commit says that it is due, the next does it."""
        if state.sweep is None:
            return
        order, state.sweep = state.sweep, None
        self._plain(spark)
        spark.conf.set(_USER_METADATA, state.metadata(self.topic))
        spark.sql(f"DELETE FROM delta.`{self.path}` WHERE `_cdc_order` < {order}")  # noqa: S608

    # Parts of it

    def _fit(self, spark: SparkSession, state: State, schema: RowSchema, connector: str) -> dict[str, str]:
        """Create the table, or bring it to the events' columns; return new names of renamed ones with the old."""
        self._plain(spark)
        if self.columns is None and self.state is not None:
            self.columns = _columns(spark, self.path)
        if self.columns is None:
            evolution.needed(dict(METADATA), schema)
            spark.sql(evolution.create_statement(self.path, schema, self.settings.table_properties))
            self.columns = {one.name: one.type for one in schema.columns} | METADATA
            return {}
        missing = METADATA.keys() - self.columns.keys()
        if missing:
            raise StoppedError(f"{self.path} is a table that this sink did not make: it has no {', '.join(missing)}")
        # Of several partitions one may still bring events of the former columns.
        previous = state.fields if len(self.earliest) == 1 else None
        change = evolution.needed(self.columns, schema, previous)
        if not change:
            return {}
        log.warning(
            "%s: added %s, widened %s%s",
            self.name,
            [one.name for one in change.new],
            [name for name, _ in change.retyped],
            f", renamed {change.renamed}" if change.renamed else "",
        )
        computed = [one.name for one in change.new if evolution.is_computed(one) and one.name not in change.renamed]
        if computed:
            log.warning(
                "%s: what rows that are there have in %s only the source knows, they get NULL: take a new snapshot",
                self.name,
                computed,
            )
        if evolution.needs_local_timestamps(self.columns, change):
            spark.sql(evolution.local_timestamps_statement(self.path))
        if change.retyped:
            # Delta's type widening would leave the files as they are, and delta-rs could no longer read the table.
            wider = spark.read.format("delta").load(self.path).selectExpr(*evolution.rewritten(self.columns, change))
            wider.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(self.path)
        if change.added:
            spark.sql(evolution.add_statement(self.path, change))
        fill = evolution.fill_statement(self.path, change, connector)
        if fill is not None:
            spark.sql(fill)
        self.columns = _columns(spark, self.path)
        return change.renamed

    def _rows(
        self,
        events: Sequence[Event],
        schema: RowSchema | None,
        keys: tuple[str, ...],
        dead: list[Dead],
    ) -> tuple[pa.Table, set[str]]:
        """Return the changes as a table for MERGE, and the columns that some of them do not carry."""
        assert self.columns is not None or schema is None
        if schema is None:
            # Deletes alone, whose events carry no row.
            named = {one.name: one for event in events[:1] for one in (event.key_schema or RowSchema((), {})).columns}
        else:
            named = schema.by_name
        kept: set[str] = set()
        converted: list[tuple[Event, dict[str, Any]]] = []
        for event in events:
            if event.op == "c" and event.kept:
                lacks = f"the row with the changed key lacks {', '.join(sorted(event.kept))}, which did not change"
                dead.append((event.record, "unavailable", f"{lacks}; REPLICA IDENTITY FULL would bring it"))
                continue
            try:
                row: dict[str, Any] = {}
                if event.raw is not None:
                    raw = event.raw
                    row = {
                        name: None if name in event.kept else one.value(raw.get(name)) for name, one in named.items()
                    }
                if event.key is not None:
                    row.update(zip(keys, event.key, strict=True))
                converted.append((event, row))
                kept |= event.kept
            except ValueConversionError as error:
                dead.append((event.record, "value", str(error)))
        types = {name: ((self.columns or {}).get(name, one.type), one.type) for name, one in named.items()}
        try:
            return _arrow(converted, types, bool(kept)), kept
        except _DOES_NOT_FIT:
            # A value that its type cannot hold: find the rows that have one.
            fitting = []
            for event, row in converted:
                try:
                    _arrow([(event, row)], types, bool(kept))
                    fitting.append((event, row))
                except _DOES_NOT_FIT as error:
                    dead.append((event.record, "value", str(error)))
            return _arrow(fitting, types, bool(kept)), kept

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
        state.topic_id = self.topic_id

    def _commit_as(
        self, spark: SparkSession, state: State, partition: int, dead: list[Dead], *, resets: bool = False
    ) -> None:
        """Let the next commit of this session carry the offset and the position that it reaches.

        What it passes and cannot be applied is set aside before: nobody reads it again afterwards.

        A reset has the offset of the event before, maybe that of the last transaction, and Delta would skip it.

        Delta asks the table's whole state for a `SetTransaction`, which is half of a small MERGE. Every commit has the
        offset in its metadata, so the transaction is there for who lost that: for each commit where applying a change
        twice would show, else from time to time.
        """
        self._bury(spark, partition, [one for one in dead if one[0].offset <= state.offsets[partition]])
        self._plain(spark)
        if not resets and (self._commits % _TRANSACTION_INTERVAL == 0 or not state.keyed):
            spark.conf.set(_APP_ID, app_id(state.topic_id, partition))
            spark.conf.set(_APP_VERSION, str(state.offsets[partition]))
        self._commits += 1
        spark.conf.set(_USER_METADATA, state.metadata(self.topic))

    def _plain(self, spark: SparkSession) -> None:
        for name in (_APP_ID, _APP_VERSION, _USER_METADATA):
            spark.conf.unset(name)

    def _committed(self, state: State, events: Sequence[Event], started: float) -> None:
        self.state = state
        now = time.time()
        for event in events:
            metrics.ROWS_APPLIED.labels(self.name, event.op).inc()
        newest = max(event.ts_ms for event in events)
        if newest:
            metrics.LAG_SECONDS.labels(self.name).set(max(now - newest / 1000, 0.0))
        metrics.COMMIT_SECONDS.labels(self.name).observe(time.monotonic() - started)
        state.version = self.location.version()
        metrics.TABLE_VERSION.labels(self.name).set(state.version)

    def show_lag(self, offsets: int) -> None:
        """Show how many records wait. While some do, the lag in seconds grows, whether or not any is applied."""
        metrics.LAG_OFFSETS.labels(self.name).set(offsets)
        now = time.time()
        if not offsets:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        else:
            newest = self.state.ts_ms / 1000 if self.state else 0.0
            metrics.LAG_SECONDS.labels(self.name).set(max(now - max(newest, self._behind_since), 0.0))

    def stop(self, reason: str) -> None:
        """Take no more changes: they become dead letters."""
        self._stop(StoppedError(reason))

    def _stop(self, error: StoppedError) -> None:
        # First, because the version is compared as soon as the table has stopped.
        self._stopped_version = self.location.version()
        self.stopped = error
        log.error("%s takes no more changes: %s", self.name, error)
        metrics.TABLE_STOPPED.labels(self.name).set(1)
        metrics.ERRORS.labels(self.name).inc()

    def _bury(self, spark: SparkSession, partition: int, dead: list[Dead]) -> None:
        """Write records to the dead-letter table, each once."""
        if not dead:
            return
        location = self.settings.dead_letters
        application = f"{app_id(self.topic_id, partition)}/dead"
        with _dead_letters_lock:
            if partition not in self._dead:
                table = location.open(without_files=True)
                known = None if table is None else table.transaction_version(application)
                self._dead[partition] = -1 if known is None else known
            new = sorted((one for one in dead if one[0].offset > self._dead[partition]), key=lambda one: one[0].offset)
            if not new:
                return
            now = datetime.now(UTC)
            rows = [
                {
                    "topic": self.topic,
                    "partition": partition,
                    "offset": record.offset,
                    "table": self.name,
                    "reason": reason,
                    "detail": detail[:2000],
                    "key": record.key,
                    "value": record.value,
                    "kafka_timestamp": record.timestamp_ms * 1000,
                    "written_at": now,
                }
                for record, reason, detail in new
            ]
            frame = _frame(spark, pa.Table.from_pylist(rows, schema=_DEAD_LETTERS))
            self._plain(spark)
            (
                frame.write.format("delta")
                .mode("append")
                .option("txnAppId", application)
                .option("txnVersion", new[-1][0].offset)
                .save(str(location))
            )
            self._dead[partition] = new[-1][0].offset
        metrics.DEAD_LETTERED.labels(self.name).inc(len(new))
        log.error("%s: %d events are in the dead-letter table, the first because: %s", self.name, len(new), new[0][2])


def _snapshot_order(events: Sequence[Event]) -> int | None:
    """Return the order that all events share where they are rows of one snapshot, else `None`."""
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


def _arrow(
    rows: Sequence[tuple[Event, dict[str, Any]]], types: dict[str, tuple[pa.DataType, pa.DataType]], with_kept: bool
) -> pa.Table:
    """Build the source of a MERGE; `types` are each column's type in the table and in the event."""
    arrays: dict[str, pa.Array] = {}
    for name, (wanted, given) in types.items():
        array = pa.array([row.get(name) for _, row in rows], given)
        arrays[name] = array if given == wanted else array.cast(wanted)
    events = [event for event, _ in rows]
    arrays["_cdc_op"] = pa.array([event.op for event in events], pa.string())
    arrays["_cdc_ts_ms"] = pa.array([event.ts_ms for event in events], pa.int64())
    arrays["_cdc_position"] = pa.array([event.source_position for event in events], pa.string())
    arrays["_cdc_order"] = pa.array([event.position.order for event in events], pa.int64())
    arrays["_cdc_suborder"] = pa.array([event.position.suborder for event in events], pa.int64())
    arrays["_cdc_deleted"] = pa.array([event.is_delete for event in events], pa.bool_())
    if with_kept:
        arrays["_cdc_kept"] = pa.array([sorted(event.kept) for event in events], pa.list_(pa.string()))
    return pa.table(arrays)


def _frame(spark: SparkSession, table: pa.Table) -> DataFrame:
    """Return rows as a local relation: no Python worker, and nothing that MERGE must materialise."""
    if hasattr(DataFrame, "toArrow"):
        return spark.createDataFrame(table)
    ddl = ", ".join(f"{quoted(one.name)} {sql_type(one.type)}" for one in table.schema)
    return spark.createDataFrame([tuple(row.values()) for row in table.to_pylist()], ddl)


def _columns(spark: SparkSession, path: str) -> dict[str, pa.DataType]:
    """Return name and type of a table's columns."""
    from pyspark.sql.pandas.types import to_arrow_schema

    # Spark 4.2 asks for the zone, those before know UTC only.
    zone = {"timezone": "UTC"} if "timezone" in inspect.signature(to_arrow_schema).parameters else {}
    schema = to_arrow_schema(spark.read.format("delta").load(path).schema, **zone)
    return {one.name: one.type for one in schema}
