"""The engine for tables that outgrow one machine: Spark changes the rows, by SQL over Spark Connect.

What touches the log alone (reading it, creating a table, adding a column) delta-rs does in milliseconds, as in the
embedded engine; so either engine goes on with the other's tables.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdc_workstation.sink.columns import quoted, sql_type
from cdc_workstation.sink.delta_files import has_deletion_vectors, retention_properties
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.events import Position
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.rows import DELETED, UNAVAILABLE, Rows
from cdc_workstation.sink.schema import Change, Fill
from cdc_workstation.sink.spark_sessions import Session, SparkSessions
from cdc_workstation.sink.writer import CommitInfo, is_newer, is_older

_APP_ID = "spark.databricks.delta.write.txnAppId"
_APP_VERSION = "spark.databricks.delta.write.txnVersion"
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_VIEW = "changes"
# Characters of a column's name with which Spark changes no schema, unless the table maps its columns' names.
_UNMAPPED = set(" ,;{}()\n\t=")
_MAPPING = "delta.columnMapping.mode"
# Properties that need nothing else of a table; for others Spark knows what they bring along.
_PLAIN_PROPERTIES = frozenset(
    {
        "delta.appendOnly",
        "delta.checkpointInterval",
        "delta.deletedFileRetentionDuration",
        "delta.enableChangeDataFeed",
        "delta.logRetentionDuration",
        "delta.targetFileSize",
    }
)
# Compacting takes seconds, in which the table waits.
_COMMITS_PER_OPTIMIZE = 64
_SHORTEST_REST = 600.0


class SparkConnectWriter(DeltaRsWriter):
    """One Delta table.

    Args:
        location: where it lies; Spark and this process know it by the same name.
        retention_seconds: how long files of former versions stay.
        sessions: the sessions.
    """

    def __init__(self, location: Location, retention_seconds: float, sessions: SparkSessions) -> None:
        super().__init__(location, retention_seconds)
        self._sessions = sessions
        self._name = f"delta.{quoted(str(location))}"
        self._commits = 0
        self._optimized = time.monotonic()

    def create(self, columns: Mapping[str, pa.DataType], properties: Mapping[str, str], *, replaces: bool) -> None:
        """Create the table."""
        if properties.keys() <= _PLAIN_PROPERTIES:
            super().create(columns, properties, replaces=replaces)
            return
        if any(_UNMAPPED & set(name) for name in columns):
            properties = {_MAPPING: "name", **properties}
        properties = retention_properties(self._retention) | dict(properties)
        ddl = ", ".join(f"{quoted(name)} {sql_type(kind)}" for name, kind in columns.items())
        listed = ", ".join(f"{_text(name)} = {_text(value)}" for name, value in properties.items())
        verb = "CREATE OR REPLACE" if replaces else "CREATE"
        self._execute(f"{verb} TABLE {self._name} ({ddl}) USING delta TBLPROPERTIES ({listed})")

    def evolve(self, change: Change) -> None:
        """Add, fill and widen columns."""
        columns = self.columns() or {}
        mapped = self._table.metadata().configuration.get(_MAPPING, "none") != "none"
        unmapped = not mapped and any(_UNMAPPED & set(name) for name in change.applied_to(columns))
        if change.retyped and unmapped:
            super().evolve(change)
            return
        if change.retyped:
            if _has_local(change.added | change.retyped) and not _has_local(columns):
                # Delta turns it on by itself for new tables only.
                self._execute(
                    f"ALTER TABLE {self._name} SET TBLPROPERTIES ('delta.feature.timestampNtz' = 'supported')"
                )
            self._rewrite_by_spark(change, columns)
            return
        if change.added and mapped:
            added = ", ".join(f"{quoted(name)} {sql_type(kind)}" for name, kind in change.added.items())
            self._execute(f"ALTER TABLE {self._name} ADD COLUMNS ({added})")
        elif change.added:
            super().evolve(Change(added=change.added))
        if change.fills:
            types = change.applied_to(columns)
            assigned = ", ".join(f"{quoted(one.column)} = {_filled(one, types[one.column])}" for one in change.fills)
            self._execute(f"UPDATE {self._name} SET {assigned}")  # noqa: S608

    def _rewrite_by_spark(self, change: Change, columns: Mapping[str, pa.DataType]) -> None:
        """Write all rows with the new types, in one commit: delta-rs cannot read what Delta's type widening leaves."""
        fills = {fill.column: fill for fill in change.fills}
        selected = []
        for name, kind in change.applied_to(dict(columns)).items():
            value = _filled(fills[name], kind) if name in fills else quoted(name) if name in columns else "NULL"
            selected.append(f"CAST({value} AS {sql_type(kind)}) AS {quoted(name)}")

        def rewrite(session: Session) -> None:
            session.configure({})
            rows = session.spark.read.format("delta").load(str(self._location)).selectExpr(*selected)
            target = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
            target.save(str(self._location))

        self._sessions.run(rewrite)
        self.refresh()

    def append(self, rows: Rows, info: CommitInfo, *, with_deleted: bool) -> None:
        """Append rows."""
        table = rows.table if with_deleted else rows.table.filter(pc.invert(rows.table[DELETED]))
        names = ", ".join(quoted(name) for name in rows.columns)
        self._commit(f"INSERT INTO {self._name} ({names}) SELECT {names} FROM {_VIEW}", info, table)  # noqa: S608

    def upsert(self, rows: Rows, keys: Sequence[str], info: CommitInfo, *, insert_only: bool) -> None:
        """Apply the latest change of each key."""
        self._commit(_merge(self._name, rows, keys, insert_only=insert_only), info, rows.table)

    def delete_older(self, position: Position | None, info: CommitInfo) -> None:
        """Delete rows."""
        condition = is_older(position)
        self._commit(f"DELETE FROM {self._name}" + (f" WHERE {condition}" if condition else ""), info)  # noqa: S608

    def _commit(self, statement: str, info: CommitInfo, rows: pa.Table | None = None) -> None:
        settings = {_USER_METADATA: info.metadata}
        if info.transaction is not None:
            settings |= {_APP_ID: info.transaction[0], _APP_VERSION: str(info.transaction[1])}
        self._execute(statement, settings, rows)
        self._files.committed()
        self._commits += 1

    def _execute(self, statement: str, settings: Mapping[str, str] | None = None, rows: pa.Table | None = None) -> None:
        def execute(session: Session) -> None:
            session.configure(settings or {})
            if rows is not None:
                # A local relation: no Python worker, and nothing that MERGE must materialise.
                session.spark.createDataFrame(rows).createOrReplaceTempView(_VIEW)
            session.spark.sql(statement)

        self._sessions.run(execute)
        self.refresh()

    def count(self) -> int:
        """Return the number of rows."""
        if self._opened is None:
            return 0

        def counted(session: Session) -> int:
            return int(session.spark.read.format("delta").load(str(self._location)).count())

        return self._sessions.run(counted)

    # Files

    def maintenance_is_due(self) -> bool:
        """Whether `maintain` has something to do."""
        rested = time.monotonic() - self._optimized > _SHORTEST_REST
        return self._opened is not None and rested and self._commits >= _COMMITS_PER_OPTIMIZE

    def maintain(self) -> int:
        """Compact small files. Spark writes checkpoints itself."""
        if not self.maintenance_is_due():
            return 0
        self._optimized, self._commits = time.monotonic(), 0
        version = self.version()
        self._execute(f"OPTIMIZE {self._name}")
        return self.obsolete_bytes() if self.version() > version else 0

    def vacuum(self) -> None:
        """Remove files of versions past their retention: as long as the table's own property says."""
        super().vacuum()
        table = self._opened
        if table is not None and has_deletion_vectors(table):

            def vacuum(session: Session) -> None:
                session.configure({})
                session.spark.sql(f"VACUUM {self._name}")

            self._sessions.run(vacuum)


