"""Both engines of the sink do the same to a table, each goes on where the other stopped, and all readers agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from cdc_workstation.fixtures.spark import DeltaTableLocation
from cdc_workstation.settings import Settings
from cdc_workstation.sink import spark_connect
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.schema import METADATA, Change, Fill
from cdc_workstation.sink.spark_connect import SparkConnectWriter
from cdc_workstation.sink.spark_sessions import Session, SparkSessions
from cdc_workstation.sink.state import State, restore
from cdc_workstation.sink.writer import CommitInfo, TableWriter
from tests.writer_contract import NAMES, NOTHING, VALUES, WriterContract, create, rows, stored

# One worker runs them, so that one process loads Spark's client.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("writers")]

Engine = Callable[[], TableWriter]


@pytest.fixture(scope="module")
def sessions(stack_settings: Settings) -> SparkSessions:
    """Sessions on the stack's Connect server."""
    return SparkSessions(stack_settings.spark_remote)


@pytest.fixture
def location(delta_table: DeltaTableLocation) -> Location:
    """Where one test's table lies."""
    root, _, name = delta_table.path.rpartition("/")
    return Location(root, name, {})


@pytest.fixture
def embedded(location: Location) -> Engine:
    return lambda: DeltaRsWriter(location, 3600.0)


@pytest.fixture
def spark(location: Location, sessions: SparkSessions) -> Engine:
    return lambda: SparkConnectWriter(location, 3600.0, sessions)


class TestSparkConnect(WriterContract):
    # Spark's change feed fails with a backtick in a name, however it is quoted.
    NAMES = tuple(NAMES)

    @pytest.fixture
    def path(self, delta_table: DeltaTableLocation) -> str:
        return delta_table.path

    @pytest.fixture
    def writer(self, spark: Engine) -> TableWriter:
        return spark()


# Both engines


@pytest.mark.parametrize("order", ["embedded first", "spark first"])
def test_engines_go_on_with_each_others_tables(
    embedded: Engine, spark: Engine, delta_table: DeltaTableLocation, order: str
) -> None:
    """Each commit is the other engine's, from a new process."""
    engines = [embedded, spark] if order == "embedded first" else [spark, embedded]
    turn = 0
    types: dict[str, pa.DataType] = {"id": pa.int32(), "note": pa.string(), "at": pa.timestamp("us")}
    topic = "debezium.db.t"

    def next_writer() -> TableWriter:
        nonlocal turn
        writer = engines[turn % 2]()
        writer.refresh()
        # The state of the commit before is the last one that has one.
        state = next((one for limit in (1, 5) if (one := _state(writer, topic, limit))), None)
        assert state is None if turn < 2 else state is not None and state.offsets == {0: turn - 1}
        turn += 1
        return writer

    def info() -> CommitInfo:
        return CommitInfo(State(topic_id="t", offsets={0: turn - 1}).metadata(topic), ("app", turn))

    create(next_writer(), types)
    values = [{"id": key, "note": "a", "at": datetime(2024, 2, 29, 1, 2, 3, key)} for key in range(4)]
    next_writer().append(rows(values, types), info(), with_deleted=False)
    changes = [{"id": 0, "note": "b", "at": datetime(1, 1, 1)}, {"id": 1}, {"id": 4, "note": "new"}]
    next_writer().upsert(rows(changes, types, order=2, deleted=[1]), ["id"], info(), insert_only=False)
    writer = next_writer()
    writer.evolve(Change(added={"n": pa.int64()}, fills=[Fill("n", 7)]))
    writer.evolve(Change(retyped={"id": pa.int64()}))
    writer.upsert(rows([{"id": 2**40, "n": 1}], {"id": pa.int64(), "n": pa.int64()}), ["id"], info(), insert_only=True)
    next_writer().delete_older(None, info())
    last = next_writer()

    assert last.transaction_version("app") == turn - 1
    assert last.columns() == {"id": pa.int64(), "note": pa.string(), "at": pa.timestamp("us")} | METADATA | {
        "n": pa.int64()
    }
    assert stored(delta_table.path, "id") == []


def _state(writer: TableWriter, topic: str, limit: int) -> State | None:
    return restore(writer.history(limit), {}, topic, "t", [0])


@pytest.mark.parametrize("engine", ["embedded", "spark"])
def test_all_readers_see_the_same_rows(
    request: pytest.FixtureRequest, sessions: SparkSessions, delta_table: DeltaTableLocation, engine: str
) -> None:
    writer: TableWriter = request.getfixturevalue(engine)()
    types = {"id": pa.int64()} | {name: kind for name, (kind, _, _) in VALUES.items()}
    values = [
        {"id": 1} | {name: least for name, (_, least, _) in VALUES.items()},
        {"id": 2} | {name: greatest for name, (_, _, greatest) in VALUES.items()},
    ]
    create(writer, types)
    writer.append(rows(values[:1], types), NOTHING, with_deleted=False)
    writer.upsert(rows(values[1:], types, order=2), ["id"], NOTHING, insert_only=False)

    assert stored(delta_table.path, *types) == values
    table = DeltaTable(delta_table.path)
    queried = pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t ORDER BY id"))
    assert [{name: one[name] for name in types} for one in queried.to_pylist()] == values
    frame = table.to_pandas().sort_values("id")
    assert frame["unsigned"].tolist() == [one["unsigned"] for one in values]
    assert frame["datetime"].tolist() == [one["datetime"] for one in values]
    shown = sessions.run(lambda one: one.spark.read.format("delta").load(delta_table.path).orderBy("id").toArrow())
    assert [{name: one[name] for name in types} for one in shown.to_pylist()] == values


