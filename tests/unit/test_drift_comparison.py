"""The comparison of a table against a model of its way: no false drift under load, and no missed drift.

The model is a database with a log, a topic that is behind it, and a Delta table that is behind the topic. Each call
that the comparison makes lets some of that happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_workstation.verify import comparison as comparisons
from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.comparison import TableComparison
from cdc_workstation.verify.databases import SourceColumn, SourceTable, WithoutKeyError
from cdc_workstation.verify.fingerprints import Difference, digest
from cdc_workstation.verify.lake import LakeState, state_of
from cdc_workstation.verify.shape import Shape, event_key
from cdc_workstation.verify.values import Family
from cdc_workstation.verify.verdict import RowDifference, TableResult, Verdict, exit_code, summary
from cdc_workstation.verify.window import Totals, Window

NAME = TableName("mysql", "cdcdb", "orders")
CONNECTOR = Connector.of(
    "mysql-cdcdb", {"connector.class": "io.debezium.connector.mysql.MySqlConnector", "topic.prefix": "debezium"}
)
assert CONNECTOR is not None
TOPIC = CONNECTOR.topic(NAME)
ID = SourceColumn("id", "int", Family("number"), "id")
COLUMNS = (ID, SourceColumn("v", "int", Family("number"), "v"))
SCHEMA = {"type": "struct", "fields": [{"field": "id", "type": "int32", "optional": False}]}
KEYS = range(5)
RANDOM = st.builds(Random, st.integers(0, 2**32))


@dataclass
class Model:
    """A table on its way; it is source, lake and log of the comparison."""

    random: Random | None
    is_busy: bool = True
    key: tuple[str, ...] = ("id",)
    source: dict[int, int] = field(default_factory=dict)
    log: list[tuple[int, int | None]] = field(default_factory=list)
    in_kafka: int = 0
    applied: int = 0
    delta: dict[int, int] = field(default_factory=dict)
    version: int = 0
    # Changes that the sink loses, as a bug would.
    lost: set[int] = field(default_factory=set)
    counter: int = 0
    ops: set[str] = field(default_factory=lambda: {"c"})

    def write(self, key: int, value: int | None = None, *, delete: bool = False) -> None:
        if delete and key not in self.source:
            return
        self.counter += 1
        if value is None and not delete:
            # Few values, so that a row may have an earlier one again.
            value = self.counter % 3
        if value is None:
            del self.source[key]
        else:
            self.source[key] = value
        self.log.append((key, value))

    def step(self) -> None:
        """Let something happen: changes, their way to Kafka, their way to Delta."""
        if not self.is_busy or self.random is None:
            return
        for _ in range(self.random.randint(0, 2)):
            self.write(self.random.choice(KEYS), delete=self.random.random() < 0.5)
        self.in_kafka = self.random.randint(self.in_kafka, len(self.log))
        self.apply(self.random.randint(self.applied, self.in_kafka))

    def apply(self, end: int) -> None:
        if end == self.applied:
            return
        for number in range(self.applied, end):
            key, value = self.log[number]
            if number in self.lost:
                continue
            if value is None:
                self.delta.pop(key, None)
            else:
                self.delta[key] = value
        self.applied = end
        self.version += 1

    def settle(self) -> None:
        """Let everything that is committed reach Delta, as the rounds wait for."""
        end = len(self.log)
        self.step()
        self.in_kafka = max(self.in_kafka, end)
        self.apply(max(self.applied, end))
        self.step()

    # The source

    def describe(self, table: TableName) -> SourceTable:
        return SourceTable(table, COLUMNS, self.key)

    def rows(self, *arguments: Any) -> Iterator[list[tuple[str, str]]]:
        self.step()
        yield [(str(key), str(value)) for key, value in self.source.items()]
        self.step()

    # The log

    def ends(self, topics: list[str]) -> dict[str, dict[int, int]]:
        self.step()
        return {topic: {0: self.in_kafka} if topic == TOPIC else {} for topic in topics}

    def records(self, topic: str, first: dict[int, int], end: dict[int, int]) -> list[tuple[bytes, None]]:
        if topic != TOPIC:
            return []
        return [
            (json.dumps({"schema": SCHEMA, "payload": {"id": key}}).encode(), None)
            for key, _ in self.log[first.get(0, 0) : end.get(0, 0)]
        ]

    # Delta

    def open_lake(self) -> ModelLake:
        self.step()
        return ModelLake(self, dict(self.delta), self.version)


@dataclass
class ModelLake:
    """One version of the model's Delta table."""

    model: Model
    content: dict[int, int]
    version: int

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return {"id": pa.int32(), "v": pa.int32()}

    def state(self) -> LakeState:
        return LakeState({0: self.model.applied}, ("id",), is_keyed=True)

    def operations(self) -> set[str]:
        return self.model.ops

    def rows(self, *arguments: Any) -> Iterator[list[tuple[str, str]]]:
        yield [(str(key), str(value)) for key, value in self.content.items()]


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "INTERVAL", 0)
    monkeypatch.setattr(comparisons, "PATIENCE", 0)


