"""A Delta table as one who waits for it sees it: rows, history, change feed; read by delta-rs, without a JVM.

Rows are dictionaries of Python values: `Decimal`, `datetime` (aware for TIMESTAMP, naive for TIMESTAMP_NTZ), `bytes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import arro3.core as arrow
import arro3.io as arrow_io
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

# pytest's tracebacks end in the test.
__tracebackhide__ = True

Row = dict[str, Any]

# How often a wait looks at the table's log; a look costs the listing of a directory.
_INTERVAL = 0.05
# How often a wait asks whether what it waits for can still come.
_OBSTACLE_INTERVAL = 2.0
# What an error shows of a table.
_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 400
# With these features a row is in a file as it is in the table, but for its types.
_READ_FROM_FILES = {"typeWidening", "typeWidening-preview", "timestampNtz"}


class RowError(AssertionError, TimeoutError):
    """The rows of a table did not become what was waited for; the text says what was there instead."""


class CaptureError(RowError):
    """Nothing that is waited for can come: the connector failed, or the sink stopped the table; the text says why."""


@dataclass(frozen=True)
class Change:
    """One row change of the change data feed."""

    version: int
    """The commit that made it."""
    kind: str
    """`insert`, `update_preimage`, `update_postimage` or `delete`."""
    row: Row


class DeltaReader:
    """Reads one table, which need not exist yet.

    Args:
        path: the table's directory.
        obstacle: says why no change can reach the table, or returns an empty text. Waits ask it at their start and
            every two seconds, and end with a `CaptureError` once it says something.
    """

    def __init__(self, path: str | Path, *, obstacle: Callable[[], str] | None = None) -> None:
        self.path = Path(path)
        self._obstacle = obstacle

    def version(self) -> int:
        """Return the number of the last commit, -1 where there is no table."""
        try:
            return int(DeltaTable(str(self.path)).version())
        except TableNotFoundError:
            return -1

    def columns(self) -> dict[str, str]:
        """Return the columns' names and Delta types, in the table's order; empty where there is no table."""
        try:
            fields = DeltaTable(str(self.path)).schema().fields
        except TableNotFoundError:
            return {}
        return {field.name: str(getattr(field.type, "type", field.type)) for field in fields}

    def rows(self, *, version: int | None = None) -> list[Row]:
        """Return all rows, of the last version or of a given one; none where there is no table."""
        try:
            table = DeltaTable(str(self.path), version=version)
        except TableNotFoundError:
            return []
        return _rows(table)

    def count(self) -> int:
        """Return the number of rows."""
        try:
            table = DeltaTable(str(self.path))
        except TableNotFoundError:
            return 0
        return int(table.count())

    def matching(self, values: Mapping[str, Any]) -> list[Row]:
        """Return the rows that have these values: equal ones, or for a callable those it returns true for.

        Raises:
            KeyError: the table has no such column.
        """
        try:
            table = DeltaTable(str(self.path))
        except TableNotFoundError:
            return []
        types = {field.name: str(getattr(field.type, "type", "")) for field in table.schema().fields}
        unknown = values.keys() - types.keys()
        if unknown:
            raise KeyError(f"{self.path} has no column {', '.join(sorted(unknown))}")
        # The engine narrows down what it surely compares as Python does; the rest is compared here.
        conditions = [sql for name, value in values.items() if (sql := _condition(name, types[name], value))]
        return [row for row in _rows(table, conditions) if not _differences(row, values)]

    def history(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return the last commits, newest first (`version`, `timestamp` in ms, `operation`, `userMetadata`, ...)."""
        try:
            return list(DeltaTable(str(self.path)).history(limit))
        except TableNotFoundError:
            return []

    def changes(self, first: int = 0, last: int | None = None) -> list[Change]:
        """Return the change data feed of the versions `first` to `last`, both included, by version.

        Within a version updates come as a pair, the row before first; there is no other order.
        """
        table = DeltaTable(str(self.path))
        rows = _python_rows(arrow.Table.from_arrow(table.load_cdf(first, table.version() if last is None else last)))
        order = {"delete": 0, "update_preimage": 1, "update_postimage": 2, "insert": 3}
        found = [
            Change(
                int(row.pop("_commit_version")),
                str(row.pop("_change_type")),
                {name: value for name, value in row.items() if name != "_commit_timestamp"},
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one.version, order[one.kind]))

    def wait_for_row(self, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any) -> Row:
        """Wait until a row with these values is visible, and return it.

        Args:
            values: column to value, or to a callable that says whether a value will do.
            timeout: seconds to wait.
            **more: more of `values`.

        Raises:
            CaptureError: no row can come.
            RowError: no such row came; the text says which were there, and what is different about the nearest.
        """
        wanted = {**(values or {}), **more}
        found: list[Row] = []

        def look() -> bool:
            # A column that is not there yet may be on its way.
            with suppress(KeyError):
                found[:] = self.matching(wanted)
            return bool(found)

        began = time.monotonic()
        if self._wait(look, timeout):
            return found[0]
        raise RowError(
            f"no row with {show(wanted)} in {self.path} after {time.monotonic() - began:.1f} s. {self._instead(wanted)}"
        )

    def wait_for_no_row(
        self, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any
    ) -> None:
        """Wait until no row with these values is visible; arguments as `wait_for_row`.

        A table that does not exist has no rows: to see that one went, wait for it first.

        Raises:
            KeyError: the table has no such column.
            CaptureError: no change can come.
            RowError: there still was one; the text shows it.
        """
        wanted = {**(values or {}), **more}
        found: list[Row] = []

        def look() -> bool:
            found[:] = self.matching(wanted)
            return not found

        began = time.monotonic()
        if not self._wait(look, timeout):
            seconds = time.monotonic() - began
            raise RowError(
                f"rows with {show(wanted)} are still in {self.path} after {seconds:.1f} s. {self._state()}"
                + "".join(f"\n  {show(row)}" for row in found[:_SHOWN_ROWS])
            )

    def wait_until(self, holds: Callable[[list[Row]], bool], *, timeout: float = 60.0, what: str = "") -> list[Row]:
        """Wait until the rows are as `holds` says, and return them.

        Raises:
            CaptureError: no change can come.
            RowError: they were not after `timeout` seconds; the text shows them, after `what`.
        """
        found: list[Row] = []

        def look() -> bool:
            found[:] = self.rows()
            return holds(found)

        if self._wait(look, timeout):
            return found
        raise RowError(
            f"{what or 'the rows are not as expected'} in {self.path} after {timeout:.0f} s. {self._state()}"
            + "".join(f"\n  {show(row)}" for row in found[:_SHOWN_ROWS])
        )

    def _wait(self, look: Callable[[], bool], timeout: float) -> bool:
        """Call `look` at once, after each commit and at the end, until it returns true or time is up."""
        began = time.monotonic()
        asked = began - _OBSTACLE_INTERVAL
        problem = ""
        seen: object = None
        while True:
            now = time.monotonic()
            in_time = now < began + timeout
            log = self._log()
            if log != seen:
                seen = log
                try:
                    if look():
                        return True
                except (OSError, DeltaError):
                    # A file went (vacuum, a table recreated) between the log and the read: look again.
                    if not in_time:
                        raise
                    seen = None
            if problem:
                raise CaptureError(f"{self.path} gets no changes (after {now - began:.1f} s): {problem}")
            if not in_time:
                return False
            if self._obstacle and now - asked >= _OBSTACLE_INTERVAL:
                # The table is looked at once more: its last change may just have come.
                asked, problem = now, self._obstacle()
            time.sleep(0 if problem else _INTERVAL)

    def _log(self) -> tuple[str, int]:
        """Return what changes with each commit: the name of the newest file of the log, and when it was made."""
        try:
            newest = max(
                (name for name in (self.path / "_delta_log").iterdir() if name.suffix == ".json"), default=None
            )
            return (newest.name, newest.stat().st_mtime_ns) if newest else ("", 0)
        except OSError:
            return ("", 0)

    def _state(self) -> str:
        """Say in a sentence which version the table is at, and since when."""
        history = self.history(1)
        if not history:
            return "There is no table at that path."
        last = history[0]
        committed = datetime.fromtimestamp(last["timestamp"] / 1000, tz=UTC)
        ago = (datetime.now(UTC) - committed).total_seconds()
        return (
            f"The table is at version {last['version']} ({last['operation']}, {ago:.1f} s ago). Rows: {self.count()}."
        )

    def _instead(self, wanted: Mapping[str, Any]) -> str:
        """Say what is there instead of a row with these values; the nearest rows first."""
        state = self._state()
        columns = self.columns()
        missing = [name for name in wanted if name not in columns]
        if columns and missing:
            known = ", ".join(name for name in columns if not name.startswith("_cdc_"))
            state += f" It has no column {', '.join(missing)}; it has {known}."
        present = {name: value for name, value in wanted.items() if name in columns}
        ranked = sorted(((_differences(row, present), row) for row in self.rows()), key=lambda pair: len(pair[0]))
        for differences, row in ranked[:_SHOWN_ROWS]:
            shown = {name: value for name, value in row.items() if not name.startswith("_cdc_")}
            state += f"\n  {show(shown)}" + (f" <- {'; '.join(differences)}" if differences else "")
        if len(ranked) > _SHOWN_ROWS:
            state += f"\n  and {len(ranked) - _SHOWN_ROWS} more"
        return state


