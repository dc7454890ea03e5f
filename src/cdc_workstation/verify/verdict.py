"""What a comparison says about a table: plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

# What is shown of a value.
_CHARACTERS = 80


class Verdict(StrEnum):
    """What a comparison found."""

    EQUAL = "equal"
    DRIFT = "drift"
    NOT_COMPARED = "not compared"
    """It should have been compared, and could not be."""
    LEFT_OUT = "left out"
    """It is not comparable by its nature, or nobody asked for it."""


@dataclass(frozen=True)
class RowDifference:
    """One key whose row differs.

    Attributes:
        key: the key's columns; the whole row if the table has no key.
        problem: `missing in Delta`, `not in the source`, `differs`, or `more than once in Delta`.
        columns: the columns that differ, each with its value in the source and in Delta, as text.
    """

    key: dict[str, str | None]
    problem: str
    columns: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def __str__(self) -> str:
        named = ", ".join(f"{name}={_shown(value)}" for name, value in self.key.items())
        values = "; ".join(
            f"{name} is {_shown(delta)} in Delta and {_shown(source)} in the source"
            for name, (source, delta) in self.columns.items()
        )
        return f"({named}) {self.problem}" + (f": {values}" if values else "")


@dataclass
class TableResult:
    """What the comparison of one table found.

    Attributes:
        table: the table, as `namespace.table`.
        connector: the connector that captures it.
        database: `mysql` or `postgres`.
        verdict: what was found.
        reason: why it is not equal, and what to do; empty if it is equal.
        source_rows: rows in the source at the position.
        delta_rows: rows in Delta at the position.
        source_checksum: the sum of the digests of the source's rows.
        delta_checksum: the same of Delta's rows.
        differing: how many keys differ.
        differences: the first of them.
        position: the position in the source's log that the verdict holds for; empty if none was needed.
        notes: what else a reader should know.
        seconds: how long it took.
    """

    table: str
    connector: str
    database: str
    verdict: Verdict = Verdict.EQUAL
    reason: str = ""
    source_rows: int | None = None
    delta_rows: int | None = None
    source_checksum: str = ""
    delta_checksum: str = ""
    differing: int = 0
    differences: list[RowDifference] = field(default_factory=list)
    position: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def exit_code(results: Sequence[TableResult]) -> int:
    """Return 0 if all are equal, 1 if there is drift, 2 if a table could not be compared."""
    verdicts = {result.verdict for result in results}
    if Verdict.DRIFT in verdicts:
        return 1
    return 2 if Verdict.NOT_COMPARED in verdicts else 0


def summary(results: Sequence[TableResult]) -> str:
    """Return one sentence for all tables."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    if not results:
        return "No table is captured."
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    return f"{len(results)} table{'s' if len(results) != 1 else ''}: {', '.join(parts)}."


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    text = repr(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
