"""What a Delta table's log says about what was applied to it: the sink has no other memory.

Every commit carries this state as JSON in its `userMetadata`, under the key `cdc_sink`. Rows and state are one atomic
commit, so the table alone says where to go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cdc_workstation.sink.events import Position

METADATA_KEY = "cdc_sink"


@dataclass
class State:
    """What was applied to one table."""

    topic_id: str = ""
    offsets: dict[int, int] = field(default_factory=dict)
    """Partition to the last offset that was applied."""
    tombstones: list[int] = field(default_factory=list)
    """Partitions whose last offset is a delete: the tombstone after it says nothing, and may be gone from Kafka."""
    positions: dict[int, Position] = field(default_factory=dict)
    """Partition to the greatest position in the source's log that was applied."""
    ts_ms: int = 0
    """The newest change's commit time in the source, in milliseconds since the epoch."""
    fields: list[str] = field(default_factory=list)
    """The columns of the newest event, in the source's order."""
    snapshot_only: int | None = None
    """The order of the snapshot that all rows come from, while nothing else was applied."""
    began: int | None = None
    """The order of the newest snapshot whose first row was applied."""
    sweep: int | None = None
    """The order of a complete snapshot; rows that it did not read are still to be deleted."""
    keyed: bool | None = None
    """Whether the source's table has a primary key."""
    keys: list[str] | None = None
    """The primary key's columns."""
    ddl: Position | None = None
    """The position at which the newest table of this name was created; what is older is gone."""
    ddl_ms: int = 0
    """When that was told, by Kafka's clock; what was told before is known, or of a log that a snapshot has replaced."""

    @property
    def next_offsets(self) -> dict[int, int]:
        """Partition to the first offset that is not applied."""
        return {one: offset + 1 + (one in self.tombstones) for one, offset in self.offsets.items()}

    def copy(self) -> State:
        """Return a copy that can be changed; this one stays as it is."""
        return State(
            self.topic_id,
            dict(self.offsets),
            list(self.tombstones),
            dict(self.positions),
            self.ts_ms,
            list(self.fields),
            self.snapshot_only,
            self.began,
            self.sweep,
            self.keyed,
            None if self.keys is None else list(self.keys),
            self.ddl,
            self.ddl_ms,
        )

    def metadata(self, topic: str) -> str:
        """Return it as a commit's `userMetadata`."""
        return json.dumps({METADATA_KEY: asdict(self) | {"topic": topic}}, separators=(",", ":"))


def app_id(topic_id: str, partition: int) -> str:
    """Return Delta's `txnAppId` of commits from a topic's partition: a recreated topic has another id."""
    return f"cdc-sink/{topic_id}/{partition}"


def restore(
    commits: Iterable[Mapping[str, Any]],
    transactions: Mapping[int, int],
    topic: str,
    topic_id: str,
    partitions: Sequence[int],
) -> State | None:
    """Return the state that a table's log tells, `None` if none of the commits carries one.

    Args:
        commits: the table's history, newest first; each with its `userMetadata`, if any.
        transactions: partition to the version of Delta's own transaction under `app_id`, an offset.
        topic: the table's topic; commits of another topic do not count.
        topic_id: Kafka's id of the topic as it is now.
        partitions: its partitions as they are now.
    """
    for commit in commits:
        try:
            found = json.loads(commit.get("userMetadata") or "{}").get(METADATA_KEY)
        except (ValueError, AttributeError):
            continue
        if found and found["topic"] == topic:
            return _state(found, transactions, topic_id, partitions)
    return None


def without_history(transactions: Mapping[int, int], topic_id: str) -> State:
    """Return the state of a table whose commits no longer say it: what Delta's own transactions hold."""
    return State(topic_id=topic_id, offsets=dict(transactions))


def _state(
    found: Mapping[str, Any], transactions: Mapping[int, int], topic_id: str, partitions: Sequence[int]
) -> State:
    positions = {int(partition): Position(*position) for partition, position in found["positions"].items()}
    # Early versions of the sink wrote the LSN of a PostgreSQL snapshot twice.
    positions = {partition: Position(p.order, 0) if p.order == p.suborder else p for partition, p in positions.items()}
    if positions and max(positions) > max(partitions, default=0):
        # Keys moved between partitions: only what all of them had reached is known to be applied.
        positions = dict.fromkeys(partitions, min(positions.values()))
    ddl = found.get("ddl")
    state = State(
        topic_id=topic_id,
        positions=positions,
        ts_ms=found["ts_ms"],
        fields=found["fields"],
        snapshot_only=found["snapshot_only"],
        began=found.get("began"),
        sweep=found["sweep"],
        keyed=found["keyed"],
        keys=found.get("keys"),
        ddl=Position(*ddl) if ddl else None,
        ddl_ms=found.get("ddl_ms", 0),
    )
    if found["topic_id"] == topic_id:
        state.offsets = dict(transactions)
        state.tombstones = found.get("tombstones", [])
        for partition in partitions:
            if str(partition) in found["offsets"]:
                state.offsets[partition] = max(state.offsets.get(partition, -1), found["offsets"][str(partition)])
    return state