def _merge(table: str, rows: Rows, keys: Sequence[str], *, insert_only: bool) -> str:
    """Return the MERGE of the view `changes` into a table."""
    on = " AND ".join(f"t.{quoted(key)} = s.{quoted(key)}" for key in keys)
    names = ", ".join(quoted(name) for name in rows.columns)
    values = ", ".join(f"s.{quoted(name)}" for name in rows.columns)
    merge = f"MERGE INTO {table} t USING {_VIEW} s ON {on}"
    insert = f"WHEN NOT MATCHED AND NOT s.`{DELETED}` THEN INSERT ({names}) VALUES ({values})"  # noqa: S608
    if insert_only:
        return f"{merge} {insert}"

    def assigned(name: str) -> str:
        taken = f"s.{quoted(name)}"
        if name in rows.unavailable:
            taken = f"CASE WHEN array_contains(s.`{UNAVAILABLE}`, {_text(name)}) THEN t.{quoted(name)} ELSE {taken} END"
        return f"t.{quoted(name)} = {taken}"

    return (
        f"{merge} WHEN MATCHED AND {is_newer()} AND s.`{DELETED}` THEN DELETE"
        f" WHEN MATCHED AND {is_newer()} THEN UPDATE SET {', '.join(map(assigned, rows.columns))} {insert}"
    )


def _has_local(columns: Mapping[str, pa.DataType]) -> bool:
    """Whether one of the columns is a timestamp without a zone."""
    return any(pa.types.is_timestamp(kind) and kind.tz is None for kind in columns.values())


def _text(value: str) -> str:
    """Return a string literal of Spark, in which a backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _filled(fill: Fill, kind: pa.DataType) -> str:
    if fill.source is not None:
        return quoted(fill.source)
    return _literal(pa.scalar(fill.value, kind).as_py(), kind)


def _literal(value: Any, kind: pa.DataType) -> str:
    """Return a literal of a type."""
    if value is None:
        text = "NULL"
    elif isinstance(value, bytes):
        text = f"X'{value.hex()}'"
    elif isinstance(value, bool):
        text = str(value).upper()
    elif pa.types.is_list(kind):
        text = f"array({', '.join(_literal(one, kind.value_type) for one in value)})"
    elif pa.types.is_map(kind):
        pairs = (f"{_literal(key, kind.key_type)}, {_literal(one, kind.item_type)}" for key, one in value)
        text = f"map({', '.join(pairs)})"
    elif pa.types.is_struct(kind):
        parts = (f"{_text(one.name)}, {_literal(value[one.name], one.type)}" for one in kind)
        text = f"named_struct({', '.join(parts)})"
    else:
        text = _text(str(value))
    return f"CAST({text} AS {sql_type(kind)})"