def _compare(model: Model, rounds: int, *, busy_rounds: int = 0) -> TableResult:
    comparison = TableComparison(NAME, CONNECTOR, TOPIC, model, model.open_lake, model)  # type: ignore[arg-type]
    comparison.look()
    comparison.look_again()
    for number in range(rounds):
        if comparison.is_settled or comparison.result.verdict is not Verdict.EQUAL:
            break
        model.is_busy = model.is_busy and number < busy_rounds
        comparison.begin_round(model.ends(comparison.topics))
        model.settle()
        comparison.end_round()
    return comparison.finish()


@given(RANDOM, st.integers(0, 6))
@settings(deadline=None, max_examples=300)
def test_no_drift_is_found_while_everything_is_applied_in_the_end(random: Random, changes: int) -> None:
    model = Model(random)
    for key in range(changes):
        model.write(key % len(KEYS))

    result = _compare(model, 4, busy_rounds=4)

    assert result.verdict is not Verdict.DRIFT, result.differences


@given(RANDOM, st.integers(0, 6))
@settings(deadline=None, max_examples=200)
def test_table_is_equal_once_its_writers_pause(random: Random, changes: int) -> None:
    model = Model(random)
    for key in range(changes):
        model.write(key % len(KEYS))

    result = _compare(model, 5, busy_rounds=2)

    assert result.verdict is Verdict.EQUAL
    assert result.source_rows == result.delta_rows
    assert result.source_checksum == result.delta_checksum


@given(RANDOM, st.sampled_from(["insert", "update", "delete", "extra", "value"]))
@settings(deadline=None, max_examples=300)
def test_row_that_drifted_is_found_under_load(random: Random, fault: str) -> None:
    model, drifted = Model(random), 99
    model.write(drifted, 50)
    if fault != "insert":
        model.settle()
    if fault in ("insert", "update", "delete"):
        # The sink loses the newest change of this key.
        model.lost.add(0 if fault == "insert" else len(model.log))
        if fault != "insert":
            model.write(drifted, None if fault == "delete" else 51, delete=fault == "delete")
    elif fault == "extra":
        drifted = 100
        model.delta[drifted] = 1
    else:
        model.delta[drifted] = 77
    model.is_busy = True

    result = _compare(model, 4, busy_rounds=4)

    assert result.verdict is Verdict.DRIFT
    assert [one.key for one in result.differences] == [{"id": str(drifted)}]
    assert result.differing == 1
    assert exit_code([result]) == 1
    assert "make resnapshot TABLE=cdcdb.orders" in result.reason


@given(RANDOM)
@settings(deadline=None, max_examples=50)
def test_many_differing_rows_are_found_without_looking_at_each(random: Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparisons, "ONE_BY_ONE", 2)
        model = Model(random)
        for key in range(100, 110):
            model.write(key)
        model.lost.update(range(10))

        result = _compare(model, 4, busy_rounds=4)

    assert result.verdict is Verdict.DRIFT
    assert result.differing == 10
    assert {one.problem for one in result.differences} == {"is missing in Delta"}


