"""Whether a table's records follow each other: what Kafka has lost before it was applied must never go unnoticed."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_workstation.sink.commits import Table
from cdc_workstation.sink.decoder import Decoder
from cdc_workstation.sink.events import Event, MalformedError, Record
from cdc_workstation.sink.steps import StoppedError


class Continuity:
    """The offsets of one topic.

    Args:
        topic: the topic's name.
        table: what is known of its table.
        decoder: decodes the topic's records.
    """

    def __init__(self, topic: str, table: Table, decoder: Decoder) -> None:
        self.topic = topic
        self.seen: dict[int, int] = {}
        """Partition to the last offset that was read since the table was opened."""
        self._table = table
        self._decoder = decoder

    def next_offset(self, partition: int) -> int | None:
        """Return the first offset that must not be missing; `None` if the partition was never read."""
        if partition in self.seen:
            return self.seen[partition] + 1
        state = self._table.state
        return state.next_offsets.get(partition) if state is not None else None

    def has_gap(self, partition: int, records: Sequence[Record]) -> bool:
        """Whether offsets are missing before or among `records`: by a transaction, by compaction, or lost."""
        first = self.next_offset(partition)
        return records[-1].offset - (records[0].offset if first is None else first) >= len(records)

    def lost(self) -> StoppedError | None:
        """Return why the table must stop because Kafka lost records that were never applied, `None` if it did not.

        An idle topic shows no gap: its log start alone tells.
        """
        for partition, first in self._table.log_start.items():
            # Never read: whether its beginning matters shows with its first record, or never if it is empty.
            expected = self.next_offset(partition) or 0
            if first > expected:
                return self.loss(expected, first - 1)
        return None

    def loss(self, first: int, last: int) -> StoppedError:
        """Return why a table must stop that lacks these offsets."""
        lost = f"Kafka no longer has offsets {first} to {last} of {self.topic}, never applied"
        return StoppedError(f"{lost}; take a new snapshot", recovers=True)

    def missing_beginning(self, partition: int, records: Sequence[Record]) -> Event | None:
        """Return the first event of a topic that was never read, if it does not go on from what the table has."""
        if self.next_offset(partition) is not None:
            return None
        for record in records:
            try:
                found = self._decoder.decode(record)
            except MalformedError:
                continue
            if isinstance(found, Event):
                return found if self._missed(found) else None
        return None

    def beginning_lost(self, first: Event) -> StoppedError:
        """Return why a table must stop whose topic begins with this event."""
        return StoppedError(f"{self._missed(first)}; changes may be missing; take a new snapshot", recovers=True)

    def _missed(self, first: Event) -> str:
        partition, state = first.record.partition, self._table.state
        high = state.positions.get(partition) if state is not None else None
        start = self._table.log_start.get(partition, 0)
        if high is not None and first.position.after(0) > high:
            return f"{self.topic} was recreated and starts behind what was applied ({first.source_position})"
        if high is None and start > 0:
            return f"Kafka no longer has offsets 0 to {start - 1} of {self.topic}, never applied"
        return ""
