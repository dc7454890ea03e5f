"""A wait for a change that cannot come ends at once, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from captured import until

from cdc_workstation.clients.capture import CaptureHealth
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.delta import CaptureError, DeltaReader
from cdc_workstation.clients.pipeline import CdcPipeline
from cdc_workstation.fixtures.pipeline import PipelineFactory
from cdc_workstation.settings import Settings

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
def stopped(cdc_pipeline: PipelineFactory) -> CdcPipeline:
    """A table that the sink has stopped: a number became a text, which Delta cannot follow."""
    table = cdc_pipeline("mysql", "id INT PRIMARY KEY, amount INT")
    table.insert(id=1, amount=1)
    table.wait_for_row(id=1)
    table.execute(f"ALTER TABLE {table.table} MODIFY amount VARCHAR(10)")
    return table


@pytest.mark.parametrize(
    "wait",
    [
        lambda table: table.wait_for_row(id=2),
        lambda table: table.wait_for_no_row(id=1),
        lambda table: table.wait_until_equal(),
    ],
    ids=["wait_for_row", "wait_for_no_row", "wait_until_equal"],
)
def test_wait_for_a_stopped_table_says_why_it_stopped(
    stopped: CdcPipeline, wait: Callable[[CdcPipeline], object]
) -> None:
    stopped.insert(id=2, amount="two")

    with ends_soon() as failed:
        wait(stopped)

    assert "the sink has stopped cdcdb." in str(failed.value)
    assert "amount changed from INT to STRING" in str(failed.value)


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