def show(row: Mapping[str, Any]) -> str:
    """Return `name=value, ...`, cut where it is long."""
    text = ", ".join(f"{name}={_named(value)}" for name, value in row.items()) or "any values"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _named(value: Any) -> str:
    if isinstance(value, date | Decimal):
        return str(value)
    return getattr(value, "__name__", repr(value)) if callable(value) else repr(value)


def _differences(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in wanted.items():
        actual = row.get(name)
        if callable(value):
            if actual is None or not value(actual):
                found.append(f"{name} is {_named(actual)}")
        elif not _equal(value, actual):
            found.append(f"{name} is {actual!r}, not {value!r}")
    return found


def _equal(wanted: Any, actual: Any) -> bool:
    if wanted is None or actual is None:
        return wanted is actual
    if isinstance(wanted, float) and isinstance(actual, Decimal):
        # The decimal that one means who writes 0.1.
        return Decimal(repr(wanted)) == actual
    return bool(wanted == actual)


def _condition(name: str, kind: str, value: Any) -> str:
    """Return an SQL condition that holds for every row with this value, empty where none is sure to."""
    column = '"' + name.replace('"', '""') + '"'
    if value is None:
        return f"{column} IS NULL"
    if kind in ("integer", "long", "short", "byte") and type(value) is int and abs(value) < 2**31:
        return f"{column} = {value}"
    if kind == "string" and isinstance(value, str):
        return f"{column} = '" + value.replace("'", "''") + "'"
    return ""


def _rows(table: DeltaTable, conditions: Sequence[str] = ()) -> list[Row]:
    """Return the rows for which the SQL conditions hold, and perhaps others."""
    features = set(table.protocol().reader_features or ())
    if "typeWidening" in features and features <= _READ_FROM_FILES and not table.metadata().partition_columns:
        return _rows_of_files(table)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    # The query engine of delta-rs, because it reads tables with deletion vectors too.
    batches = QueryBuilder().register("t", table).execute(f"SELECT * FROM t{where}")  # noqa: S608 -- see _condition
    return _python_rows(arrow.Table.from_arrow(batches.read_all()))


def _rows_of_files(table: DeltaTable) -> list[Row]:
    """Return the rows of a table with widened columns, which delta-rs refuses: values are cast to the type of now.

    As the protocol says (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#reader-requirements-for-type-widening).
    """
    fields = list(arrow.Schema.from_arrow(table.schema()))
    rows: list[Row] = []
    for uri in table.file_uris():
        file = arrow_io.read_parquet(uri.removeprefix("file://")).read_all()
        rows += [
            dict(zip((field.name for field in fields), values, strict=True))
            for values in zip(
                *(
                    file.column(field.name).cast(field.type).to_pylist()
                    if field.name in file.column_names
                    else [None] * file.num_rows
                    for field in fields
                ),
                strict=True,
            )
        ]
    return rows


def _python_rows(table: arrow.Table) -> list[Row]:
    names = table.column_names
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
