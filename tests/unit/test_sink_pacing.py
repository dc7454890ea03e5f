"""The pace of commits keeps what they write within a budget."""

from __future__ import annotations

from cdc_workstation.sink.pacing import Pacing

MEGABYTE = 1024 * 1024
BUDGET = 2048 * MEGABYTE
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written_in_an_hour(commit_bytes: int, changes_per_second: float) -> tuple[int, float]:
    """Return what commits of a table that changes all the time write in an hour, and the longest rest."""
    clock = Clock()
    pacing = Pacing(BUDGET, HOUR, clock)
    written, longest = 0, 0.0
    while clock.now < HOUR:
        written += commit_bytes
        rest = pacing.spend(commit_bytes)
        longest = max(longest, rest)
        clock.now += max(rest, 1 / changes_per_second)
    return written, longest


def test_small_commits_follow_each_other_at_once() -> None:
    pacing = Pacing(BUDGET, HOUR, Clock())

    assert pacing.spend(4096) < 0.001


def test_commits_of_a_busy_large_table_stay_within_the_budget() -> None:
    written, _ = written_in_an_hour(10 * MEGABYTE, changes_per_second=50)

    assert BUDGET / 2 < written <= 1.05 * BUDGET


def test_large_commits_rest_longer_than_small_ones() -> None:
    _, small = written_in_an_hour(MEGABYTE, changes_per_second=50)
    _, large = written_in_an_hour(20 * MEGABYTE, changes_per_second=50)

    assert small < large


def test_quiet_times_give_the_budget_back() -> None:
    clock = Clock()
    pacing = Pacing(BUDGET, HOUR, clock)
    first = pacing.spend(MEGABYTE)
    for _ in range(100):
        pacing.spend(10 * MEGABYTE)
    assert pacing.spend(MEGABYTE) > 10 * first

    clock.now += HOUR

    assert pacing.spend(MEGABYTE) == first
