"""The embedded engine: delta-rs writes the tables in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    QueryBuilder,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import TableNotFoundError
from deltalake.schema import Schema

from cdc_workstation.sink.columns import quoted
from cdc_workstation.sink.delta_files import (
    NO_HOOKS,
    SMALLEST_FILE,
    TARGET_FILE_SIZE,
    TableFiles,
    changed_retention,
    retention_properties,
)
from cdc_workstation.sink.delta_sql import (
    STATISTICS_COLUMNS,
    among,
    cast,
    filled,
    is_long_decimal,
    statistics_columns,
    text,
)
from cdc_workstation.sink.events import Position
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.rows import DELETED, UNAVAILABLE, Rows
from cdc_workstation.sink.schema import Change
from cdc_workstation.sink.writer import CommitInfo, is_newer, is_older

# A commit that meets another one is tried again by the sink, which then reads what the other one did.
_RETRIES = 3


class DeltaRsWriter:
    """One Delta table.

    Args:
        location: where it lies.
        retention_seconds: how long files of former versions stay.
    """

    def __init__(self, location: Location, retention_seconds: float) -> None:
        self._location = location
        self._retention = retention_seconds
        self._opened: DeltaTable | None = None
        self._statistics_are_right = False
        self._files = TableFiles(location, retention_seconds)

    @property
    def _table(self) -> DeltaTable:
        assert self._opened is not None, "the table was not created"
        return self._opened

    # What is there

    def refresh(self) -> int:
        """Open the table, or read the commits of others; return its version, -1 if there is no table."""
        try:
            if self._opened is None:
                self._statistics_are_right = False
                self._opened = DeltaTable(str(self._location), storage_options=dict(self._location.storage_options))
            else:
                self._opened.update_incremental()
        except TableNotFoundError:
            self._opened = None
            return -1
        return int(self._opened.version())

    def version(self) -> int:
        """Return the version that the last commit or `refresh` has seen, -1 if there was no table."""
        return -1 if self._opened is None else int(self._opened.version())

    def forget(self) -> None:
        """Read all of the log again at the next `refresh`: somebody may have recreated the table."""
        self._opened = None

    def columns(self) -> dict[str, pa.DataType] | None:
        """Return name and type of the columns."""
        if self._opened is None:
            return None
        return {one.name: _plain(one.type) for one in pa.schema(self._opened.schema().to_arrow())}

    def history(self, limit: int) -> list[dict[str, Any]]:
        """Return the last commits, newest first."""
        return [] if self._opened is None else list(self._opened.history(limit))

    def transaction_version(self, app_id: str) -> int | None:
        """Return the version of Delta's own transaction of an application."""
        return None if self._opened is None else self._opened.transaction_version(app_id)

    def count(self) -> int:
        """Return the number of rows, from the log alone."""
        return 0 if self._opened is None else int(self._opened.count())

    # What changes it

    def create(self, columns: Mapping[str, pa.DataType], properties: Mapping[str, str], *, replaces: bool) -> None:
        """Create the table."""
        statistics = statistics_columns(columns)
        self._opened = DeltaTable.create(
            str(self._location),
            pa.schema(list(columns.items())),
            mode="overwrite" if replaces else "error",
            configuration={
                TARGET_FILE_SIZE: str(SMALLEST_FILE),
                **retention_properties(self._retention),
                **({STATISTICS_COLUMNS: statistics} if statistics is not None else {}),
                **properties,
            },
            storage_options=dict(self._location.storage_options),
        )

    def retain(self, properties: Mapping[str, str]) -> None:
        """Give the table the retention that new ones get."""
        changed = changed_retention(self._retention, self._table.metadata().configuration, properties)
        if changed:
            self._table.alter.set_table_properties(changed)

    def evolve(self, change: Change) -> None:
        """Add, fill and widen columns."""
        columns = change.applied_to(self.columns() or {})
        if any(is_long_decimal(kind) for kind in (change.added | change.retyped).values()):
            statistics = statistics_columns(columns) or ""
            self._table.alter.set_table_properties({STATISTICS_COLUMNS: statistics})
        if change.retyped:
            self._rewrite(change, columns)
            return
        if change.added:
            schema = Schema.from_arrow(pa.schema(list(change.added.items())))
            self._table.alter.add_columns([Field(one.name, one.type) for one in schema.fields])
        if change.fills:
            self._table.update(
                updates={quoted(fill.column): filled(fill, columns[fill.column]) for fill in change.fills},
                post_commithook_properties=NO_HOOKS,
            )

    def _rewrite(self, change: Change, columns: Mapping[str, pa.DataType]) -> None:
        """Write all rows with the new types, in one commit.

        Delta's own type widening would leave the files as they are, and delta-rs could no longer read the table.
        """
        fills = {fill.column: fill for fill in change.fills}
        selected = []
        for name, kind in columns.items():
            expression = quoted(name)
            if name in fills:
                expression = filled(fills[name], kind)
            elif name in change.added:
                expression = "NULL"
            selected.append(f"{cast(expression, kind)} AS {quoted(name)}")
        rows = QueryBuilder().register("t", self._table).execute(f"SELECT {', '.join(selected)} FROM t")  # noqa: S608
        write_deltalake(
            self._table,
            _nullable(rows),
            mode="overwrite",
            schema_mode="overwrite",
            post_commithook_properties=NO_HOOKS,
        )

    def _keep_statistics_right(self) -> None:
        """Exclude long decimals from statistics in a table that the Spark engine made, or the first sink."""
        if not self._statistics_are_right:
            statistics = statistics_columns(self.columns() or {})
            if statistics is not None and STATISTICS_COLUMNS not in self._table.metadata().configuration:
                self._table.alter.set_table_properties({STATISTICS_COLUMNS: statistics})
            self._statistics_are_right = True

    def append(self, rows: Rows, info: CommitInfo, *, with_deleted: bool) -> None:
        """Append rows."""
        self._keep_statistics_right()
        table = rows.table
        if not with_deleted:
            table = table.filter(pc.invert(table[DELETED]))
        # All columns: missing ones would be a change of the schema, which a table with mapped columns does not take.
        whole = {
            name: table[name] if name in table.column_names else pa.nulls(table.num_rows, kind)
            for name, kind in (self.columns() or {}).items()
        }
        write_deltalake(
            self._table,
            pa.table(whole),
            mode="append",
            commit_properties=_properties(info),
            post_commithook_properties=NO_HOOKS,
        )
        self._files.committed()

    def upsert(self, rows: Rows, keys: Sequence[str], info: CommitInfo, *, insert_only: bool) -> None:
        """Apply the latest change of each key."""
        self._keep_statistics_right()
        types = self.columns() or {}
        merge = self._table.merge(
            rows.table,
            " AND ".join([*(f"t.{quoted(key)} = s.{quoted(key)}" for key in keys), *among(rows.table, keys)]),
            source_alias="s",
            target_alias="t",
            # With a source that is known as a whole, files whose keys lie elsewhere are not opened. A former version of
            # the sink has let wrong statistics of long decimals in.
            streamed_exec=any(is_long_decimal(types[key]) for key in keys),
            commit_properties=_properties(info),
            post_commithook_properties=NO_HOOKS,
        )
        deletes = pc.any(rows.table[DELETED]).as_py()
        inserted = {quoted(name): f"s.{quoted(name)}" for name in rows.columns}
        if not insert_only:
            if deletes:
                merge = merge.when_matched_delete(f"{is_newer()} AND s.`{DELETED}`")
            merge = merge.when_matched_update(
                {
                    quoted(name): f"CASE WHEN array_has(s.`{UNAVAILABLE}`, {text(name)})"
                    f" THEN t.{quoted(name)} ELSE s.{quoted(name)} END"
                    if name in rows.unavailable
                    else f"s.{quoted(name)}"
                    for name in rows.columns
                },
                predicate=is_newer(),
            )
        merge.when_not_matched_insert(inserted, predicate=f"NOT s.`{DELETED}`" if deletes else None).execute()
        self._files.committed()

    def delete_older(self, position: Position | None, info: CommitInfo) -> None:
        """Delete rows."""
        self._table.delete(is_older(position), commit_properties=_properties(info), post_commithook_properties=NO_HOOKS)
        self._files.committed()

    def record(self, info: CommitInfo) -> None:
        """Commit no rows."""
        self._table.create_write_transaction(
            [], "append", self._table.schema(), commit_properties=_properties(info), post_commithook_properties=NO_HOOKS
        )
        self._table.update_incremental()

    # Files

    def obsolete_bytes(self) -> int:
        """Return what the last commit leaves on disk beyond the table."""
        return 0 if self._opened is None else self._files.obsolete_bytes(self._opened.version())

    def maintenance_is_due(self) -> bool:
        """Whether `maintain` has something to do."""
        return self._opened is not None and self._files.is_due()

    def maintain(self) -> int:
        """Compact small files, and checkpoint the log."""
        return self._files.maintain(self._table) if self.maintenance_is_due() else 0

    def vacuum_is_due(self) -> bool:
        """Whether files of versions past their retention may be there."""
        return self._opened is not None and self._files.vacuum_is_due()

    def vacuum(self) -> None:
        """Remove files of versions past their retention."""
        self._files.vacuum()


def _properties(info: CommitInfo) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"userMetadata": info.metadata},
        max_commit_retries=_RETRIES,
        app_transactions=[Transaction(*info.transaction)] if info.transaction else None,
    )


def _nullable(rows: Any) -> pa.RecordBatchReader:
    """Return rows without what the query knows of them: a column that is never NULL now may be later."""
    reader = pa.RecordBatchReader.from_stream(rows)
    schema = pa.schema([pa.field(one.name, _plain(one.type)) for one in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that columns of events have for one that delta-rs reads as another of the same meaning."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _plain(one.type)) for one in kind])
    return kind
