"""What the sink needs from an engine that writes Delta tables. `delta_rs` and `spark_connect` implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from cdc_workstation.sink.events import Position
from cdc_workstation.sink.rows import Rows
from cdc_workstation.sink.schema import Change


@dataclass(frozen=True)
class CommitInfo:
    """What a commit carries beside its rows."""

    metadata: str
    """The commit's `userMetadata`."""
    transaction: tuple[str, int] | None = None
    """Delta's own transaction: `txnAppId` and `txnVersion`."""


class TableWriter(Protocol):
    """One Delta table. Each method that changes rows is one atomic commit, or none if no row changes."""

    def refresh(self) -> int:
        """Take note of commits by others; return the table's version, -1 if there is no table."""

    def forget(self) -> None:
        """Read all of the log again at the next `refresh`: somebody may have recreated the table."""

    def version(self) -> int:
        """Return the version that the last commit or `refresh` has seen, -1 if there was no table."""

    def count(self) -> int:
        """Return the number of rows."""

    def columns(self) -> dict[str, pa.DataType] | None:
        """Return name and type of the columns, `None` if there is no table."""

    def history(self, limit: int) -> list[dict[str, Any]]:
        """Return the last commits, newest first, each with its `userMetadata` if it has one."""

    def transaction_version(self, app_id: str) -> int | None:
        """Return the version of Delta's own transaction of an application."""

    def create(self, columns: Mapping[str, pa.DataType], properties: Mapping[str, str], *, replaces: bool) -> None:
        """Create the table with these columns; all of them may be NULL.

        Args:
            columns: name to type.
            properties: the table's properties.
            replaces: a table that is there is replaced, in one commit. Otherwise there must be none.
        """

    def retain(self, properties: Mapping[str, str]) -> None:
        """Give a table that exists the retention that new ones get, unless somebody gave it one of their own.

        Args:
            properties: what else new tables get.
        """

    def evolve(self, change: Change) -> None:
        """Add, fill and widen columns."""

    def append(self, rows: Rows, info: CommitInfo, *, with_deleted: bool) -> None:
        """Append rows, with or without those that changes delete."""

    def upsert(self, rows: Rows, keys: Sequence[str], info: CommitInfo, *, insert_only: bool) -> None:
        """Apply the latest change of each key, unless the table has a newer one.

        Args:
            rows: the changes, at most one of each key.
            keys: the key's columns.
            info: what the commit carries.
            insert_only: rows that are there already are equal.
        """

    def delete_older(self, position: Position | None, info: CommitInfo) -> None:
        """Delete the rows whose change lies before a position, or all."""

    def record(self, info: CommitInfo) -> None:
        """Commit what `info` carries, and no rows."""

    def obsolete_bytes(self) -> int:
        """Return what the last commit leaves on disk beyond the table: replaced files, change data, and the log."""

    def maintenance_is_due(self) -> bool:
        """Whether `maintain` has something to do."""

    def maintain(self) -> int:
        """Compact small files, and checkpoint the log.

        Returns:
            What that leaves on disk beyond the table, in bytes.
        """

    def vacuum_is_due(self) -> bool:
        """Whether files of versions past their retention may be there."""

    def vacuum(self) -> None:
        """Remove files of versions past their retention; another thread may write the table meanwhile."""


def is_older(position: Position | None) -> str | None:
    """Return the SQL condition of `delete_older`, in words that Spark and DataFusion share; `None` for all rows."""
    if position is None:
        return None
    return (
        f"`_cdc_order` < {position.order}"
        f" OR (`_cdc_order` = {position.order} AND `_cdc_suborder` < {position.suborder})"
    )


def is_newer() -> str:
    """Return the SQL condition under which a change (`s`) is newer than the table's row (`t`)."""
    return (
        "(s.`_cdc_order` > t.`_cdc_order`"
        " OR (s.`_cdc_order` = t.`_cdc_order` AND s.`_cdc_suborder` > t.`_cdc_suborder`))"
    )
