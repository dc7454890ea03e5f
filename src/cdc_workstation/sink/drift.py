"""Watches for drift: compares the number of rows of each captured table with its source's, at an interval.

It is a net under everything else, so it asks the databases themselves and not the change log. A count is cheap, and
sees rows that are missing or left over; `cdc-workstation verify` compares values, too. It runs in the sink because that
alone knows when a table has no change on its way: a difference counts only if it stays while there is none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Counter, Gauge
from pydantic import BaseModel, ConfigDict, Field

from cdc_workstation.sink.row_counts import TIMEOUT, DriftSource, count_rows

log = logging.getLogger(__name__)

DRIFT_ROWS = Gauge(
    "cdc_drift_rows",
    "Rows that the source has and Delta lacks (below zero: Delta alone has), while no change waits",
    ["table"],
)
COMPARED = Gauge("cdc_drift_compared_timestamp_seconds", "When row counts were compared last", ["database"])
ERRORS = Counter("cdc_drift_errors", "Comparisons of row counts that failed", ["database"])


class DriftSettings(BaseModel):
    """Settings of the periodic comparison; without a source there is none."""

    model_config = ConfigDict(extra="forbid")

    sources: list[DriftSource] = Field(default_factory=list)
    interval_seconds: float = 300
    retry_seconds: float = 10
    """How soon a table that differs is compared again."""
    confirmations: int = 3
    """How often in a row a table must differ, while no change waits."""
    max_rows: int = 1_000_000
    """Tables with more rows, as the database estimates, are not counted: that would read all of them."""


class LakeCount(NamedTuple):
    """What the sink knows of a table.

    Attributes:
        table: its name in metrics.
        rows: its rows in Delta; `None` if there is no Delta table.
        waiting: the records in Kafka that are not applied yet.
        is_keyed: whether the source's table has a primary key; one without has its changes in Delta, not its rows.
    """

    table: str
    rows: int | None
    waiting: int
    is_keyed: bool = True


class Observation(NamedTuple):
    """One comparison of a table.

    Attributes:
        source_rows: the rows that its source has.
        before: what the sink knew before they were counted; `None` if it knew no such table.
        after: the same afterwards.
    """

    source_rows: int
    before: LakeCount | None
    after: LakeCount | None

    @property
    def difference(self) -> int | None:
        """Rows that are missing in Delta, below zero those that are left over; `None` if a change was on its way."""
        if self.before != self.after:
            return None
        if self.after is None:
            return self.source_rows
        if self.after.waiting or not self.after.is_keyed:
            return None
        return self.source_rows - (self.after.rows or 0)


@dataclass
class DriftTracker:
    """Decides when a difference counts: after several comparisons in a row in which no change was on its way."""

    confirmations: int = 3
    _seen: dict[str, int] = field(default_factory=dict)

    def observe(self, topic: str, observation: Observation) -> int | None:
        """Take one comparison; return the drift in rows, `None` if that is not known yet."""
        difference = observation.difference
        if difference is None:
            return None
        if difference == 0:
            self._seen.pop(topic, None)
            return 0
        self._seen[topic] = self._seen.get(topic, 0) + 1
        return difference if self._seen[topic] >= self.confirmations else None

    def suspects(self) -> set[str]:
        """Return the topics of tables that differ, and not often enough to count."""
        return {topic for topic, times in self._seen.items() if times < self.confirmations}

    def forget(self, topic: str) -> None:
        """Forget a table that is no longer compared."""
        self._seen.pop(topic, None)


class DriftMonitor:
    """Compares row counts at an interval, in a thread of its own, and shows the difference as metrics.

    Args:
        settings: the databases, and how often.
        lake: returns topic to what the sink knows of its table, as of now; called from the monitor's thread.
        is_applied: tells whether the sink applies a topic.
        name_of: returns what metrics call the table of a topic.
    """

    def __init__(
        self,
        settings: DriftSettings,
        lake: Callable[[], Mapping[str, LakeCount]],
        is_applied: Callable[[str], bool],
        name_of: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._is_applied = is_applied
        self._name_of = name_of
        self._tracker = DriftTracker(settings.confirmations)
        # What is compared of each source, a topic each.
        self._topics: list[set[str]] = [set() for _ in settings.sources]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)

    def start(self) -> None:
        """Begin; without a source there is nothing to do."""
        if self._settings.sources:
            self._thread.start()

    def stop(self) -> None:
        """End, once the comparison under way has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT)

    def compare(self, number: int, only: Collection[str] | None = None) -> None:
        """Compare the tables of a source once.

        Args:
            number: which of the settings' sources.
            only: the topics of the tables to compare; all by default.

        Raises:
            Exception: the database does not answer, or refuses.
        """
        source = self._settings.sources[number]
        before = self._lake()
        counted = count_rows(
            source,
            self._settings.max_rows,
            lambda topic: self._is_applied(topic) and (only is None or topic in only),
        )
        after = self._lake()
        for topic, rows in counted.items():
            drift = self._tracker.observe(topic, Observation(rows, before.get(topic), after.get(topic)))
            if drift is not None:
                self._show(topic, drift)
        if only is None:
            for topic in self._topics[number] - counted.keys():
                self._tracker.forget(topic)
                with suppress(KeyError):
                    DRIFT_ROWS.remove(self._name_of(topic))
            self._topics[number] = set(counted)
            COMPARED.labels(source.kind).set(time.time())

    def _show(self, topic: str, drift: int) -> None:
        table = self._name_of(topic)
        DRIFT_ROWS.labels(table).set(drift)
        if drift:
            lacks = f"lacks {drift} rows of its source" if drift > 0 else f"has {-drift} rows that its source has not"
            log.error("%s %s: see `make verify TABLE=%s`", table, lacks, table)

    def _run(self) -> None:
        delay = self._settings.retry_seconds
        only: set[str] | None = None
        while not self._stopping.wait(delay):
            for number, source in enumerate(self._settings.sources):
                try:
                    self.compare(number, only)
                except Exception as error:
                    # Any driver's, or delta-rs's: the next comparison comes, and an alert sees that none succeeds.
                    ERRORS.labels(source.kind).inc()
                    log.warning("Rows of %s at %s were not counted: %s", source.kind, source.host, error)
            only = self._tracker.suspects() or None
            delay = self._settings.retry_seconds if only else self._settings.interval_seconds
