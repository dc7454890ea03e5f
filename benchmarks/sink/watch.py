"""Sees commits of a Delta table as they come, by its log alone: reading rows would take the cores that are measured."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.sink.source import until

# How often the log is looked at: this much of a latency is the measurement's own.
_INTERVAL = 0.004


def newest_change(commit: str) -> int:
    """Return the greatest `sequence` in the files that a commit added, -1 if it has none: their statistics say it."""
    newest = -1
    for line in commit.splitlines():
        if line.startswith('{"add"'):
            stats = json.loads(json.loads(line)["add"].get("stats") or "{}")
            newest = max(newest, stats.get("maxValues", {}).get("sequence", -1))
    return newest


class Watcher:
    """Watches one table, which need not exist yet.

    Args:
        path: the table's directory.
    """

    def __init__(self, path: Path) -> None:
        self.log = path / "_delta_log"
        self.seen: list[tuple[float, int]] = []
        """When a commit was there, and the newest change that was visible then."""
        self._next = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        with suppress(FileNotFoundError):
            self._next = max((int(one.stem) for one in self.log.glob("*.json") if one.stem.isdigit()), default=-1) + 1
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def newest(self) -> int:
        """The newest change that is visible, -1 if none is."""
        return self.seen[-1][1] if self.seen else -1

    def wait_for(self, number: int) -> float:
        """Return when change `number` became visible."""
        until(lambda: self.newest >= number, f"change {number} in {self.log.parent}", every=0.02)
        return next(moment for moment, newest in self.seen if newest >= number)

    def latencies(self, committed: Mapping[int, float]) -> list[float]:
        """Return the milliseconds from each change's commit until it was visible, in the order of the changes."""
        seen = iter(self.seen)
        moment, newest = next(seen)
        measured = []
        for number, commit in sorted(committed.items()):
            while newest < number:
                moment, newest = next(seen)
            # It may be seen before the client's own thread runs on after its commit.
            measured.append(max(0.0, moment - commit) * 1000)
        return measured

    def _watch(self) -> None:
        newest = -1
        while not self._ended.wait(_INTERVAL):
            try:
                text = (self.log / f"{self._next:020}.json").read_text()
            except FileNotFoundError:
                continue
            moment = time.time()
            self._next += 1
            newest = max(newest, newest_change(text))
            self.seen.append((moment, newest))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]
