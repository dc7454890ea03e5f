"""Which stage of the pipeline has a change: decided from what is known of the table on each of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc_workstation.clients.kafka import ChangeEvent
from cdc_workstation.evidence.facts import rows_left
from cdc_workstation.evidence.stages import Delta, Facts, Sink, Source, Topic, summary

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC).timestamp()
ALL = Facts(
    table="orders (mysql)",
    topic_name="debezium.cdcdb.orders",
    path="/opt/delta-tables/cdcdb/orders",
    has_key=True,
    source=Source(rows=3, changed=NOW),
    topic=Topic(end=5, events=5, keys=3, last='c {"id": 3}', last_written=NOW + 0.1),
    sink=Sink(next=5),
    delta=Delta(version=4, rows=3, committed=NOW + 0.3),
)


def marks(facts: Facts) -> dict[str, str]:
    return {stage: mark for stage, mark, *_ in (line.split() for line in summary(facts)[1:5])}


def test_screen_says_each_stage_and_its_figures() -> None:
    assert summary(ALL) == [
        "orders (mysql): which stage has its last change?",
        "  source  yes  3 rows, last changed by the test at 12:00:00.000",
        '  topic   yes  debezium.cdcdb.orders: 5 events, last c {"id": 3} at 12:00:00.100',
        "  sink    yes  applied all events",
        "  Delta   yes  /opt/delta-tables/cdcdb/orders: version 4, 3 rows, committed at 12:00:00.300",
        "  All stages have it: what the test missed is not on its way.",
    ]


NOT_SENT = replace(ALL, topic=replace(ALL.topic, last_written=NOW - 1), delta=replace(ALL.delta, rows=2))
FEWER_IN_TOPIC = replace(ALL, source=Source(rows=4), delta=replace(ALL.delta, rows=3))
NO_TOPIC = replace(ALL, topic=Topic(exists=False), sink=Sink(), delta=Delta())
BEHIND = replace(ALL, sink=Sink(next=3), delta=replace(ALL.delta, rows=1))
SINK_DOWN = replace(ALL, sink=Sink(problem="http://127.0.0.1:9108 does not answer"), delta=replace(ALL.delta, rows=1))
FEWER_IN_DELTA = replace(ALL, delta=replace(ALL.delta, rows=1))


@pytest.mark.parametrize(
    ("facts", "without", "conclusion"),
    [
        (NOT_SENT, {"topic", "Delta"}, "The connector has not sent it"),
        (FEWER_IN_TOPIC, {"topic", "Delta"}, "The connector has not sent it"),
        (NO_TOPIC, {"topic", "sink", "Delta"}, "The connector has not sent it"),
        (BEHIND, {"sink", "Delta"}, "The sink has not applied it"),
        (SINK_DOWN, {"sink", "Delta"}, "The sink has not applied it"),
        (FEWER_IN_DELTA, {"Delta"}, "The sink has applied it, and the table has not as many rows"),
    ],
)
def test_first_stage_without_the_change_is_named(facts: Facts, without: set[str], conclusion: str) -> None:
    assert {stage for stage, mark in marks(facts).items() if mark == "NO"} == without
    assert summary(facts)[-1].strip().startswith(conclusion)


def test_known_cause_takes_the_place_of_the_guess() -> None:
    assert summary(replace(BEHIND, obstacle="the sink has stopped cdcdb.orders: no such type"))[-1] == (
        "  Cause: the sink has stopped cdcdb.orders: no such type"
    )


def test_stage_that_cannot_be_read_is_unknown() -> None:
    facts = replace(ALL, source=Source(problem="cannot be read: timeout"), topic=Topic(problem="cannot be read: x"))
    assert marks(facts)["source"] == marks(facts)["topic"] == "?"
    assert summary(facts)[-1].strip() == "Not all stages could be looked at."


def test_table_that_was_dropped_everywhere_is_unknown() -> None:
    facts = replace(ALL, source=Source(problem="no such table"), topic=Topic(exists=False), sink=Sink(), delta=Delta())
    assert set(marks(facts).values()) == {"?"}
    assert summary(facts)[-1].strip() == "Not all stages could be looked at."


def test_rows_of_a_table_without_a_key_are_not_compared() -> None:
    facts = replace(ALL, has_key=False, topic=replace(ALL.topic, keys=None), delta=replace(ALL.delta, rows=9))
    assert set(marks(facts).values()) == {"yes"}


def test_table_that_nobody_changed_is_complete_everywhere() -> None:
    facts = replace(ALL, source=Source(rows=0), topic=Topic(exists=False), sink=Sink(), delta=Delta())
    assert "NO" not in marks(facts).values()


def event(offset: int, op: str | None, key: int | None, partition: int = 0) -> ChangeEvent:
    moment = datetime.fromtimestamp(NOW + offset, tz=UTC)
    named = None if key is None else {"id": key}
    return ChangeEvent("t", partition, offset, moment, named, op, None, None, {}, None)


def test_rows_left_are_those_of_the_whole_topic() -> None:
    events = [event(0, "c", 1), event(1, "c", 2), event(2, "u", 1), event(3, "d", 2), event(4, None, 2)]
    assert rows_left(events) == 1
    assert rows_left([*events, event(5, "t", None)]) == 0
    assert rows_left(events[1:]) is None
    assert rows_left([event(0, "c", None)]) is None
    assert rows_left([event(0, "c", 1), event(1, "c", 2, partition=1)]) is None
