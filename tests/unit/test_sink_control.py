"""What DDL and snapshots mean for tables: which rows are gone, and which tables must be read again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc_workstation.sink.control import Control
from cdc_workstation.sink.events import Position
from cdc_workstation.sink.settings import Source
from cdc_workstation.sink.table_change import TableChange

SOURCE = Source(connector="mysql", changes="debezium", notifications="n", signals="signals", key="debezium")
TOPIC = "debezium.shop.orders"


def change(kind: str, at: int, topic: str = TOPIC, **more: Any) -> TableChange:
    values: dict[str, Any] = {
        "topic": topic,
        "kind": kind,
        "position": Position(at, 0),
        "timestamp_ms": at,
        "source_id": None,
        "columns": None,
        "snapshot": False,
        "detail": kind,
        "namespace": "shop",
        "table": topic.rpartition(".")[2],
    }
    return TableChange(**(values | more))


def told(*changes: TableChange) -> Control:
    control = Control()
    control.take(SOURCE, changes)
    return control


def reflects(at: int | None) -> Any:
    return lambda _: None if at is None else Position(at, 1)


@pytest.mark.parametrize("kind", ["created", "snapshot_empty"])
def test_table_that_begins_empty_loses_its_older_rows(kind: str) -> None:
    control = Control()

    assert control.take(SOURCE, [change(kind, 10, snapshot=kind == "snapshot_empty"), change(kind, 7)]) == {TOPIC}
    assert control.emptied[TOPIC].position == Position(10, 0)
    assert control.requests == {}


def test_definition_that_a_snapshot_reads_empties_nothing() -> None:
    assert told(change("altered", 10, snapshot=True)).emptied == {}


@pytest.mark.parametrize("kind", ["replaced", "rows_changed", "unparsed"])
def test_rows_that_changed_without_events_are_read_again(kind: str) -> None:
    [request] = told(change(kind, 10)).due(0.0, reflects(None))

    key, value = request.message()
    assert key == b"debezium"
    assert json.loads(value)["data"] == {"type": "blocking", "data-collections": [r"shop\.orders"]}


def test_names_of_tables_are_no_patterns() -> None:
    [request] = told(change("replaced", 10, table="a.b (c)")).due(0.0, reflects(None))

    assert json.loads(request.message()[1])["data"]["data-collections"] == [r"shop\.a\.b\ \(c\)"]


def test_request_is_sent_again_until_a_snapshot_answers_it() -> None:
    control = told(change("rows_changed", 10))

    assert len(control.due(0.0, reflects(None))) == 1
    assert control.due(29.0, reflects(9)) == []
    assert len(control.due(31.0, reflects(9))) == 1
    assert control.due(90.0, reflects(9)) == []
    assert len(control.due(92.0, reflects(9))) == 1
    assert control.due(1000.0, reflects(10)) == []
    assert control.requests == {}


def test_only_the_newest_statement_counts() -> None:
    control = told(change("rows_changed", 20), change("replaced", 10))

    assert control.requests[TOPIC].position == Position(20, 0)


@pytest.mark.parametrize("kind", ["created", "dropped", "snapshot_empty"])
def test_recreated_or_dropped_table_needs_no_snapshot(kind: str) -> None:
    assert told(change("rows_changed", 10), change(kind, 11)).requests == {}


def test_statement_after_a_table_was_dropped_still_counts() -> None:
    assert told(change("dropped", 9), change("replaced", 10)).requests.keys() == {TOPIC}


def test_dropped_database_takes_the_requests_of_its_tables_along() -> None:
    other = "debezium.elsewhere.orders"
    control = told(change("replaced", 10), change("replaced", 10, other), change("dropped", 11, "debezium.shop.*"))

    assert control.requests.keys() == {other}


def test_column_that_is_dropped_and_added_again_is_read_again() -> None:
    control = told(change("altered", 10, dropped=("Note",)), change("altered", 11, added=("note",)))
    assert control.requests[TOPIC].detail == "added again: note"

    assert told(change("altered", 10, dropped=("note",)), change("altered", 11, added=("other",))).requests == {}
    recreated = [
        change("altered", 10, dropped=("note",)),
        change("created", 11),
        change("altered", 12, added=("note",)),
    ]
    assert told(*recreated).requests == {}


def test_table_whose_statement_was_not_parsed_is_reported_until_it_is_read() -> None:
    control = told(change("unparsed", 10))
    assert control.not_captured.keys() == {TOPIC}

    control.due(0.0, reflects(11))
    assert control.not_captured == {}
    assert told(change("unparsed", 10), change("altered", 11, snapshot=True)).not_captured == {}


def test_stopped_table_is_read_again_until_it_goes_on() -> None:
    control = Control()
    control.stopped(SOURCE, TOPIC, "shop.orders", "the primary key was (a) and is (b); take a new snapshot")

    assert [request.collection for request in control.due(0.0, reflects(99))] == ["shop.orders"]
    assert control.due(1.0, reflects(99)) == []
    control.runs(TOPIC)
    assert control.due(99.0, reflects(None)) == []


def test_table_that_has_stopped_for_its_ddl_is_asked_for_once() -> None:
    control = told(change("rows_changed", 10))
    control.stopped(SOURCE, TOPIC, "shop.orders", "column a changed from INT to STRING")

    assert len(control.due(0.0, reflects(None))) == 1
