"""What is compared of a table: which columns, as what, and how a row is found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pyarrow as pa

from cdc_workstation.verify.canonical import MICROS_PER_DAY, Value
from cdc_workstation.verify.captured import Connector
from cdc_workstation.verify.databases import NotComparableError, SourceColumn, SourceTable
from cdc_workstation.verify.fingerprints import Digest, Fingerprints, digest, numbered
from cdc_workstation.verify.lake import LakeState
from cdc_workstation.verify.values import CanonicalRow, Family, key_of
from cdc_workstation.verify.verdict import RowDifference


@dataclass(frozen=True)
class Shape:
    """The columns that are compared, and those that a row is found by.

    Attributes:
        columns: the columns, in the source's order.
        key: the key's columns, none if the table has no key: then rows are compared as a multiset.
        notes: what is not compared, and why.
    """

    columns: tuple[SourceColumn, ...]
    key: tuple[SourceColumn, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, table: SourceTable, connector: Connector, lake_columns: Mapping[str, pa.DataType] | None, state: LakeState
    ) -> Shape:
        """Return what is compared of a table that the source has.

        Args:
            table: the source's table.
            connector: the connector that captures it.
            lake_columns: the Delta table's columns with their types; `None` if there is no Delta table.
            state: what the sink says about it.

        Raises:
            NotComparableError: the key is not captured.
        """
        columns, notes = [], []
        for column in table.columns:
            if connector.leaves_out(table.name, column.name):
                notes.append(f"column {column.name} is left out or changed by the configuration of {connector.name}")
            elif not column.is_captured and column.name not in (lake_columns or ()):
                notes.append(f"column {column.name} of type {column.type} is not captured")
            else:
                columns.append(_as_delta_holds(column, (lake_columns or {}).get(column.name)))
        by_name = {column.name: column for column in columns}
        key = table.key or (state.keys if state.is_keyed else None) or ()
        missing = [name for name in key if name not in by_name]
        if missing:
            raise NotComparableError(f"column {missing[0]} of its key is not captured, so rows cannot be told apart.")
        return cls(tuple(columns), tuple(by_name[name] for name in key), tuple(notes))

    @property
    def places(self) -> list[int]:
        """Where the key's columns are among the columns."""
        names = [column.name for column in self.columns]
        return [names.index(column.name) for column in self.key]

    def fingerprints(self, chunks: Iterable[list[CanonicalRow]]) -> Fingerprints:
        """Return the fingerprints of rows."""
        prints, places = Fingerprints(), self.places
        if not self.key:
            of = numbered()
            for chunk in chunks:
                for row in chunk:
                    prints.add(of(row), digest(row))
            return prints
        for chunk in chunks:
            for row in chunk:
                prints.add(digest(tuple([row[place] for place in places])), digest(row))
        return prints

    def keyed(self, chunks: Iterable[list[CanonicalRow]]) -> Iterator[tuple[CanonicalRow, CanonicalRow]]:
        """Yield the key and the whole of each row."""
        places = self.places
        for chunk in chunks:
            for row in chunk:
                yield tuple([row[place] for place in places]), row

    def key_digest(self, key: bytes | None) -> Digest | None:
        """Return the digest of the key that a change event has; `None` if it is not known which row that is."""
        found = event_key(key, self.key) if self.key else None
        return None if found is None else digest(found)

    def difference(self, ours: Sequence[CanonicalRow], theirs: Sequence[CanonicalRow]) -> RowDifference | None:
        """Say what is different about one key's rows in the source and in Delta; `None` if nothing is."""
        if not ours and not theirs:
            return None
        row = (ours or theirs)[0]
        names = [column.name for column in self.columns]
        key = {names[place]: row[place] for place in self.places}
        if len(theirs) > 1:
            return RowDifference(key, "is in Delta more than once")
        if not theirs:
            return RowDifference(key, "is missing in Delta")
        if not ours:
            return RowDifference(key, "is in Delta and not in the source")
        changed = {
            name: (source, delta)
            for name, source, delta in zip(names, ours[0], theirs[0], strict=True)
            if source != delta
        }
        return RowDifference(key, "differs", changed) if changed else None


def _as_delta_holds(column: SourceColumn, arrow: pa.DataType | None) -> SourceColumn:
    """Return a column as what can be compared: a decimal of Delta has no NaN."""
    if column.family.kind == "number" and arrow is not None and pa.types.is_decimal(arrow):
        return replace(column, family=Family("finite"))
    return column


def event_key(key: bytes | None, columns: Sequence[SourceColumn]) -> CanonicalRow | None:
    """Return the canonical key of a change event; `None` if it has none, or one that cannot be read.

    Args:
        key: the record's key, as Kafka Connect's JSON converter writes it with its schema.
        columns: the key's columns.
    """
    # Here, because the sink's own modules are not needed to compare tables that do not change.
    from cdc_workstation.sink.columns import column as sink_column

    if key is None:
        return None
    try:
        document = json.loads(key, parse_float=Decimal)
        fields = {field["field"]: field for field in document["schema"]["fields"]}
        values: list[Value] = []
        for column in columns:
            decoder = sink_column(fields[column.name])
            value = decoder.value(document["payload"][column.name])
            if value is not None and pa.types.is_date(decoder.type):
                value *= MICROS_PER_DAY
            values.append(key_of(column.family, value))
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(values)
