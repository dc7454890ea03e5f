"""The comparison of one table, while both of its sides may change.

Rows that are alike once are settled: at that position Delta has what the source has. Rows that differ stay open and are
looked at again, because a change may be on its way. Drift is a row that still differs once the sink has applied
everything up to a position behind the look at the source, while no change event of its key came in between.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.databases import SourceDatabase, SourceTable, WithoutKeyError, can_look_up
from cdc_workstation.verify.fingerprints import Difference, Digest, Fingerprints, compare, digest
from cdc_workstation.verify.lake import READ_ERRORS, LakeState, LakeTable
from cdc_workstation.verify.log import ChangeLog, Ends
from cdc_workstation.verify.shape import Shape
from cdc_workstation.verify.values import CanonicalRow
from cdc_workstation.verify.verdict import RowDifference, TableResult, Verdict
from cdc_workstation.verify.window import Totals, Window

# Up to so many differing rows are looked at one by one.
ONE_BY_ONE = 5_000
# How many differing rows are shown.
SHOWN = 10
# How often Delta is looked at, in seconds, while a change may be on its way, for how long, and until nothing moves.
INTERVAL = 0.1
PATIENCE = 2.0
QUIET = 0.3
# How often a version is read whose files go meanwhile, by VACUUM or because the table was recreated.
_TRIES = 3

Rows = dict[Digest, list[CanonicalRow]]


class TableComparison:
    """Compares one table.

    Args:
        name: the table.
        connector: the connector that captures it.
        topic: the topic of its change events.
        source: its database.
        open_lake: opens the newest version of its Delta table.
        log: the change log.
    """

    def __init__(
        self,
        name: TableName,
        connector: Connector,
        topic: str,
        source: SourceDatabase,
        open_lake: Callable[[], LakeTable | None],
        log: ChangeLog,
    ) -> None:
        self.name = name
        self.connector = connector
        self.source = source
        self.topic = topic
        self.result = TableResult(str(name), connector.name, name.database)
        self._open_lake = open_lake
        self._log = log
        self._table: SourceTable | None = None
        self._shape = Shape((), ())
        self._totals: Totals | None = None
        self._difference = Difference()
        self._open: set[Digest] = set()
        self._drifted: set[Digest] = set()
        self._keys: dict[Digest, CanonicalRow] = {}
        self._source_rows: Rows = {}
        self._lake_rows: Rows = {}
        self._source_prints: Fingerprints | None = None
        self._ends: dict[str, Ends] = {}

    @property
    def topics(self) -> list[str]:
        """The topics that its changes come by: its own, and the one about DDL."""
        return [self.topic, self.connector.ddl_topic()]

    @property
    def is_settled(self) -> bool:
        """Whether no row is open: each is alike, or drift."""
        return not self._open and (self._difference.is_complete or self.result.verdict is Verdict.DRIFT)

    # Looks

    def look(self) -> None:
        """Compare all rows; those that differ are open afterwards.

        Raises:
            NotComparableError: one of the sides cannot be read, or rows cannot be told apart.
        """
        with self._prints_of_source() as ours:
            self._hold_lake_against(ours, first=True)

    def look_again(self) -> None:
        """Look at open rows again, until a look settles none."""
        while not self.is_settled:
            before = len(self._open), self._difference.count
            self._look_at_open(PATIENCE)
            if (len(self._open), self._difference.count) >= before:
                return

    def begin_round(self, ends: dict[str, Ends]) -> None:
        """Look at the source's side of what is open: whatever comes after that is a newer change.

        Args:
            ends: where the topics have ended before.
        """
        self._ends = ends
        if self._is_massive:
            self._source_prints = self._prints_of_source()
        else:
            self._source_rows = self._rows_of_source()

    def end_round(self) -> None:
        """Hold Delta's side against it, now that everything up to a position behind it is applied.

        A row that differs, and has no newer change, is drift.
        """
        if self._source_prints is not None:
            with self._source_prints as ours:
                self._hold_lake_against(ours)
            self._source_prints = None
        else:
            self._lake_rows = self._rows_of_lake()
            self._close_equal()
        if self.is_settled:
            return
        window = self._window()
        if not self._difference.is_complete:
            if window.surely_drifted(self._difference):
                self.declare_drift()
            return
        drifted = window.unchanged(self._open)
        if drifted and not self._is_massive:
            # A transaction can be seen a moment before its position: drift still differs in a moment.
            others, self._open = self._open - drifted, drifted
            self._look_at_open(2 * INTERVAL)
            drifted, self._open = self._open, others
        self._drifted |= drifted
        self._open -= drifted
        self.look_again()

    def declare_drift(self, reason: str = "") -> None:
        """Take all that is open for drift.

        Args:
            reason: why nothing will change that; by default how to repair it.
        """
        self._drifted |= self._open
        self._open = set()
        count = len(self._drifted) if self._difference.is_complete else self._difference.count
        rows = "1 row differs" if count == 1 else f"{count:,} rows differ"
        self.result.verdict = Verdict.DRIFT
        self.result.differing = count
        self.result.reason = reason or f"{rows}. Repair it with: make resnapshot TABLE={self.name}"
        if self._shape.key:
            self.result.differences = self._shown()

    def finish(self) -> TableResult:
        """Return the result; rows that are still open make it one without a verdict, unless others have drifted."""
        if self.result.verdict is Verdict.EQUAL and self._drifted:
            left = len(self._open)
            self._open = set()
            self.declare_drift()
            if left:
                self.result.reason += f" ({left:,} more rows changed between the looks.)"
        elif self.result.verdict is Verdict.EQUAL and not self.is_settled:
            self.result.verdict = Verdict.NOT_COMPARED
            self.result.differing = len(self._open) if self._difference.is_complete else self._difference.count
            self.result.reason = (
                f"{self.result.differing:,} rows differed at each look, and changed between the looks. Give it more "
                "time (--timeout), or let their writer pause for a moment."
            )
        elif self.result.verdict is Verdict.NOT_COMPARED:
            self.result.differing = len(self._open) if self._difference.is_complete else self._difference.count
        totals = self._totals
        if totals is not None:
            if self._difference.is_complete:
                totals = totals.settled(self._difference, self._open | self._drifted)
            self.result.source_rows, self.result.delta_rows = totals.source_rows, totals.delta_rows
            self.result.source_checksum = f"{totals.source_checksum:032x}"
            self.result.delta_checksum = f"{totals.delta_checksum:032x}"
        self.result.notes = list(self._shape.notes)
        return self.result

    # All rows

    @property
    def _is_massive(self) -> bool:
        """Whether open rows are too many to be looked at one by one, or have no keys to be found by."""
        return not self._difference.is_complete or len(self._open) > ONE_BY_ONE or not self._shape.key

    def _prints_of_source(self) -> Fingerprints:
        lake = self._open_lake()
        columns, state = (lake.columns, lake.state()) if lake else (None, LakeState({}, None, None))
        self._table = self.source.describe(self.name)
        self._shape = Shape.of(self._table, self.connector, columns, state)
        if not self._shape.key and lake is not None and not lake.operations() <= {"c", "r"}:
            raise WithoutKeyError(
                "no primary key: each change is a row of its own in Delta. Give the table a primary key, or name "
                "columns in the connector's message.key.columns."
            )
        return self._shape.fingerprints(self.source.rows(self._table, self._shape.columns))

    def _hold_lake_against(self, ours: Fingerprints, *, first: bool = False) -> None:
        with self._prints_of_lake() as theirs:
            found = compare(ours, theirs)
        self._totals = Totals(ours.rows, theirs.rows, ours.checksum, theirs.checksum)
        # A key that was alike once is settled: a difference now is a newer change on its way.
        is_new = first or not (self._difference.is_complete and found.is_complete)
        self._open = set(found.entries) if is_new else self._open & found.entries.keys()
        self._difference = found

    def _prints_of_lake(self) -> Fingerprints:
        for _ in range(_TRIES - 1):
            try:
                return self._read_lake()
            except READ_ERRORS:
                continue
        return self._read_lake()

    def _read_lake(self) -> Fingerprints:
        lake = self._open_lake()
        return self._shape.fingerprints(lake.rows(self._shape.columns)) if lake else Fingerprints()

    # Open rows

    def _look_at_open(self, patience: float) -> None:
        """Read open rows in the source, then Delta's newest versions for a while, until one has them."""
        if self._is_massive:
            with self._prints_of_source() as ours:
                self._hold_lake_against(ours)
            return
        self._source_rows = self._rows_of_source()
        deadline = time.monotonic() + patience
        quiet = time.monotonic() + min(patience, QUIET)
        seen: int | None = -1
        while self._open:
            now = time.monotonic()
            lake = self._open_lake()
            version = lake.version if lake else None
            if version != seen:
                if seen != -1:
                    quiet = now + QUIET
                seen = version
                self._lake_rows = self._rows_of_lake(lake)
                self._close_equal()
            if now >= min(deadline, quiet):
                return
            time.sleep(INTERVAL)

    def _close_equal(self) -> None:
        self._open = {
            key
            for key in self._open
            if self._source_rows.get(key) != self._lake_rows.get(key) or len(self._lake_rows.get(key, ())) > 1
        }

    def _rows_of_source(self) -> Rows:
        if self._table is None:
            return {}
        keys = self._known_keys() if can_look_up([column.family for column in self._shape.key]) else None
        return self._pick(self.source.rows(self._table, self._shape.columns, keys, self._shape.key))

    def _rows_of_lake(self, lake: LakeTable | None = None) -> Rows:
        for attempt in range(_TRIES):
            try:
                lake = lake or self._open_lake()
                rows = lake.rows(self._shape.columns, self._known_keys(), self._shape.key) if lake else ()
                return self._pick(rows)
            except READ_ERRORS:
                lake = None
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _known_keys(self) -> list[CanonicalRow] | None:
        """Return the open rows' keys; `None` until all were seen, for a digest does not tell its key."""
        keys = [self._keys[key] for key in self._open if key in self._keys]
        return keys if len(keys) == len(self._open) else None

    def _pick(self, chunks: Iterable[list[CanonicalRow]]) -> Rows:
        found: Rows = {}
        for key, row in self._shape.keyed(chunks):
            identity = digest(key)
            if identity in self._open:
                self._keys[identity] = key
                found.setdefault(identity, []).append(row)
        return found

    def _shown(self) -> list[RowDifference]:
        """Return the first of the rows that drifted, with what is different."""
        self._open = set(sorted(self._drifted)[:SHOWN])
        if not self._open <= self._source_rows.keys() | self._lake_rows.keys():
            self._source_rows, self._lake_rows = self._rows_of_source(), self._rows_of_lake()
        found = [
            self._shape.difference(self._source_rows.get(key, ()), self._lake_rows.get(key, ())) for key in self._open
        ]
        self._open = set()
        return sorted((one for one in found if one), key=lambda one: [_natural(value) for value in one.key.values()])

    # Newer changes

    def _window(self) -> Window:
        window = Window()
        ends = self._log.ends(self.topics)
        records = self._log.records(self.topic, self._ends.get(self.topic, {}), ends.get(self.topic, {}))
        if records is None:
            return Window(is_unknown=True)
        for key, _ in records:
            identity = self._shape.key_digest(key)
            if identity is None:
                return Window(is_unknown=True)
            window.changed.add(identity)
        ddl = self.connector.ddl_topic()
        statements = self._log.records(ddl, self._ends.get(ddl, {}), ends.get(ddl, {}))
        window.is_unknown = statements is None or any(self._is_about(value or b"") for _, value in statements)
        return window

    def _is_about(self, statement: bytes) -> bool:
        """Tell whether a message about DDL names the table."""
        return all(
            re.search(rb"(?<![\w$])" + re.escape(name.encode()) + rb"(?![\w$])", statement)
            for name in (self.name.namespace, self.name.table)
        )


def _natural(value: str | None) -> tuple[bool, int, str]:
    text = value or ""
    return (value is None, len(text) if text.lstrip("-").isdigit() else 0, text)
