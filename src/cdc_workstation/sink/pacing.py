"""The pace of commits: an upsert rewrites the files that it touches, and former versions stay for a while.

So the disk must hold, beside the tables, what commits replace within the retention, and that has a budget. While much
of it is left commits follow each other at once; the less is left, the longer a table rests after a commit, by what
that commit replaced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pacing:
    """A token bucket of bytes, shared by all tables. Half of the budget may be spent at once, half comes over time.

    Args:
        budget_bytes: what may be left on disk within `seconds`.
        seconds: how long it stays there.
        clock: seconds, never going back.
    """

    # At a full bucket commits may write so many times faster than it fills.
    _HEADROOM = 256

    def __init__(self, budget_bytes: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = budget_bytes / 2
        self._refill = budget_bytes / 2 / seconds
        self._clock = clock
        self._level = self._capacity
        self._at = clock()
        self._lock = threading.Lock()

    def spend(self, left_behind: int) -> float:
        """Take what a commit has left on disk out of the bucket; return for how many seconds its table should rest."""
        with self._lock:
            now = self._clock()
            self._level = min(self._capacity, self._level + (now - self._at) * self._refill)
            self._at = now
            left = max(self._level, 0.0) / self._capacity
            self._level -= left_behind
            rate = self._refill * (1 + (self._HEADROOM - 1) * left * left)
            return left_behind / rate
