"""Conditions of `tail --where`: which change events a person wants to see. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from cdc_workstation.cli.changes import RowChange

_FORM = re.compile(r"\s*([^=!<>~]+?)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """One condition: a column (or `op`), how it is compared, and with what."""

    column: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, given: str) -> Condition:
        """Read `column=value`; the comparisons are = != < <= > >= and ~ (contains).

        Raises:
            ValueError: the text is not of that form; the message says what is.
        """
        found = _FORM.fullmatch(given)
        if found is None:
            raise ValueError(
                f"--where {given!r} is not valid; use COLUMN=VALUE, or !=, <, <=, >, >=, ~ (contains); "
                "op=update takes updates alone."
            )
        return cls(found[1], found[2], found[3])

    def holds(self, change: RowChange) -> bool:
        """Tell whether a change is of this kind, or its row has such a value before or after it."""
        if self.column == "op" and not any("op" in row for row in _rows(change)):
            return self._compare(change.kind)
        return any(self._compare(row[self.column]) for row in _rows(change) if self.column in row)

    def _compare(self, value: Any) -> bool:
        if value is None:
            # NULL equals the word alone, and is neither less nor greater than anything.
            is_null = self.value.upper() == "NULL"
            return is_null if self.comparison == "=" else not is_null if self.comparison == "!=" else False
        if self.comparison == "~":
            return self.value.lower() in str(value).lower()
        try:
            return _COMPARISONS[self.comparison](Decimal(str(value)), Decimal(self.value))
        except InvalidOperation:
            return _COMPARISONS[self.comparison](_text(value), _text(self.value))


def matches(change: RowChange, conditions: Sequence[Condition]) -> bool:
    """Tell whether all conditions hold."""
    return all(condition.holds(change) for condition in conditions)


def _rows(change: RowChange) -> list[dict[str, Any]]:
    return [row for row in (change.after, change.before, change.key) if row]


def _text(value: Any) -> str:
    """Return a value as it is shown: times as ISO 8601, `true` for a boolean."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value) if not hasattr(value, "isoformat") else value.isoformat(" ")
