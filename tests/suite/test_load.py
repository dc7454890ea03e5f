"""Traffic at a rate reaches Delta, whichever database it is made in."""

from __future__ import annotations

import pytest

from cdc_workstation.clients.source import Database
from cdc_workstation.fixtures.load import CdcLoad
from cdc_workstation.load import Mix

pytestmark = pytest.mark.uses("databases")


@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_delta_equals_the_source_after_a_load(cdc_load: CdcLoad, database: Database) -> None:
    orders = cdc_load(database, rate=200, seconds=1, mix=Mix(insert=5, update=4, delete=2))

    rows = orders.wait_until_equal(timeout=30)

    progress = cdc_load.progress
    assert progress is not None
    assert progress.changes == 200
    assert len(rows) == progress.inserts - progress.deletes
    assert {"new", "paid"} <= {row["status"] for row in rows}


@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_load_goes_on_with_the_orders_that_are_there(cdc_load: CdcLoad, database: Database) -> None:
    orders = cdc_load(database, rate=1000, seconds=0.1, mix=Mix(insert=1, update=0, delete=0))
    cdc_load(rate=1000, seconds=0.1, mix=Mix(insert=0, update=1, delete=4), pipeline=orders)

    rows = orders.wait_until_equal(timeout=30)

    progress = cdc_load.progress
    assert progress is not None
    assert progress.inserts == 0
    assert len(rows) == 100 - progress.deletes