def test_spark_finds_long_decimals_that_delta_rs_wrote(
    embedded: Engine, sessions: SparkSessions, delta_table: DeltaTableLocation
) -> None:
    """A reader that trusts cut statistics misses rows."""
    writer = embedded()
    types = {"id": pa.decimal128(20, 0), "day": pa.date32()}
    create(writer, types)
    writer.append(rows([{"id": 2**64 - 1, "day": date(2024, 2, 29)}], types), NOTHING, with_deleted=False)

    query = f"SELECT * FROM {delta_table.identifier} WHERE id = {2**64 - 1}"
    found = sessions.run(lambda one: one.spark.sql(query).collect())

    assert len(found) == 1


def test_lost_session_is_opened_again(spark: Engine, sessions: SparkSessions) -> None:
    """As after the server was started again."""
    writer = spark()
    create(writer)
    session_id = sessions.run(lambda one: one.spark.session_id)
    # The server forgets it, and this side does not know.
    sessions.run(lambda one: one.spark.client.release_session())

    writer.append(rows([{"id": 1}]), NOTHING, with_deleted=False)

    assert writer.count() == 1
    assert sessions.run(lambda one: one.spark.session_id) != session_id


def test_server_that_is_not_there_fails_soon(location: Location) -> None:
    sessions = SparkSessions("sc://127.0.0.1:1")
    writer = SparkConnectWriter(location, 3600.0, sessions)
    create(writer)

    with pytest.raises(Exception, match=r"UNAVAILABLE|Connection refused"):
        writer.append(rows([{"id": 1}]), NOTHING, with_deleted=False)


@pytest.mark.parametrize(
    ("properties", "name"),
    [({"delta.enableDeletionVectors": "true"}, "ab"), ({"delta.columnMapping.mode": "name"}, "a b")],
    ids=["deletion vectors", "mapped columns"],
)
def test_embedded_engine_goes_on_with_features_of_spark(
    spark: Engine,
    embedded: Engine,
    sessions: SparkSessions,
    delta_table: DeltaTableLocation,
    properties: dict[str, str],
    name: str,
) -> None:
    """Users' properties, and tables of the sink's first version: Spark reads what delta-rs makes of them."""
    types = {"id": pa.int64(), name: pa.string()}
    writer = spark()
    writer.create(types | METADATA, properties, replaces=False)
    writer.append(rows([{"id": key, name: "old"} for key in range(4)], types), NOTHING, with_deleted=False)
    writer.upsert(rows([{"id": 0}], types, order=2, deleted=[0]), ["id"], NOTHING, insert_only=False)
    writer.evolve(Change(added={"c": pa.int32()}))

    # Files that nobody needs go at once.
    at_once = "'delta.deletedFileRetentionDuration' = 'interval 0 seconds'"
    sessions.run(lambda one: one.spark.sql(f"ALTER TABLE {delta_table.identifier} SET TBLPROPERTIES ({at_once})"))

    other = embedded()
    other.refresh()
    other.vacuum()
    other.append(rows([{"id": 4}], types), NOTHING, with_deleted=False)
    changes = rows([{"id": 1, name: "new"}, {"id": 2}], types, order=3, deleted=[1])
    other.upsert(changes, ["id"], NOTHING, insert_only=False)

    def read(session: Session) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in session.spark.read.format("delta").load(delta_table.path).collect()]

    assert sorted(one[:2] for one in sessions.run(read)) == [(1, "new"), (3, "old"), (4, None)]


def test_maintenance_compacts_files_and_keeps_the_state(
    spark: Engine, delta_table: DeltaTableLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark_connect, "_COMMITS_PER_OPTIMIZE", 2)
    monkeypatch.setattr(spark_connect, "_SHORTEST_REST", 0.0)
    writer = spark()
    create(writer)
    state = State(topic_id="t", offsets={0: 7})
    for number in range(2):
        assert not writer.maintenance_is_due()
        writer.append(rows([{"id": number}]), CommitInfo(state.metadata("topic")), with_deleted=False)
    assert writer.maintenance_is_due()

    assert writer.maintain() > 0

    assert not writer.maintenance_is_due()
    assert len(DeltaTable(delta_table.path).file_uris()) == 1
    assert stored(delta_table.path, "id") == [{"id": 0}, {"id": 1}]
    assert restore(writer.history(10), {}, "topic", "t", [0]) == state
