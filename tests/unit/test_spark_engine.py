"""The engine `spark` without a server: its statements, and how it reaches one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_workstation.sink.schema import Fill
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.spark_connect import SparkConnectWriter, _filled, _merge
from cdc_workstation.sink.spark_sessions import SparkSessions
from cdc_workstation.sink.writers import writer_of
from tests.writer_contract import rows


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("sc://spark-connect:15002", "sc://spark-connect:15002/;authorization=Bearer%20a%2Fb"),
        ("sc://spark-connect:15002/", "sc://spark-connect:15002/;authorization=Bearer%20a%2Fb"),
        ("sc://host/;user_id=me", "sc://host/;user_id=me;authorization=Bearer%20a%2Fb"),
        ("sc://host/;user_id=me;", "sc://host/;user_id=me;authorization=Bearer%20a%2Fb"),
        ("sc://host:443/;use_ssl=true", "sc://host:443/;use_ssl=true;token=a%2Fb"),
    ],
)
def test_token_goes_with_each_request(tmp_path: Path, remote: str, url: str) -> None:
    """The library itself sends tokens by encrypted connections alone."""
    token = tmp_path / "token"
    token.write_text("a/b\n", encoding="utf-8")

    assert SparkSessions(remote, token)._url() == url
    assert SparkSessions(remote)._url() == remote


def test_engine_is_the_one_that_the_settings_choose(tmp_path: Path) -> None:
    embedded = SinkSettings(tables=str(tmp_path))
    spark = embedded.model_copy(update={"engine": "spark"})

    assert isinstance(writer_of(spark, spark.dead_letters), SparkConnectWriter)
    assert not isinstance(writer_of(embedded, embedded.dead_letters), SparkConnectWriter)


def test_merge_takes_newer_changes_and_keeps_unavailable_values() -> None:
    changes = rows([{"id": 1, "note": None}], unavailable={0: ["note"]})

    statement = _merge("delta.`/t`", changes, ["id"], insert_only=False)

    assert statement.startswith(
        "MERGE INTO delta.`/t` t USING changes s ON t.`id` = s.`id` WHEN MATCHED AND (s.`_cdc_order`"
    )
    assert "THEN DELETE WHEN MATCHED" in statement
    assert (
        "t.`note` = CASE WHEN array_contains(s.`_cdc_unavailable`, 'note') THEN t.`note` ELSE s.`note` END" in statement
    )


def test_merge_of_a_snapshot_inserts_alone() -> None:
    statement = _merge("delta.`/t`", rows([{"id": 1}]), ["id"], insert_only=True)

    assert "WHEN MATCHED" not in statement
    assert "WHEN NOT MATCHED AND NOT s.`_cdc_deleted` THEN INSERT (`id`, `_cdc_op`" in statement


@pytest.mark.parametrize(
    ("value", "kind", "literal"),
    [
        (None, pa.string(), "CAST(NULL AS STRING)"),
        (True, pa.bool_(), "CAST(TRUE AS BOOLEAN)"),
        (5, pa.int16(), "CAST('5' AS SMALLINT)"),
        ("it's \\ 'x'", pa.string(), r"CAST('it\'s \\ \'x\'' AS STRING)"),
        (b"\x00'", pa.binary(), "CAST(X'0027' AS BINARY)"),
        (Decimal("-1.50"), pa.decimal128(10, 2), "CAST('-1.50' AS DECIMAL(10,2))"),
        (date(1, 1, 1), pa.date32(), "CAST('0001-01-01' AS DATE)"),
        (datetime(2024, 2, 29, 1, 2, 3, 4), pa.timestamp("us"), "CAST('2024-02-29 01:02:03.000004' AS TIMESTAMP_NTZ)"),
        (
            0,
            pa.timestamp("us", tz="UTC"),
            "CAST('1970-01-01 00:00:00+00:00' AS TIMESTAMP)",
        ),
        ([1, None], pa.list_(pa.int8()), "CAST(array(CAST('1' AS TINYINT), CAST(NULL AS TINYINT)) AS ARRAY<TINYINT>)"),
        ([], pa.map_(pa.string(), pa.string()), "CAST(map() AS MAP<STRING,STRING>)"),
        (
            {"x": 1.5},
            pa.struct([("x", pa.float64())]),
            "CAST(named_struct('x', CAST('1.5' AS DOUBLE)) AS STRUCT<`x`:DOUBLE>)",
        ),
    ],
)
def test_existing_rows_get_literals_of_the_columns_type(value: Any, kind: pa.DataType, literal: str) -> None:
    assert _filled(Fill("c", value), kind) == literal


def test_renamed_column_takes_its_values_from_the_old_one() -> None:
    assert _filled(Fill("new", source="o`ld"), pa.string()) == "`o``ld`"
