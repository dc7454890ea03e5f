"""A wait for a change that cannot come ends at once, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from captured import CapturedDatabase, until

from cdc_workstation.clients.capture import CaptureHealth
from cdc_workstation.clients.connect import ConnectClient, ConnectorFailedError
from cdc_workstation.clients.delta import CaptureError, DeltaReader
from cdc_workstation.clients.kafka import ChangeEvents
from cdc_workstation.fixtures.pipeline import PipelineFactory
from cdc_workstation.settings import Settings
from cdc_workstation.sink.canary import event

pytestmark = pytest.mark.uses("databases")

# A look at Connect and the sink, on a machine with other things to do.
SOON = 10.0


@contextmanager
def ends_soon() -> Iterator[pytest.ExceptionInfo[CaptureError]]:
    began = time.monotonic()
    with pytest.raises(CaptureError) as failed:
        yield failed
    assert time.monotonic() - began < SOON


@pytest.fixture
def stopped(captured_mysql: CapturedDatabase) -> DeltaReader:
    """A table that the sink has stopped, and for which there is no snapshot: its topic has no table in the database."""
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, (None, event({"id": 1, "sent_ms": 10, "note": None}, 10)[1]))
    table.wait_for({"id": 1, "sent_ms": 10, "note": None})
    captured_mysql.produce(table, event({"id": 2, "sent_ms": 20, "note": None}, 20))
    return DeltaReader(table.path, obstacle=table.problem)


@pytest.mark.parametrize(
    "wait",
    [
        lambda table: table.wait_for_row(id=2),
        lambda table: table.wait_for_no_row(id=1),
        lambda table: table.wait_until(lambda rows: len(rows) == 2),
    ],
    ids=["wait_for_row", "wait_for_no_row", "wait_until"],
)
def test_wait_for_a_stopped_table_says_why_it_stopped(
    stopped: DeltaReader, wait: Callable[[DeltaReader], object]
) -> None:
    with ends_soon() as failed:
        wait(stopped)

    assert "the sink has stopped cdcdb_test_" in str(failed.value)
    assert "has a primary key now" in str(failed.value)


def test_wait_says_why_the_connector_failed(
    cdc_pipeline: PipelineFactory, connect_client: ConnectClient, failing_connector: str, stack_settings: Settings
) -> None:
    table = cdc_pipeline("mysql", "id INT PRIMARY KEY")
    label = f"{stack_settings.mysql_database}.{table.table}"
    health = CaptureHealth(stack_settings, failing_connector, label, table.topic)
    until(lambda: connect_client.state(failing_connector) == "FAILED", "the connector fails")
    reader = DeltaReader(table.path, obstacle=health.problem)

    with ends_soon() as failed:
        reader.wait_for_row(id=1)

    assert f"connector {failing_connector} is FAILED" in str(failed.value)
    assert "DebeziumException: " in str(failed.value)
    assert "\tat " not in str(failed.value)


def test_wait_for_an_event_says_why_the_connector_failed(
    change_events: Callable[..., ChangeEvents], failing_connector: str, stack_settings: Settings
) -> None:
    began = time.monotonic()
    events = change_events("products", prefix=failing_connector, database=stack_settings.mysql_database)

    with pytest.raises(ConnectorFailedError, match=f"connector {failing_connector} is FAILED.*DebeziumException: "):
        events.next()

    assert time.monotonic() - began < SOON
