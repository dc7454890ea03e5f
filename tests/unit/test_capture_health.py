"""What is read from Connect's traces and from the sink's metrics when no change arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_workstation.clients.capture import CaptureHealth
from cdc_workstation.clients.connect import root_cause
from cdc_workstation.clients.delta import CaptureError, DeltaReader
from cdc_workstation.clients.sink import is_stopped, next_offsets, total
from cdc_workstation.settings import Settings

TRACE = """\
org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event producer.
\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:67)
Caused by: io.debezium.DebeziumException: Error reading the binlog
\tat io.debezium.connector.binlog.Source.execute(Source.java:1)
\t... 5 more
Caused by: io.debezium.text.ParsingException: DDL statement couldn't be parsed.
Query: CREATE TABLE odd
mismatched input 'url'
\tat io.debezium.antlr.ParsingErrorListener.syntaxError(ParsingErrorListener.java:43)
\t... 14 more
"""
METRICS = """\
# HELP cdc_sink_table_stopped 1 where changes are no longer applied to the table
# TYPE cdc_sink_table_stopped gauge
cdc_sink_table_stopped{table="cdcdb.orders"} 1.0
cdc_sink_table_stopped{table="cdcdb.orders_2"} 0.0
cdc_sink_rows_applied_total{op="c",table="cdcdb.orders"} 4.0
cdc_sink_rows_applied_total{op="u",table="cdcdb.orders"} 3.0
cdc_sink_applied_offset{partition="0",topic="debezium.cdcdb.orders"} 17.0
cdc_sink_applied_offset{partition="1",topic="debezium.cdcdb.orders"} 3.0
cdc_sink_ready 1.0
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (TRACE, "ParsingException: DDL statement couldn't be parsed.\nQuery: CREATE TABLE odd\nmismatched input 'url'"),
        ("java.lang.OutOfMemoryError: Java heap space\n\tat a.B.c(D.java:1)", "OutOfMemoryError: Java heap space"),
        ("java.lang.NullPointerException\n\tat a.B.c(D.java:1)", "NullPointerException"),
        ("", ""),
    ],
)
def test_root_cause_is_the_innermost_exception(trace: str, cause: str) -> None:
    assert root_cause(trace) == cause


def test_metrics_are_read_by_their_labels() -> None:
    assert is_stopped(METRICS, "cdcdb.orders")
    assert not is_stopped(METRICS, "cdcdb.orders_2")
    assert not is_stopped(METRICS, "cdcdb.unknown")
    assert total(METRICS, "rows_applied_total", table="cdcdb.orders") == 7
    assert total(METRICS, "rows_applied_total", table="cdcdb.orders", op="c") == 4
    assert next_offsets(METRICS) == {"debezium.cdcdb.orders": 17}
    assert next_offsets(METRICS, partition=1) == {"debezium.cdcdb.orders": 3}


def test_services_that_do_not_answer_are_no_problem(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:1"
    settings = Settings(debezium_url=nobody, delta_sink_url=nobody, delta_tables_dir=tmp_path)

    assert CaptureHealth(settings, "mysql-cdcdb", "cdcdb.orders", "debezium.cdcdb.orders").problem() == ""


def test_wait_ends_once_nothing_can_come(tmp_path: Path) -> None:
    said = iter(["", "connector mysql-cdcdb is FAILED"])
    reader = DeltaReader(tmp_path / "orders", obstacle=lambda: next(said))

    with pytest.raises(
        CaptureError, match=r"orders gets no changes \(after 2\.\d s\): connector mysql-cdcdb is FAILED"
    ):
        reader.wait_for_row(id=1, timeout=30)
