"""The plan of a load: the same for the same arguments, in the kinds' parts, and only of orders that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from cdc_workstation.load import Change, Mix, Progress, _due_together, plan_changes


def planned(**arguments: float) -> list[Change]:
    return list(plan_changes(**{"rate": 100, "seconds": 20, **arguments}))  # type: ignore[arg-type]


def test_same_seed_gives_the_same_changes() -> None:
    assert planned(seed=3) == planned(seed=3) != planned(seed=4)


def test_changes_are_due_at_the_rate() -> None:
    changes = planned()
    assert len(changes) == 2000
    assert [change.at for change in changes[:3]] == [0.0, 0.01, 0.02]


def test_kinds_have_the_parts_of_the_mix() -> None:
    counts = Counter(change.kind for change in planned(seed=1))
    assert counts["insert"] == pytest.approx(1000, rel=0.1)
    assert counts["update"] == pytest.approx(800, rel=0.1)
    assert counts["delete"] == pytest.approx(200, rel=0.2)


@pytest.mark.parametrize("mix", [Mix(), Mix(1, 1, 8), Mix(0, 0, 1), Mix(0, 1, 0)])
def test_only_orders_that_are_there_change(mix: Mix) -> None:
    there = set(range(7))
    for change in plan_changes(rate=100, seconds=20, mix=mix, existing=7):
        if change.kind == "insert":
            assert change.order not in there
            there.add(change.order)
        else:
            assert change.order in there
        if change.kind == "delete":
            there.remove(change.order)
        assert bool(change.values) == (change.kind != "delete")


def test_orders_move_forward() -> None:
    statuses: dict[int, list[str]] = {}
    for change in planned(seed=5):
        if change.values:
            statuses.setdefault(change.order, []).append(change.values["status"])
    ways = {tuple(way[:5]) for way in statuses.values() if len(way) >= 5}
    assert ways == {("new", "paid", "packed", "shipped", "delivered")}


def test_load_without_an_end_goes_on() -> None:
    changes: Iterator[Change] = plan_changes(rate=1000)
    assert [next(changes) for _ in range(5000)][-1].at == pytest.approx(4.999)


def test_mix_is_read_as_it_is_written() -> None:
    assert Mix.parse(" update=4, insert=5 ") == Mix(5, 4, 0)
    assert Mix.parse(str(Mix(3, 2, 1))) == Mix(3, 2, 1)


@pytest.mark.parametrize("text", ["", "insert", "insert=x", "insert=-1", "insert=1,insert=2", "upsert=1", "insert=0"])
def test_mix_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid; use"):
        Mix.parse(text)


@pytest.mark.parametrize("arguments", [{"rate": 0}, {"seconds": 0}, {"rate": -1}])
def test_rate_and_seconds_are_positive(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is not valid; use positive numbers"):
        planned(**arguments)


class Clock:
    """A clock that only waiting moves, and what is done with the changes."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_changes_come_when_they_are_due() -> None:
    clock = Clock()
    came = []
    for changes in _due_together(plan_changes(rate=10, seconds=1), lambda: clock.now, clock.wait):
        came.append((len(changes), pytest.approx(clock.now)))
    assert came == [(1, number / 10) for number in range(10)]


def test_changes_of_a_slow_database_share_transactions() -> None:
    clock = Clock()
    sizes = []
    for changes in _due_together(plan_changes(rate=1000, seconds=10), lambda: clock.now, clock.wait):
        sizes.append(len(changes))
        clock.now += 1.0
    assert sum(sizes) == 10_000
    assert max(sizes) == 500


def test_progress_tells_the_rate() -> None:
    assert Progress(5, 4, 1, 2.0).rate == 5.0
    assert Progress().rate == 0.0
