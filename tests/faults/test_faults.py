"""A service is killed, paused or restarted while changes come: Delta ends equal to the databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from captured import CapturedDatabase, CapturedTable, until
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from fault_injection import HEALTHY_SECONDS, Stack, Writer
from oracle import assert_equal

from cdc_workstation.clients.delta import DeltaReader
from cdc_workstation.clients.sink import SinkClient, is_stopped

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from cdc_workstation.clients.prometheus import PrometheusClient
    from cdc_workstation.fixtures.spark import DeltaTableLocation

pytestmark = pytest.mark.timeout(900)

# Once a database is healthy again, its changes must be in Delta after this time.
RESUMED_SECONDS = 15.0


def ends_equal(tables: list[CapturedTable], writers: list[Writer]) -> None:
    """Stop writing, and compare each table with its source."""
    for writer in writers:
        writer.wait_for(20)
        writer.stop()
    for table in tables:
        table.database.reconnect()
    assert_equal(tables)
    metrics = tables[0].database.sink_metrics()
    assert [table.label for table in tables if is_stopped(metrics, table.label)] == []
    topics = {table.topic for table in tables}
    letters = DeltaReader(tables[0].database.dead_letters).rows()
    assert [letter["detail"] for letter in letters if letter["topic"] in topics] == []


def test_sink_killed_in_the_middle_of_its_work(
    stack: Stack, tables: list[CapturedTable], writers: list[Writer]
) -> None:
    for _ in range(2):
        # Changes are waiting for it.
        until(lambda: sum(table.metric("lag_offsets") for table in tables) > 0, "changes wait", HEALTHY_SECONDS)
        stack.kill("delta-sink")
        stack.start("delta-sink")

    ends_equal(tables, writers)


@pytest.mark.parametrize("service", ["delta-sink", "kafka", "debezium", "mysql", "postgres"])
def test_service_killed_under_load_on_both_databases(
    stack: Stack, tables: list[CapturedTable], writers: list[Writer], service: str
) -> None:
    for writer in writers:
        writer.wait_for(50)
    stack.kill(service)
    for table, writer in zip(tables, writers, strict=True):
        if table.database.kind != service:
            writer.wait_for(50)
    stack.start(service)

    ends_equal(tables, writers)


@pytest.mark.parametrize("service", ["kafka", "mysql", "postgres"])
def test_service_restarted_under_load_on_both_databases(
    stack: Stack, tables: list[CapturedTable], writers: list[Writer], service: str
) -> None:
    for writer in writers:
        writer.wait_for(50)
    stack.restart(service)

    ends_equal(tables, writers)


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_changes_arrive_soon_after_a_killed_database_is_back(
    stack: Stack, tables: list[CapturedTable], kind: str
) -> None:
    [table] = [one for one in tables if one.database.kind == kind]
    stack.kill(kind)
    stack.start(kind)
    table.database.reconnect()
    table.execute("INSERT INTO {t} VALUES (1, 1, 'after')")

    table.settle(RESUMED_SECONDS)


def test_sink_paused_for_two_minutes(stack: Stack, tables: list[CapturedTable], writers: list[Writer]) -> None:
    writers[0].wait_for(50)
    with stack.paused("delta-sink"):
        end = time.monotonic() + 120
        until(lambda: time.monotonic() > end, "two minutes have passed", 150)

    ends_equal(tables, writers)


def test_sink_is_ready_before_it_has_caught_up(stack: Stack, tables: list[CapturedTable]) -> None:
    # If it had to catch up first, a start with much behind it would count as one that failed.
    stack.container("delta-sink").stop(timeout=30)
    table = tables[0]
    insert_many(table, 200_000)
    until(lambda: table.database.end(table) > 200_000, "the changes are in Kafka", HEALTHY_SECONDS)
    stack.container("delta-sink").start()
    with SinkClient(str(table.database.settings.delta_sink_url)) as sink:
        until(lambda: not sink.problem(), "the sink is ready", HEALTHY_SECONDS)
    assert table.delta().count() < 200_001
    stack.wait_for("delta-sink")

    ends_equal(tables, [])


def insert_many(table: CapturedTable, count: int) -> None:
    """Insert rows with the ids from 1 on, a few thousand in a statement."""
    for first in range(1, count + 1, 4000):
        last = min(first + 4000, count + 1)
        table.execute("INSERT INTO {t} VALUES " + ", ".join(f"({number}, 0, 'row')" for number in range(first, last)))


@pytest.mark.parametrize("index", [0, 1], ids=["mysql", "postgres"])
def test_statement_that_changes_200000_rows(tables: list[CapturedTable], index: int) -> None:
    table = tables[index]
    insert_many(table, 200_000)
    assert_equal([table])

    table.execute("UPDATE {t} SET revision = revision + 1, note = 'changed'")

    ends_equal([table], [])


@pytest.mark.parametrize("index", [0, 1], ids=["mysql", "postgres"])
def test_300_tables_created_at_once(databases: list[CapturedDatabase], tables: list[CapturedTable], index: int) -> None:
    database, older = databases[index], tables[index]
    created = []
    for number in range(300):
        created.append(database.table("id INT PRIMARY KEY, note VARCHAR(20)", f"table_{number}"))
        created[-1].execute("INSERT INTO {t} VALUES (1, 'one'), (2, 'two')")

    # An older table does not wait for them.
    older.execute("UPDATE {t} SET revision = 1")
    older.settle(5)

    until(lambda: all(table.path.exists() for table in created), "all tables are in Delta", 60)
    ends_equal(created, [])


def test_connect_killed_during_a_snapshot(
    stack: Stack, databases: list[CapturedDatabase], own_connector: Callable[[Mapping[str, str]], tuple[str, str]]
) -> None:
    database = databases[0]
    source = database.table("id INT PRIMARY KEY, note VARCHAR(100)", "old")
    for first in range(0, 40_000, 4000):
        values = ", ".join(f"({number}, 'row')" for number in range(first, first + 4000))
        source.execute(f"INSERT INTO {{t}} VALUES {values}")
    target = database.topic_only("from_snapshot")
    own_connector(
        {
            "database.include.list": database.name,
            "table.include.list": source.source,
            # Slow enough to be killed before its end.
            "snapshot.select.statement.overrides": source.source,
            f"snapshot.select.statement.overrides.{source.source}": (
                f"SELECT * FROM {source.source} WHERE SLEEP(0.0005) = 0"
            ),
            "transforms": "route",
            "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "transforms.route.regex": rf"[^.]+\.{database.name}\.old",
            "transforms.route.replacement": target.topic,
        }
    )
    until(lambda: database.end(target) > 1000, "the snapshot began", HEALTHY_SECONDS)
    stack.kill("debezium")
    assert database.end(target) < 40_000
    stack.start("debezium")
    source.execute("UPDATE {t} SET note = 'after' WHERE id = 7")

    wanted = source.rows()
    until(lambda: target.delta_rows() == wanted, lambda: f"{len(target.delta_rows())} of 40000 rows", HEALTHY_SECONDS)


@pytest.mark.parametrize("service", ["mysql", "postgres"])
def test_database_that_stays_away_is_reported_and_its_connector_goes_on(
    stack: Stack,
    tables: list[CapturedTable],
    writers: list[Writer],
    prometheus_client: PrometheusClient,
    service: str,
) -> None:
    def is_reported() -> bool:
        found = prometheus_client.alerts("ConnectorDisconnected", plugin=service)
        return any(alert["state"] == "firing" for alert in found)

    writers[0].wait_for(50)
    stack.container(service).stop(timeout=30)
    until(is_reported, "ConnectorDisconnected fires", HEALTHY_SECONDS)
    # Longer than a restart takes, and than a connector with Debezium's defaults would survive.
    end = time.monotonic() + 60
    until(lambda: time.monotonic() > end, "a minute has passed")
    stack.start(service)

    ends_equal(tables, writers)
    until(lambda: not is_reported(), "ConnectorDisconnected is resolved", HEALTHY_SECONDS)


def test_spark_worker_killed_under_a_job(
    stack: Stack, spark_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    context = spark_session.sparkContext
    slow = context.parallelize(range(60), 30).map(lambda number: (time.sleep(0.5), number)[1:])
    frame = spark_session.createDataFrame(slow, "number int")
    tracker = context.statusTracker()

    def half_done() -> bool:
        stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
        return any(stage and stage.numActiveTasks and stage.numCompletedTasks > 2 for stage in stages)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(frame.write.format("delta").save, delta_table.path)
        until(half_done, "the job has done a part of its work", HEALTHY_SECONDS)
        stack.kill("spark-worker")
        stack.start("spark-worker")
        written.result(HEALTHY_SECONDS)

    table = DeltaTable(delta_table.path)
    assert sorted(table.to_pyarrow_table()["number"].to_pylist()) == list(range(60))
    assert table.version() == 0


def test_whole_stack_stopped_and_started(stack: Stack, tables: list[CapturedTable], writers: list[Writer]) -> None:
    writers[0].wait_for(50)
    stack.compose("stop")
    stack.compose("up", "--detach", "--wait")

    ends_equal(tables, writers)


@pytest.mark.parametrize("index", [0, 1], ids=["mysql", "postgres"])
def test_events_that_kafka_lost_are_repaired_by_a_snapshot(
    stack: Stack, tables: list[CapturedTable], index: int
) -> None:
    table = tables[index]
    stack.container("delta-sink").stop(timeout=30)
    table.execute("INSERT INTO {t} VALUES (1, 1, 'lost')")
    admin = AdminClient({"bootstrap.servers": table.database.settings.kafka_bootstrap_servers, "log_level": 2})
    until(lambda: len(table.database.messages(table)) == 2, "the change is in Kafka", HEALTHY_SECONDS)
    [deleted] = admin.delete_records([TopicPartition(table.topic, 0, 2)]).values()
    assert deleted.result(30).low_watermark == 2
    stack.start("delta-sink")
    table.execute("INSERT INTO {t} VALUES (2, 2, 'after')")

    ends_equal([table], [])

    assert set(table.arrow()["_cdc_op"].to_pylist()) == {"r"}
    said = stack.container("delta-sink").logs(tail=1000).decode()
    assert f"{table.label} takes no more changes: Kafka no longer has offsets 1 to 1 of {table.topic}" in said
