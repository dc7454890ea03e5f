"""From a database to Delta: every change arrives, once and in order, and the table equals its source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from captured import CapturedDatabase, CapturedTable, until
from deltalake import DeltaTable

from cdc_workstation.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]

Connector = Callable[[Mapping[str, str]], tuple[str, str]]


def test_created_updated_and_deleted_rows_arrive(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 10.50), (2, 'Bob', 20.00), (3, 'Cid', NULL)")
    assert len(orders.settle()) == 3

    orders.execute("UPDATE {t} SET total = 11.75 WHERE id = 1")
    orders.execute("DELETE FROM {t} WHERE id = 2")
    orders.execute("INSERT INTO {t} VALUES (4, 'Dee', 0.01)")

    assert [row["id"] for row in orders.settle()] == [1, 3, 4]


def test_last_of_many_changes_of_a_key_wins(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (0, 'marker', 0)")
    orders.settle()

    orders.execute("BEGIN")
    for number in range(1, 21):
        orders.execute("INSERT INTO {t} VALUES (%s, 'new', 0)", (number,))
        for step in range(5):
            orders.execute("UPDATE {t} SET total = %s WHERE id = %s", (step, number))
    orders.execute("DELETE FROM {t} WHERE id BETWEEN 6 AND 10")
    orders.execute("INSERT INTO {t} VALUES (6, 'again', 6)")
    orders.execute("UPDATE {t} SET customer = 'last' WHERE id = 1")
    orders.execute("COMMIT")

    rows = orders.settle()
    assert len(rows) == 17
    assert [row["customer"] for row in rows if row["id"] in (1, 6)] == ["last", "again"]


def test_changed_key_moves_the_row(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("UPDATE {t} SET id = 10 WHERE id = 1")
    # A key that is taken over within one transaction.
    orders.execute("BEGIN")
    orders.execute("UPDATE {t} SET id = 3 WHERE id = 2")
    orders.execute("UPDATE {t} SET id = 2 WHERE id = 10")
    orders.execute("COMMIT")

    assert [(row["id"], row["customer"]) for row in orders.settle()] == [(2, "Ann"), (3, "Bob")]


def test_deleted_row_may_come_back(orders: CapturedTable) -> None:
    for total in range(3):
        orders.execute("INSERT INTO {t} VALUES (1, 'Ann', %s)", (total,))
        orders.settle()
        orders.execute("DELETE FROM {t} WHERE id = 1")
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 9)")

    assert [row["total"] for row in orders.settle()] == [9]


def test_truncated_table_is_empty_and_goes_on(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("TRUNCATE TABLE {t}")
    orders.execute("INSERT INTO {t} VALUES (2, 'after', 3)")

    assert [row["id"] for row in orders.settle()] == [2]


def test_composite_key_is_matched_by_all_of_its_columns(captured: CapturedDatabase) -> None:
    table = captured.table("region VARCHAR(10), number INT, note VARCHAR(20), PRIMARY KEY (region, number)", "depots")
    table.execute("INSERT INTO {t} VALUES ('north', 1, 'a'), ('north', 2, 'b'), ('south', 1, 'c')")
    table.settle()

    table.execute("UPDATE {t} SET note = 'changed' WHERE region = 'north' AND number = 1")
    table.execute("DELETE FROM {t} WHERE region = 'south'")

    assert [row["note"] for row in table.settle()] == ["changed", "b"]


def test_row_says_what_changed_it_last(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()
    orders.execute("UPDATE {t} SET total = 5 WHERE id = 2")
    orders.settle()

    first, second = sorted(orders.arrow().to_pylist(), key=lambda row: row["id"])
    assert (first["_cdc_op"], second["_cdc_op"]) == ("c", "u")
    assert first["_cdc_ts_ms"] <= second["_cdc_ts_ms"]
    assert (first["_cdc_order"], first["_cdc_suborder"]) < (second["_cdc_order"], second["_cdc_suborder"])
    # A GTID, or an LSN.
    assert ":" in second["_cdc_position"] or "/" in second["_cdc_position"]


def test_snapshot_of_existing_rows_comes_before_their_changes(
    captured_mysql: CapturedDatabase, own_connector: Connector
) -> None:
    source = captured_mysql.table("id INT PRIMARY KEY, note VARCHAR(20)", "old")
    source.execute("INSERT INTO {t} VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    snapshot = captured_mysql.topic_only("from_snapshot")

    own_connector(routed("database.include.list", source, snapshot))
    snapshot.wait_for(*source.rows())

    assert {row["_cdc_op"] for row in snapshot.arrow().to_pylist()} == {"r"}
    source.execute("UPDATE {t} SET note = 'changed' WHERE id = 2")
    source.execute("DELETE FROM {t} WHERE id = 1")
    snapshot.wait_for({"id": 2, "note": "changed"}, {"id": 3, "note": "three"})


def test_a_snapshot_of_postgresql_comes_before_its_changes(
    captured_postgres: CapturedDatabase, own_postgres_connector: Connector
) -> None:
    source = captured_postgres.table("id INT PRIMARY KEY, note VARCHAR(20)", "old")
    source.execute("INSERT INTO {t} VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    snapshot = captured_postgres.topic_only("from_snapshot")

    own_postgres_connector(routed("schema.include.list", source, snapshot))
    snapshot.wait_for(*source.rows())

    source.execute("UPDATE {t} SET note = 'changed' WHERE id = 2")
    source.execute("DELETE FROM {t} WHERE id = 1")
    snapshot.wait_for({"id": 2, "note": "changed"}, {"id": 3, "note": "three"})


def routed(including: str, source: CapturedTable, target: CapturedTable) -> dict[str, str]:
    """Settings of a connector over one table whose events go to the topic of another."""
    return {
        including: source.database.name,
        "table.include.list": source.source,
        "transforms": "route",
        "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.route.regex": rf"[^.]+\.{source.database.name}\.{source.name}",
        "transforms.route.replacement": target.topic,
    }


def test_second_snapshot_deletes_rows_missing_from_it(
    captured_mysql: CapturedDatabase, own_connector: Connector, connect_client: Any
) -> None:
    source = captured_mysql.table("id INT PRIMARY KEY, note VARCHAR(20)", "old")
    source.execute("INSERT INTO {t} VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    target = captured_mysql.topic_only("from_snapshot")
    name, _ = own_connector(routed("database.include.list", source, target))
    target.wait_for(*source.rows())

    connect_client.stop(name)
    connect_client.wait_for(name, "STOPPED")
    source.execute("DELETE FROM {t} WHERE id = 2")
    source.execute("UPDATE {t} SET note = 'changed' WHERE id = 3")
    connect_client.reset_offsets(name)
    connect_client.resume(name)

    target.wait_for({"id": 1, "note": "one"}, {"id": 3, "note": "changed"})


def test_replay_of_the_whole_topic_changes_nothing(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2), (3, 'Cid', 3)")
    orders.execute("UPDATE {t} SET total = 20 WHERE id = 2")
    orders.execute("DELETE FROM {t} WHERE id = 3")
    orders.execute("UPDATE {t} SET id = 4 WHERE id = 1")
    orders.settle()
    before, version = orders.arrow().to_pylist(), orders.delta().version()

    messages = orders.database.messages(orders)
    orders.database.produce(orders, *messages)
    until(lambda: orders.metric("lag_offsets") == 0 and orders.metric("stale_events_total") > 3, "the replay was read")
    orders.execute("INSERT INTO {t} VALUES (5, 'marker', 5)")
    orders.settle()

    kept = [row for row in orders.arrow().to_pylist() if row["id"] != 5]
    assert sorted(kept, key=lambda row: row["id"]) == sorted(before, key=lambda row: row["id"])
    # Nothing but the last insert of the topic (the same position) and the marker was written.
    assert orders.delta().version() <= version + 2


def test_change_feed_rebuilds_the_table(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2), (3, 'Cid', 3)")
    orders.settle()
    orders.execute("UPDATE {t} SET total = 20 WHERE id = 2")
    orders.execute("DELETE FROM {t} WHERE id = 3")
    orders.settle()
    orders.execute("UPDATE {t} SET id = 4 WHERE id = 1")
    orders.execute("INSERT INTO {t} VALUES (3, 'back', 3)")
    wanted = orders.settle()

    feed = pa.table(orders.delta().load_cdf(starting_version=0).read_all())
    rebuilt: dict[int, dict[str, Any]] = {}
    for change in sorted(feed.to_pylist(), key=lambda row: (row["_commit_version"], "insert" in row["_change_type"])):
        if change["_change_type"] in ("insert", "update_postimage"):
            rebuilt[change["id"]] = {name: change[name] for name in wanted[0]}
        elif change["_change_type"] == "delete":
            del rebuilt[change["id"]]

    assert [rebuilt[key] for key in sorted(rebuilt)] == wanted


def test_spark_and_delta_rs_read_the_same_rows(orders: CapturedTable, spark_connect_session: SparkSession) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1.10), (2, 'Bøb', NULL)")
    orders.execute("UPDATE {t} SET total = 2.20 WHERE id = 2")
    wanted = orders.settle()

    found = spark_connect_session.sql(f"SELECT id, customer, total FROM delta.`{orders.path}` ORDER BY id").collect()

    assert [row.asDict() for row in found] == wanted
    assert DeltaTable(str(orders.path)).to_pandas()["id"].sort_values().tolist() == [1, 2]


def test_every_commit_carries_its_offset(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1)")
    orders.settle()
    orders.execute("INSERT INTO {t} VALUES (2, 'Bob', 2)")
    orders.settle()

    state = json.loads(orders.delta().history(1)[0]["userMetadata"])["cdc_sink"]

    assert (state["topic"], state["offsets"]) == (orders.topic, {"0": 1})
    # Delta's own transaction is in the first commit, and not in each that follows.
    assert orders.delta().transaction_version(f"cdc-sink/{state['topic_id']}/0") in (0, 1)


def test_metrics_show_the_state_of_a_table(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.execute("DELETE FROM {t} WHERE id = 1")
    orders.settle()

    orders.wait_until_applied(1, "d")
    assert orders.metric("rows_applied_total", op="c") == 2
    until(lambda: orders.metric("table_version") == orders.delta().version(), "the version is told")
    assert orders.metric("table_stopped") == 0
    assert 0 < orders.metric("lag_seconds") < 90


def test_tables_of_mysql_table_stay_out_of_delta(
    captured_mysql: CapturedDatabase, mysql_table: Callable[[str], str], stack_settings: Settings
) -> None:
    table = mysql_table("id INT PRIMARY KEY")
    captured_mysql.execute(f"INSERT INTO {stack_settings.mysql_database}.{table} VALUES (1)")
    # What is written later is applied: so the sink has had its chance.
    marker = captured_mysql.table("id INT PRIMARY KEY")
    marker.execute("INSERT INTO {t} VALUES (1)")
    marker.settle()

    assert not (stack_settings.delta_tables_dir / stack_settings.mysql_database / table).exists()
    assert table not in captured_mysql.sink_metrics()
