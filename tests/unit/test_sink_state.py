"""What a table's log says about what was applied to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc_workstation.sink.events import Position
from cdc_workstation.sink.state import METADATA_KEY, State, app_id, restore, without_history

TOPIC = "debezium.db.t"


def commit(state: State, topic: str = TOPIC, **changed: Any) -> dict[str, str]:
    metadata = json.loads(state.metadata(topic))
    metadata[METADATA_KEY] |= changed
    return {"userMetadata": json.dumps(metadata)}


FULL = State(
    topic_id="topic-1",
    offsets={0: 7},
    tombstones=[0],
    positions={0: Position(90, 2)},
    ts_ms=1234,
    fields=["id", "note"],
    snapshot_only=90,
    began=80,
    sweep=70,
    keyed=True,
    keys=["id"],
    ddl=Position(60, 0),
    ddl_ms=1200,
)


def test_state_is_restored_from_a_commit() -> None:
    assert restore([commit(FULL)], {}, TOPIC, "topic-1", [0]) == FULL


def test_copy_equals_the_state_and_shares_nothing_with_it() -> None:
    copy = FULL.copy()
    assert copy == FULL

    copy.offsets[0] = 8
    copy.tombstones.clear()
    copy.positions.clear()
    copy.fields.append("x")
    assert copy.keys is not None
    copy.keys.append("x")

    assert restore([commit(FULL)], {}, TOPIC, "topic-1", [0]) == FULL


def test_newest_commit_of_the_topic_counts() -> None:
    others: list[dict[str, Any]] = [
        {},
        {"userMetadata": None},
        {"userMetadata": "no JSON"},
        {"userMetadata": "[1]"},
        {"userMetadata": '{"somebody": "else"}'},
        commit(State(topic_id="topic-1", offsets={0: 99}), topic="debezium.db.another"),
    ]

    assert restore([*others, commit(FULL), commit(State())], {}, TOPIC, "topic-1", [0]) == FULL
    assert restore(others, {}, TOPIC, "topic-1", [0]) is None


def test_recreated_topic_has_no_offsets_and_keeps_the_positions() -> None:
    state = restore([commit(FULL)], {}, TOPIC, "topic-2", [0])

    assert state is not None
    assert (state.topic_id, state.offsets, state.tombstones) == ("topic-2", {}, [])
    assert state.positions == FULL.positions


@pytest.mark.parametrize(("transaction", "offset"), [(5, 7), (9, 9)])
def test_greater_of_metadata_and_transaction_is_the_offset(transaction: int, offset: int) -> None:
    state = restore([commit(FULL)], {0: transaction}, TOPIC, "topic-1", [0])

    assert state is not None
    assert state.offsets == {0: offset}


def test_topic_with_fewer_partitions_has_the_least_position() -> None:
    state = State(positions={0: Position(5, 0), 1: Position(3, 0), 2: Position(9, 0)}, topic_id="topic-1")

    restored = restore([commit(state)], {}, TOPIC, "topic-1", [0, 1])

    assert restored is not None
    assert restored.positions == {0: Position(3, 0), 1: Position(3, 0)}


def test_state_of_the_first_sink_is_understood() -> None:
    written = commit(FULL, positions={"0": [500, 500]})
    metadata = json.loads(written["userMetadata"])
    for added_later in ("tombstones", "began", "keys", "ddl", "ddl_ms"):
        del metadata[METADATA_KEY][added_later]

    state = restore([{"userMetadata": json.dumps(metadata)}], {}, TOPIC, "topic-1", [0])

    assert state is not None
    assert state.positions == {0: Position(500, 0)}
    assert (state.tombstones, state.began, state.keys, state.ddl, state.ddl_ms) == ([], None, None, None, 0)


def test_transactions_alone_say_where_to_go_on() -> None:
    assert without_history({0: 5}, "topic-1") == State(topic_id="topic-1", offsets={0: 5})


def test_recreated_topic_has_another_application() -> None:
    assert app_id("topic-1", 3) == "cdc-sink/topic-1/3"
