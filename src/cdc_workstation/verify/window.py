"""What is known of a table's rows between a look at the source and a look at Delta."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cdc_workstation.verify.fingerprints import Difference, Digest, added


@dataclass(frozen=True)
class Totals:
    """What a look at all rows counted."""

    source_rows: int = 0
    delta_rows: int = 0
    source_checksum: int = 0
    delta_checksum: int = 0

    def settled(self, difference: Difference, but: set[Digest]) -> Totals:
        """Return the totals as they are once the rows that differed are alike, `but` some."""
        rows, checksum = self.delta_rows, self.delta_checksum
        for key, (source, delta) in difference.entries.items():
            if key not in but:
                checksum = added(added(checksum, delta, times=-1), source)
                rows += (source is not None) - (delta is not None)
        return Totals(self.source_rows, rows, self.source_checksum, checksum)


@dataclass
class Window:
    """Which keys have change events between a look at the source and the look at Delta that is held against it.

    Attributes:
        changed: the keys.
        is_unknown: whether any key may have changed: by a truncate, by DDL, or by too many events to look at.
    """

    changed: set[Digest] = field(default_factory=set)
    is_unknown: bool = False

    def unchanged(self, keys: Iterable[Digest]) -> set[Digest]:
        """Return the keys that surely have no change."""
        return set() if self.is_unknown else set(keys) - self.changed

    def surely_drifted(self, difference: Difference) -> int:
        """Return how many keys of a difference have no change at least, though not all of them are told."""
        return 0 if self.is_unknown else max(difference.count - len(self.changed), 0)