def test_table_without_a_key_is_compared_while_it_has_inserts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(None, is_busy=False, key=())
    monkeypatch.setattr(ModelLake, "state", lambda self: LakeState({0: model.applied}, None, is_keyed=False))
    model.write(1)
    model.write(2)
    model.settle()

    assert _compare(model, 2).verdict is Verdict.EQUAL

    model.delta[1] = 77
    assert _compare(model, 2).verdict is Verdict.DRIFT

    model.ops = {"c", "u"}
    with pytest.raises(WithoutKeyError, match="no primary key"):
        _compare(model, 2)


def test_totals_are_those_of_one_position() -> None:
    one, two, three = (digest((text,)) for text in "123")
    number = int.from_bytes
    difference = Difference(3, {one: (one, None), two: (None, two), three: (three, one)})

    settled = Totals(10, 10, 5, 5).settled(difference, but={three})

    assert settled.delta_rows == 10
    assert settled.delta_checksum == (5 + number(one) - number(two)) % 2**128


def test_keys_that_may_have_changed_are_no_drift() -> None:
    assert Window({b"a"}).unchanged([b"a", b"b"]) == {b"b"}
    assert Window(is_unknown=True).unchanged([b"a"]) == set()
    assert Window({b"a"}).surely_drifted(Difference(count=3)) == 2
    assert Window(is_unknown=True).surely_drifted(Difference(count=3)) == 0


@pytest.mark.parametrize("key", [None, b"", b"no json", b'{"payload": {"id": 1}}', b'{"schema": {}, "payload": null}'])
def test_key_that_cannot_be_read_may_be_any_rows(key: bytes | None) -> None:
    assert event_key(key, (ID,)) is None


def test_key_of_an_event_is_the_rows_key() -> None:
    day = SourceColumn("day", "date", Family("moment"), "day")
    fields = [*SCHEMA["fields"], {"field": "day", "type": "int32", "name": "io.debezium.time.Date"}]  # type: ignore[misc]
    key = json.dumps({"schema": {"type": "struct", "fields": fields}, "payload": {"id": 7, "day": 1}}).encode()

    assert event_key(key, (day, ID)) == ("86400000000", "7")


@pytest.mark.parametrize(
    ("metadata", "applied"),
    [
        ('{"cdc_sink":{"offsets":{"0":4},"tombstones":[],"keyed":true,"keys":["id"]}}', {0: 5}),
        ('{"cdc_sink":{"offsets":{"0":4,"1":7},"tombstones":[0],"keyed":true}}', {0: 6, 1: 8}),
        ('{"other": 1}', None),
        ("no json", None),
        (None, None),
        ('"text"', None),
    ],
)
def test_state_of_the_sink_is_in_its_commits(metadata: str | None, applied: dict[int, int] | None) -> None:
    state = state_of(metadata)

    assert (state.applied if state else None) == applied


def test_difference_names_the_key_and_the_columns() -> None:
    shape = Shape(COLUMNS, (ID,))
    row, other = ("1", "a"), ("1", None)

    assert str(shape.difference([row], [other])) == "(id='1') differs: v is NULL in Delta and 'a' in the source"
    assert str(shape.difference([row], [])) == "(id='1') is missing in Delta"
    assert str(shape.difference([], [row])) == "(id='1') is in Delta and not in the source"
    assert str(shape.difference([row], [row, row])) == "(id='1') is in Delta more than once"
    assert shape.difference([row], [row]) is None
    assert shape.difference([], []) is None


def test_long_values_are_cut() -> None:
    assert len(str(RowDifference({"id": "1"}, "differs", {"v": ("x" * 1000, None)}))) < 200


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict.EQUAL, Verdict.LEFT_OUT], 0),
        ([Verdict.EQUAL, Verdict.NOT_COMPARED], 2),
        ([Verdict.DRIFT, Verdict.NOT_COMPARED], 1),
    ],
)
def test_exit_code_says_whether_there_is_drift(verdicts: list[Verdict], code: int) -> None:
    assert exit_code([TableResult("a", "b", "mysql", verdict) for verdict in verdicts]) == code


def test_summary_counts_verdicts() -> None:
    results = [TableResult("a", "b", "mysql"), TableResult("c", "b", "mysql", Verdict.DRIFT)]

    assert summary(results) == "2 tables: 1 equal, 1 drift."
    assert summary([]) == "No table is captured."
