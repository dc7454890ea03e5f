"""What sources tell beside changes of rows: DDL and snapshots. It decides which rows are gone, and what to read again.

Pure but for the clock that is passed in: changes of tables go in, deletions and requests for snapshots come out.
Nothing is remembered across starts: the topics are read from their beginning, and a table's state says which DDL its
rows reflect already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cdc_workstation.sink.events import Position
from cdc_workstation.sink.settings import Source
from cdc_workstation.sink.table_change import TableChange

# A request that nothing came of is sent again after so many seconds, then after twice as many, up to the longest.
_FIRST_RETRY_SECONDS = 30.0
_LONGEST_RETRY_SECONDS = 900.0


@dataclass
class Request:
    """A snapshot that a table needs: DDL changed its rows without change events, or it has stopped."""

    source: Source
    topic: str
    collection: str
    """The table as the source names it: `database.table` or `schema.table`."""
    position: Position | None
    """Of the DDL statement, which a snapshot from there on reflects; `None` if the table has stopped."""
    detail: str
    sent_at: float | None = None
    attempts: int = 0

    def is_due(self, now: float) -> bool:
        """Whether it is to be sent, for the first time or again."""
        if self.sent_at is None:
            return True
        wait = min(_FIRST_RETRY_SECONDS * 2 ** (self.attempts - 1), _LONGEST_RETRY_SECONDS)
        return bool(now - self.sent_at >= wait)

    def message(self) -> tuple[bytes, bytes]:
        """Return key and value of Debezium's signal: an ad hoc blocking snapshot of this table alone.

        https://debezium.io/documentation/reference/stable/configuration/signalling.html
        """
        data = {"type": "blocking", "data-collections": [re.escape(self.collection)]}
        value = {"id": f"sink-{self.topic}-{self.attempts}", "type": "execute-snapshot", "data": data}
        return self.source.key.encode(), json.dumps(value).encode()


@dataclass(frozen=True)
class Emptied:
    """The source's table had no row at a position of its log."""

    position: Position
    at_ms: int
    """When that was told, in milliseconds since the epoch."""


@dataclass
class Control:
    """What the control topics have told so far."""

    emptied: dict[str, Emptied] = field(default_factory=dict)
    """Topic to where its table was empty last: created there, or read by a snapshot that found no row."""
    requests: dict[str, Request] = field(default_factory=dict)
    """Topic to the snapshot that its table needs."""
    stops: dict[str, Request] = field(default_factory=dict)
    """Topic to the snapshot that would let its table go on."""
    not_captured: dict[str, str] = field(default_factory=dict)
    """Topic to why the connector captures nothing of its table."""
    _dropped_columns: dict[str, set[str]] = field(default_factory=dict)

    def take(self, source: Source, changes: Iterable[TableChange]) -> set[str]:
        """Take note of changes; return the topics whose older rows are gone."""
        emptied = set()
        for change in changes:
            if change.kind == "created" or (change.kind == "snapshot_empty" and change.position is not None):
                # A recreated table has no rows of before, and needs no snapshot for what was done to those.
                self._answer(change.topic, change.position)
                self._dropped_columns.pop(change.topic, None)
                self._empty(change)
                emptied.add(change.topic)
            elif change.kind == "dropped":
                for topic in [one for one in {*self.requests, *self.not_captured} if _names(change.topic, one)]:
                    self._answer(topic, change.position)
            elif change.snapshot:
                self.not_captured.pop(change.topic, None)
            elif change.kind == "unparsed":
                self.not_captured[change.topic] = change.detail
                self._request(source, change, change.detail)
            elif change.kind in ("replaced", "rows_changed"):
                self._request(source, change, change.detail)
            else:
                self._alter(source, change)
        return emptied

    def due(self, now: float, reflected: Callable[[str], Position | None]) -> list[Request]:
        """Return the requests to send now; those that a snapshot has answered are dropped.

        Args:
            now: seconds, never going back.
            reflected: topic to the position up to which the table's rows reflect DDL; `None` if that is not known.
        """
        for topic in list(self.requests):
            position = reflected(topic)
            if position is not None:
                self._answer(topic, position)
        due = [request for request in (self.stops | self.requests).values() if request.is_due(now)]
        for request in due:
            request.sent_at = now
            request.attempts += 1
        return due

    def stopped(self, source: Source, topic: str, collection: str, detail: str) -> None:
        """Take note that a table has stopped, and that a new snapshot would let it go on."""
        self.stops.setdefault(topic, Request(source, topic, collection, None, detail))

    def runs(self, topic: str) -> None:
        """Take note that a table has not stopped."""
        self.stops.pop(topic, None)

    def _empty(self, change: TableChange) -> None:
        known = self.emptied.get(change.topic)
        if change.position is not None and (known is None or known.position < change.position):
            self.emptied[change.topic] = Emptied(change.position, change.timestamp_ms)

    def _alter(self, source: Source, change: TableChange) -> None:
        """Follow columns: one that is dropped and added again has new values in old rows, and Delta the former ones."""
        dropped = self._dropped_columns.setdefault(change.topic, set())
        again = sorted(name for name in change.added if name.lower() in dropped)
        dropped |= {name.lower() for name in change.dropped}
        dropped -= {name.lower() for name in change.added}
        if again:
            self._request(source, change, f"added again: {', '.join(again)}")

    def _request(self, source: Source, change: TableChange, detail: str) -> None:
        known = self.requests.get(change.topic)
        if change.position is not None and (
            known is None or known.position is None or known.position < change.position
        ):
            collection = f"{change.namespace}.{change.table}"
            self.requests[change.topic] = Request(source, change.topic, collection, change.position, detail)

    def _answer(self, topic: str, position: Position | None) -> None:
        """Drop a request that is answered by what happened at a position."""
        request = self.requests.get(topic)
        if request is not None and (position is None or request.position is None or request.position <= position):
            del self.requests[topic]
        if request is None or topic not in self.requests:
            self.not_captured.pop(topic, None)


def _names(pattern: str, topic: str) -> bool:
    """Tell whether a dropped table's topic, or that of all tables of a database (`prefix.database.*`), is meant."""
    return topic == pattern or (pattern.endswith(".*") and topic.startswith(pattern.removesuffix("*")))
