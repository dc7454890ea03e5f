"""Delta's side of a comparison: a table's rows in canonical text, and how far the sink has applied its topic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_workstation.verify.databases import SourceColumn
from cdc_workstation.verify.log import Ends
from cdc_workstation.verify.values import CanonicalRow, from_delta

_METADATA_KEY = "cdc_sink"
# How many commits back the sink's state is looked for: it is in the newest one, unless others' lie between.
_HISTORY = (2, 20, 200)
_KEYS = 500
# With these features a row is in a file as it is in the table, but for its types.
_READ_FROM_FILES = {"typeWidening", "typeWidening-preview", "timestampNtz"}


@dataclass(frozen=True)
class LakeState:
    """What the newest commit of the sink says.

    Attributes:
        applied: partition to the offset that comes next.
        keys: the columns that rows are found by; `None` if the table has no key, or no commit says so.
        is_keyed: whether the sink finds rows by a key; `None` if no commit says so.
    """

    applied: Ends
    keys: tuple[str, ...] | None
    is_keyed: bool | None


class LakeTable:
    """One Delta table at one version.

    Args:
        uri: where it lies.
        storage_options: what delta-rs needs for object storage.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str]) -> None:
        self._table = DeltaTable(uri, storage_options=dict(storage_options) or None)
        self.version = int(self._table.version())
        self._schema = pa.schema(self._table.schema().to_arrow())

    @classmethod
    def open(cls, uri: str, storage_options: Mapping[str, str]) -> LakeTable | None:
        """Open the newest version; `None` if there is no table."""
        try:
            return cls(uri, storage_options)
        except TableNotFoundError:
            return None

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """Its columns with their types, those of the sink included."""
        return {field.name: field.type for field in self._schema}

    def count(self) -> int:
        """Return the number of rows, from the log alone."""
        return int(self._table.count())

    def state(self) -> LakeState:
        """Return what the sink says about this version, or about one before if others committed since."""
        for limit in _HISTORY:
            commits = self._table.history(limit)
            for commit in commits:
                # The history is that of the newest version.
                if commit.get("version", self.version) > self.version:
                    continue
                state = state_of(commit.get("userMetadata"))
                if state is not None:
                    return state
            if len(commits) < limit:
                break
        return LakeState({}, None, None)

    def operations(self) -> set[str]:
        """Return the kinds of changes (`_cdc_op`) that rows come from."""
        if "_cdc_op" not in self._schema.names:
            return set()
        return {
            row["_cdc_op"] for batch in self._query('SELECT DISTINCT "_cdc_op" FROM t') for row in batch.to_pylist()
        }

    def rows(
        self,
        columns: Sequence[SourceColumn],
        keys: Sequence[CanonicalRow] | None = None,
        key: Sequence[SourceColumn] = (),
    ) -> Iterator[list[CanonicalRow]]:
        """Yield rows in chunks, in the source's columns; one that the table lacks is NULL.

        Args:
            columns: the source's columns.
            keys: yield rows of these keys, and perhaps others; all rows if there are none.
            key: the columns of the keys.
        """
        for batch in self._batches(columns, keys, key):
            values = [
                from_delta(column.family, batch.column(column.name))
                if column.name in batch.schema.names
                else [None] * batch.num_rows
                for column in columns
            ]
            yield list(zip(*values, strict=True)) if columns else [()] * batch.num_rows

    def _batches(
        self, columns: Sequence[SourceColumn], keys: Sequence[CanonicalRow] | None, key: Sequence[SourceColumn]
    ) -> Iterator[pa.RecordBatch]:
        present = [column.name for column in columns if column.name in self._schema.names]
        features = set(self._table.protocol().reader_features or ())
        if "typeWidening" in features and features <= _READ_FROM_FILES and not self._table.metadata().partition_columns:
            yield from self._files(present)
            return
        selected = ", ".join(map(_quoted, present)) or "1"
        statement = f"SELECT {selected} FROM t"  # noqa: S608 -- quoted
        if keys is None or not all(self._can_look_up(column) for column in key):
            yield from self._query(statement)
            return
        for at in range(0, len(keys), _KEYS):
            yield from self._query(f"{statement} WHERE {self._condition(keys[at : at + _KEYS], key)}")

    def _can_look_up(self, column: SourceColumn) -> bool:
        """Tell whether delta-rs surely compares values of this column as they are compared here."""
        if column.name not in self._schema.names:
            return False
        arrow = self._schema.field(column.name).type
        return (column.family.kind in ("number", "finite") and pa.types.is_integer(arrow)) or (
            column.family.kind == "text" and pa.types.is_string(arrow)
        )

    def _condition(self, keys: Sequence[CanonicalRow], key: Sequence[SourceColumn]) -> str:
        def literal(column: SourceColumn, value: str | None) -> str:
            if value is None:
                return "NULL"
            return value if column.family.kind in ("number", "finite") else "'" + value.replace("'", "''") + "'"

        if len(key) == 1:
            values = ", ".join(literal(key[0], one[0]) for one in keys)
            return f"{_quoted(key[0].name)} IN ({values})"
        return " OR ".join(
            "("
            + " AND ".join(f"{_quoted(c.name)} = {literal(c, value)}" for c, value in zip(key, one, strict=True))
            + ")"
            for one in keys
        )

    def _query(self, statement: str) -> Iterator[pa.RecordBatch]:
        # The query engine of delta-rs, because it reads tables with deletion vectors too.
        found = QueryBuilder().register("t", self._table).execute(statement)
        yield from pa.RecordBatchReader.from_stream(found)

    def _files(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table with widened columns, which delta-rs refuses: values are cast to today's type."""
        for uri in self._table.file_uris():
            file = parquet.ParquetFile(uri.removeprefix("file://"))
            for batch in file.iter_batches(columns=[name for name in names if name in file.schema_arrow.names]):
                yield pa.record_batch(
                    [
                        batch.column(name).cast(self._schema.field(name).type)
                        if name in batch.schema.names
                        else pa.nulls(batch.num_rows, self._schema.field(name).type)
                        for name in names
                    ],
                    names=list(names),
                )


# What reading a version raises when its files go meanwhile, by VACUUM or because the table was recreated.
READ_ERRORS = (OSError, DeltaError)


def state_of(user_metadata: Any) -> LakeState | None:
    """Read the sink's state from a commit's `userMetadata`; `None` if it is another program's commit."""
    try:
        found = json.loads(user_metadata or "{}")[_METADATA_KEY]
        tombstones = set(found.get("tombstones") or ())
        # A delete's tombstone says nothing, and makes no commit.
        applied = {
            int(partition): offset + 1 + (int(partition) in tombstones)
            for partition, offset in found["offsets"].items()
        }
        keys = found.get("keys")
        return LakeState(applied, tuple(keys) if keys else None, found.get("keyed"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
