"""The periodic comparison of row counts: a difference counts once it stays while no change is on its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_workstation.sink import drift
from cdc_workstation.sink.drift import DriftMonitor, DriftSettings, DriftTracker, LakeCount, Observation
from cdc_workstation.sink.row_counts import DriftSource

TOPIC = "debezium.cdcdb.orders"


def _lake(rows: int | None, waiting: int = 0, *, is_keyed: bool = True) -> LakeCount:
    return LakeCount("cdcdb.orders", rows, waiting, is_keyed)


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (_lake(5), _lake(5), 0),
        (_lake(3), _lake(3), 2),
        (_lake(6), _lake(6), -1),
        (None, None, 5),
        (_lake(None), _lake(None), 5),
        (_lake(3), _lake(4), None),
        (_lake(3, 1), _lake(3, 1), None),
        (None, _lake(1), None),
        (_lake(9, is_keyed=False), _lake(9, is_keyed=False), None),
    ],
)
def test_difference_is_known_only_while_nothing_moves(
    before: LakeCount | None, after: LakeCount | None, difference: int | None
) -> None:
    assert Observation(5, before, after).difference == difference


def test_difference_counts_after_several_comparisons_in_a_row() -> None:
    tracker, differs, moves, equal = (
        DriftTracker(3),
        Observation(5, _lake(4), _lake(4)),
        Observation(5, _lake(4), _lake(5)),
        Observation(5, _lake(5), _lake(5)),
    )

    assert [tracker.observe(TOPIC, one) for one in (differs, differs, equal, differs, moves, differs)] == [
        None,
        None,
        0,
        None,
        None,
        None,
    ]
    assert tracker.suspects() == {TOPIC}
    assert tracker.observe(TOPIC, differs) == 1
    assert tracker.suspects() == set()
    assert tracker.observe(TOPIC, equal) == 0


def test_tables_are_tracked_each_for_itself() -> None:
    tracker = DriftTracker(2)
    differs = Observation(5, _lake(4), _lake(4))

    assert tracker.observe(TOPIC, differs) is None
    assert tracker.observe("debezium.cdcdb.items", differs) is None
    tracker.forget(TOPIC)
    assert tracker.suspects() == {"debezium.cdcdb.items"}


def test_metric_shows_confirmed_drift_and_goes_with_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {TOPIC: 7}
    source = DriftSource(kind="mysql", host="mysql", port=3306, user="reader", password_file=Path("/secret"))
    monkeypatch.setattr(drift, "count_rows", lambda *_: dict(rows))
    monitor = DriftMonitor(
        DriftSettings(sources=[source], confirmations=2),
        lambda: {TOPIC: _lake(5)},
        lambda topic: True,
        lambda topic: topic.partition(".")[2],
    )

    def shown() -> list[tuple[str, float]]:
        return [(s.labels["table"], s.value) for family in drift.DRIFT_ROWS.collect() for s in family.samples]

    monitor.compare(0)
    assert shown() == []
    monitor.compare(0, {TOPIC})
    assert shown() == [("cdcdb.orders", 2)]
    rows.clear()
    monitor.compare(0)
    assert shown() == []
