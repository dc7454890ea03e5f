"""The source's columns change: the Delta table follows, or stops alone and says why."""

from __future__ import annotations

import pyarrow as pa
import pytest
from captured import CapturedDatabase, CapturedTable, until
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from cdc_workstation.clients.prometheus import PrometheusClient

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
    until(lambda: len(orders.delta_rows()) == 3 and "buyer" in orders.delta_rows()[0], "the renamed column")
    until(lambda: [{n: row[n] for n in wanted[0]} for row in orders.delta_rows()] == wanted, "the renamed rows")


def test_dropped_column_keeps_its_values(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()

    orders.execute("ALTER TABLE {t} DROP COLUMN customer")
    orders.execute("INSERT INTO {t} VALUES (3, 3)")

    until(lambda: len(orders.delta_rows()) == 3, "the row after the drop")
    assert [row["customer"] for row in orders.delta_rows()] == ["Ann", "Bob", None]


def test_column_dropped_and_added_again_starts_with_its_default(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1), (2, 'Bob', 2)")
    orders.settle()
    orders.execute("ALTER TABLE {t} DROP COLUMN customer")
    orders.execute("INSERT INTO {t} VALUES (3, 3)")
    until(lambda: len(orders.delta_rows()) == 3, "the row after the drop")

    orders.execute("ALTER TABLE {t} ADD COLUMN customer VARCHAR(50) DEFAULT 'nobody'")
    orders.execute("INSERT INTO {t} VALUES (4, 4, 'Dan')")

    wanted = orders.rows()
    until(lambda: [{n: row[n] for n in wanted[0]} for row in orders.delta_rows()] == wanted, "the rows of now")


def make_incompatible(table: CapturedTable) -> None:
    """Turn a number into text, which is no widening, and change rows before and afterwards."""
    change = "MODIFY total VARCHAR(20)" if table.database.kind == "mysql" else "ALTER total TYPE VARCHAR(20)"
    table.execute("INSERT INTO {t} VALUES (2, 'Bob', 2)")
    table.execute(f"ALTER TABLE {{t}} {change}")
    table.execute("INSERT INTO {t} VALUES (3, 'Cid', 'three')")
    table.execute("UPDATE {t} SET total = 'one' WHERE id = 1")


def firing(client: PrometheusClient, alert: str, table: CapturedTable) -> bool:
    """Tell whether an alert about a table fires."""
    return any(one["state"] == "firing" for one in client.alerts(alert, table=table.label))


def test_incompatible_change_stops_only_that_table_and_is_reported(
    orders: CapturedTable, prometheus_client: PrometheusClient
) -> None:
    other = orders.database.table("id INT PRIMARY KEY", "other")
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1)")
    # An increase is seen by those who have seen the counter before.
    counter = f'cdc_sink_dead_lettered_rows_total{{table="{orders.label}"}}'
    until(lambda: prometheus_client.query(counter), "the counter is scraped")
    make_incompatible(orders)
    dead = orders.wait_for_dead_letters(2)
    other.execute("INSERT INTO {t} VALUES (1)")
    other.settle()

    # What came before the change was applied.
    assert [(row["id"], str(row["total"])) for row in orders.delta_rows()] == [(1, "1.00"), (2, "2.00")]
    assert {row["reason"] for row in dead} == {"stopped"}
    assert "total changed from DECIMAL(10,2) to STRING" in dead[0]["detail"]
    assert b"three" in dead[0]["value"]
    until(lambda: orders.metric("table_stopped") == 1, "the table has stopped")
    for alert in ("SinkTableStopped", "DataIntegrityFailure"):
        until(lambda name=alert: firing(prometheus_client, name, orders), f"{alert} fires")
    assert not prometheus_client.alerts("SinkTableStopped", table=other.label)


def test_stopped_table_goes_on_once_it_is_repaired(orders: CapturedTable) -> None:
    orders.execute("INSERT INTO {t} VALUES (1, 'Ann', 1)")
    orders.settle()
    make_incompatible(orders)
    orders.wait_for_dead_letters(2)
    until(lambda: orders.metric("table_stopped") == 1, "the table stopped")

    # What docs/sink.md says: give the column the type that the source has now.
    table = DeltaTable(str(orders.path))
    rows = table.to_pyarrow_table()
    place = rows.schema.get_field_index("total")
    write_deltalake(
        table,
        rows.set_column(place, "total", rows["total"].cast(pa.string())),
        mode="overwrite",
        schema_mode="overwrite",
    )
    orders.execute("INSERT INTO {t} VALUES (4, 'Dee', 'four')")

    until(lambda: [row["total"] for row in orders.delta_rows()] == ["one", "2.00", "three", "four"], "all changes")
    until(lambda: orders.metric("table_stopped") == 0, "the table goes on")


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

    until(row, "the row")
