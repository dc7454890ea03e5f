"""What a pipeline that writes Delta Lake relies on.

Through Connect, which starts in a moment; a merge through a driver of its own, too costly for each of them.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from cdc_workstation.fixtures.spark import DeltaTableLocation

pytestmark = pytest.mark.uses()

SCHEMA = "product_id long, product_name string, price decimal(10,2)"
LAPTOP = (1, "Laptop", Decimal("999.99"))
MOUSE = (2, "Maus für Büro", Decimal("19.90"))
DESK = (3, "机", Decimal("249.00"))


def products(spark: SparkSession, *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), SCHEMA)


def write(frame: DataFrame, table: DeltaTableLocation, mode: str = "error", **options: str) -> None:
    frame.write.format("delta").mode(mode).options(**options).save(table.path)


def rows(spark: SparkSession, table: DeltaTableLocation) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in spark.sql(f"SELECT * FROM {table.identifier} ORDER BY 1").collect()]


def test_append_keeps_the_rows_that_were_there(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_connect_session, LAPTOP), delta_table)
    write(products(spark_connect_session, MOUSE, DESK), delta_table, mode="append")
    assert rows(spark_connect_session, delta_table) == [LAPTOP, MOUSE, DESK]


def test_overwrite_replaces_all_rows_in_one_commit(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_connect_session, LAPTOP, MOUSE), delta_table)
    write(products(spark_connect_session, DESK), delta_table, mode="overwrite")
    assert rows(spark_connect_session, delta_table) == [DESK]
    commits = sorted(path.name for path in Path(delta_table.path, "_delta_log").glob("*.json"))
    assert commits == ["00000000000000000000.json", "00000000000000000001.json"]


def test_row_with_another_schema_is_refused(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_connect_session, LAPTOP), delta_table)
    other = spark_connect_session.createDataFrame([(2, "Mouse", Decimal("19.90"), "grey")], f"{SCHEMA}, colour string")
    from pyspark.errors import AnalysisException

    with pytest.raises(AnalysisException, match=r"(?i)schema mismatch"):
        write(other, delta_table, mode="append")
    assert rows(spark_connect_session, delta_table) == [LAPTOP]


def test_new_column_is_added_with_merge_schema(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_connect_session, LAPTOP), delta_table)
    wider = spark_connect_session.createDataFrame([(*MOUSE, "grey")], f"{SCHEMA}, colour string")
    write(wider, delta_table, mode="append", mergeSchema="true")
    assert rows(spark_connect_session, delta_table) == [(*LAPTOP, None), (*MOUSE, "grey")]


def test_partitioned_table_has_a_directory_for_each_value(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    frame = spark_connect_session.createDataFrame([(1, "IN"), (2, "OUT"), (3, "IN")], "id long, kind string")
    frame.write.format("delta").partitionBy("kind").save(delta_table.path)
    assert {path.name for path in Path(delta_table.path).glob("kind=*")} == {"kind=IN", "kind=OUT"}
    incoming = spark_connect_session.read.format("delta").load(delta_table.path).where("kind = 'IN'")
    assert sorted(row.id for row in incoming.collect()) == [1, 3]
    assert all("kind=IN" in file for file in incoming.inputFiles())


def test_merge_updates_known_keys_and_inserts_new_ones(
    spark_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_session, LAPTOP, MOUSE), delta_table)
    cheaper = (1, "Laptop", Decimal("899.99"))
    source = f"changes_{delta_table.name}"
    products(spark_session, cheaper, DESK).createOrReplaceTempView(source)
    spark_session.sql(
        f"MERGE INTO {delta_table.identifier} AS t USING {source} AS s ON t.product_id = s.product_id"
        " WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )
    assert rows(spark_session, delta_table) == [cheaper, MOUSE, DESK]


def test_delete_removes_only_the_rows_that_match(
    spark_connect_session: SparkSession, delta_table: DeltaTableLocation
) -> None:
    write(products(spark_connect_session, LAPTOP, MOUSE, DESK), delta_table)
    spark_connect_session.sql(f"DELETE FROM {delta_table.identifier} WHERE price > 200")
    assert rows(spark_connect_session, delta_table) == [MOUSE]
