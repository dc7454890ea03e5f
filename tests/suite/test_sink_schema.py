"""The columns of the source change: the Delta table follows, takes a new snapshot, or stops and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from captured import CapturedDatabase, CapturedTable, incompatible, until
from deltalake import write_deltalake

from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.sink.canary import event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]


def test_added_column_has_values_in_old_and_new_rows(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("ALTER TABLE {t} ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'none'")
    orders.execute("ALTER TABLE {t} ADD COLUMN weight INT")
    orders.execute("INSERT INTO {t} VALUES (3, 'Cid', 3, 'fresh', 5)")
    orders.execute("UPDATE {t} SET weight = 7 WHERE id = 1")

    assert [(row["note"], row["weight"]) for row in orders.settle()] == [("none", 7), ("none", None), ("fresh", 5)]


def test_widened_column_takes_larger_values(captured: CapturedDatabase) -> None:
    table = captured.table("id INT PRIMARY KEY, amount INT, price DECIMAL(8,2), name VARCHAR(5)")
    table.execute("INSERT INTO {t} VALUES (1, 1, 1.25, 'short')")
    table.settle()

    if captured.kind == "mysql":
        table.execute("ALTER TABLE {t} MODIFY amount BIGINT, MODIFY price DECIMAL(20,2), MODIFY name VARCHAR(100)")
    else:
        table.execute(
            "ALTER TABLE {t} ALTER amount TYPE BIGINT, ALTER price TYPE DECIMAL(20,2), ALTER name TYPE VARCHAR(100)"
        )
    table.execute(f"INSERT INTO {{t}} VALUES (2, {2**40}, 123456789012345678.25, 'not so short any more')")

    assert table.settle()[1]["amount"] == 2**40
    schema = table.arrow().schema
    assert (schema.field("amount").type, schema.field("price").type) == (pa.int64(), pa.decimal128(20, 2))


def test_first_timestamp_ntz_comes_with_an_added_or_widened_column(captured_mysql: CapturedDatabase) -> None:
    moment = "2026-02-03 04:05:06.000007"
    for name, change, values in (
        ("added", "ADD COLUMN placed DATETIME(6)", (2, "2026-02-03", moment)),
        ("widened", "MODIFY due DATETIME(6)", (2, moment)),
    ):
        table = captured_mysql.table("id INT PRIMARY KEY, due DATE", name)
        table.execute("INSERT INTO {t} VALUES (1, '2026-01-02')")
        table.settle()

        table.execute(f"ALTER TABLE {{t}} {change}")
        table.execute(f"INSERT INTO {{t}} VALUES ({', '.join(['%s'] * len(values))})", values)

        table.settle()


def test_renamed_column_keeps_its_values(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("ALTER TABLE {t} RENAME COLUMN customer TO buyer")
    orders.execute("INSERT INTO {t} VALUES (3, 'Cid', 3)")
    orders.execute("UPDATE {t} SET buyer = 'Anna' WHERE id = 1")

    wanted = orders.rows()
    orders.until(lambda: len(orders.delta_rows()) == 3 and "buyer" in orders.delta_rows()[0], "the renamed column")
    orders.until(lambda: [{n: row[n] for n in wanted[0]} for row in orders.delta_rows()] == wanted, "the renamed rows")


def test_dropped_column_keeps_its_values(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("ALTER TABLE {t} DROP COLUMN customer")
    orders.execute("INSERT INTO {t} VALUES (3, 3)")

    orders.until(lambda: len(orders.delta_rows()) == 3, "the row after the drop")
    assert [row["customer"] for row in orders.delta_rows()] == ["Ann", "Bob", None]


def test_column_dropped_and_added_again_starts_with_its_default(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()
    orders.execute("ALTER TABLE {t} DROP COLUMN customer")
    orders.execute("INSERT INTO {t} VALUES (3, 3)")
    orders.until(lambda: len(orders.delta_rows()) == 3, "the row after the drop")

    orders.execute("ALTER TABLE {t} ADD COLUMN customer VARCHAR(50) DEFAULT 'nobody'")
    orders.execute("INSERT INTO {t} VALUES (4, 4, 'Dan')")

    wanted = orders.rows()
    orders.until(lambda: [{n: row[n] for n in wanted[0]} for row in orders.delta_rows()] == wanted, "the rows of now")


def test_incompatible_change_is_followed_by_a_snapshot_of_that_table(orders: CapturedTable) -> None:
    # A number becomes a text, which is no widening.
    change = "MODIFY total VARCHAR(20)" if orders.database.kind == "mysql" else "ALTER total TYPE VARCHAR(20)"
    other = orders.database.table("id INT PRIMARY KEY", "other")
    other.execute("INSERT INTO {t} VALUES (1)")
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute(f"ALTER TABLE {{t}} {change}")
    orders.execute("INSERT INTO {t} VALUES (3, 'Cid', 'three')")
    orders.execute("UPDATE {t} SET total = 'one' WHERE id = 1")
    other.execute("INSERT INTO {t} VALUES (2)")

    assert [str(row["total"]) for row in orders.settle()] == ["one", "2.00", "three"]
    assert orders.arrow().schema.field("total").type == pa.string()
    until(lambda: orders.metric("table_stopped") == 0, "the table goes on")
    # The other one took no part in it.
    other.settle()
    assert {row["_cdc_op"] for row in other.arrow().to_pylist()} == {"c"}


def firing(client: PrometheusClient, alert: str, table: CapturedTable) -> bool:
    """Tell whether an alert about a table fires."""
    return any(one["state"] == "firing" for one in client.alerts(alert, table=table.label))


def test_stopped_table_is_reported_until_it_is_repaired(
    captured_mysql: CapturedDatabase, prometheus_client: PrometheusClient
) -> None:
    # Without a table in the database no snapshot comes.
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, event({"id": 1, "sent_ms": 10, "note": None}, 10))
    # An increase is seen by those who have seen the counter before.
    counter = f'cdc_sink_dead_lettered_rows_total{{table="{table.label}"}}'
    until(lambda: prometheus_client.query(counter), "the counter is scraped")

    captured_mysql.produce(table, event({"id": 2, "sent_ms": 20, "note": None}, 20), incompatible(3, 30))

    [dead] = table.wait_for_dead_letters(1)
    assert dead["reason"] == "stopped"
    assert "sent_ms changed from BIGINT to STRING" in dead["detail"]
    assert b'"30"' in dead["value"]
    # What came before the change was applied.
    assert [row["id"] for row in table.delta_rows()] == [1, 2]
    until(lambda: table.metric("table_stopped") == 1, "the table has stopped")
    for alert in ("SinkTableStopped", "DataIntegrityFailure"):
        until(lambda name=alert: firing(prometheus_client, name, table), f"{alert} fires")

    # What docs/sink.md says: give the column the type that the source has now.
    delta = table.delta()
    rows = delta.to_pyarrow_table()
    place = rows.schema.get_field_index("sent_ms")
    text = rows["sent_ms"].cast(pa.string())
    write_deltalake(delta, rows.set_column(place, "sent_ms", text), mode="overwrite", schema_mode="overwrite")
    captured_mysql.produce(table, incompatible(4, 40))

    until(lambda: [row["sent_ms"] for row in table.delta_rows()] == ["10", "20", "30", "40"], "all changes are there")
    until(lambda: table.metric("table_stopped") == 0, "the table goes on")


def test_column_names_that_parquet_does_not_take(
    captured_mysql: CapturedDatabase, spark_connect_session: SparkSession
) -> None:
    table = captured_mysql.table("id INT PRIMARY KEY, `net (EUR)` INT, `a b` INT")
    table.execute("INSERT INTO {t} VALUES (1, 2, 3)")

    def row() -> object:
        # The directory is there before the table is.
        if not any(table.path.glob("_delta_log/*.json")):
            return None
        found = spark_connect_session.sql(f"SELECT id, `net (EUR)`, `a b` FROM delta.`{table.path}`").collect()
        return [tuple(one) for one in found] == [(1, 2, 3)]

    table.until(row, "the row")
