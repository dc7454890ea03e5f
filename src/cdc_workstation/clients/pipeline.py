"""A table with its whole way: in the source's database, its topic, and the Delta table that the stack's sink keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from cdc_workstation.clients.comparison import METADATA_PREFIX, differences, shown
from cdc_workstation.clients.delta import CaptureError, DeltaReader, Row, RowError
from cdc_workstation.clients.source import Connection, Database

# pytest's tracebacks end in the test.
__tracebackhide__ = True


class CdcPipeline:
    """One captured table.

    Statements are committed at once; `with pipeline.transaction():` puts several into one.

    Args:
        database: which kind of database the table is in.
        connection: a connection of the test's own to it.
        table: the table's name there.
        topic: the topic of its change events.
        path: the directory of its Delta table.
        obstacle: says why no change can reach the Delta table; see `DeltaReader`.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        table: str,
        topic: str,
        path: Path,
        *,
        obstacle: Callable[[], str] | None = None,
    ) -> None:
        self.database = database
        self.connection = connection
        self.table = table
        self.topic = topic
        self.delta = DeltaReader(path, obstacle=obstacle)
        self.changed: float | None = None
        """When the test last changed the table by this object, in seconds since the epoch."""
        self._obstacle = obstacle
        self.key = connection.primary_key(table)
        """The primary key's columns."""

    def __repr__(self) -> str:
        return f"<CdcPipeline {self.database} {self.table} -> {self.topic} -> {self.path}>"

    @property
    def path(self) -> str:
        """The Delta table's directory."""
        return str(self.delta.path)

    @property
    def identifier(self) -> str:
        """The Delta table as Spark's SQL names it by its path."""
        return f"delta.`{self.path}`"

    def problem(self) -> str:
        """Say why no change can reach the Delta table; empty if nothing is known to be in the way."""
        return self._obstacle() if self._obstacle else ""

    # The source

    def insert(self, row: Mapping[str, Any] | None = None, /, **more: Any) -> Row:
        """Insert a row (column to value, as a mapping or as keyword arguments) and return its key."""
        with self._changing():
            return self.connection.insert(self.table, {**(row or {}), **more}, self.key)

    def insert_many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows in one transaction."""
        with self._changing(), self.transaction():
            for row in rows:
                self.connection.insert(self.table, row, ())

    def update(self, where: Mapping[str, Any], values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Give new values to the rows that have the values `where`; a new value for the key moves a row."""
        changed = {**(values or {}), **more}
        assignments = ", ".join(f"{self.connection.quoted(name)} = %s" for name in changed)
        condition, parameters = self._condition(where)
        statement = f"UPDATE {self.connection.quoted(self.table)} SET {assignments} WHERE {condition}"  # noqa: S608
        with self._changing():
            self.connection.execute(statement, [*changed.values(), *parameters])

    def delete(self, where: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Delete the rows that have these values.

        Raises:
            ValueError: no value is given; `execute` a statement to delete all rows.
        """
        condition, parameters = self._condition({**(where or {}), **more})
        statement = f"DELETE FROM {self.connection.quoted(self.table)} WHERE {condition}"  # noqa: S608 -- quoted
        with self._changing():
            self.connection.execute(statement, parameters)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Execute any statement, a DDL for example, with `%s` for each parameter; return its rows."""
        return self.connection.execute(statement, parameters)

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what the block does at its end, or roll it back where it raises."""
        return self.connection.transaction()

    def source_rows(self) -> list[Row]:
        """Return the rows that the source has."""
        return self.connection.select(f"SELECT * FROM {self.connection.quoted(self.table)}")  # noqa: S608 -- quoted

    # The lake

    def delta_rows(self) -> list[Row]:
        """Return the rows that the Delta table has, without the columns that the sink adds (`_cdc_...`)."""
        return _own_columns(self.delta.rows())

    def wait_for_row(self, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any) -> Row:
        """Wait until a row with these values is visible in Delta, and return it; see `DeltaReader.wait_for_row`."""
        return self.delta.wait_for_row(values, timeout=timeout, **more)

    def wait_for_no_row(
        self, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any
    ) -> None:
        """Wait until no row with these values is visible in Delta; see `DeltaReader.wait_for_no_row`."""
        self.delta.wait_for_no_row(values, timeout=timeout, **more)

    def wait_until_equal(self, *, timeout: float = 60.0) -> list[Row]:
        """Wait until the Delta table equals the source's table as it is now; return its rows, as `delta_rows`.

        Raises:
            CaptureError: no change can come; the text says why.
            RowError: they differ after `timeout` seconds; the text says in which rows.
        """
        source = self.source_rows()
        try:
            rows = self.delta.wait_until(lambda rows: not differences(source, rows, self.key), timeout=timeout)
        except CaptureError:
            raise
        except RowError as error:
            different = differences(source, self.delta.rows(), self.key)
            state = str(error).partition(" s. ")[2].partition("\n")[0]
            raise RowError(
                f"{self.path} does not equal {self.table} after {timeout:.0f} s: {len(different)} rows differ, "
                f"the source has {len(source)}. {state}{shown(different)}"
            ) from None
        return _own_columns(rows)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Note when a change began that succeeded: its event is written later than that."""
        began = time.time()
        yield
        self.changed = began

    def _condition(self, where: Mapping[str, Any]) -> tuple[str, list[Any]]:
        if not where:
            raise ValueError("say which rows: column=value")
        parts = [
            f"{self.connection.quoted(name)} IS NULL" if value is None else f"{self.connection.quoted(name)} = %s"
            for name, value in where.items()
        ]
        return " AND ".join(parts), [value for value in where.values() if value is not None]


def _own_columns(rows: Iterable[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if not name.startswith(METADATA_PREFIX)} for row in rows]
