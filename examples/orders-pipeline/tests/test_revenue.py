"""The pipeline under test: from orders in the lake to revenue by customer."""

from collections.abc import Callable
from decimal import Decimal

from cdc_workstation.typing import CdcPipeline, DeltaTableLocation, WaitForNoRow, WaitForRow

Refresh = Callable[[], None]


def test_only_paid_orders_count(
    orders: CdcPipeline, refresh: Refresh, delta_table: DeltaTableLocation, wait_for_row: WaitForRow
) -> None:
    orders.insert(customer="ada", amount="19.90", status="paid")
    orders.insert(customer="ada", amount="5.00", status="new")
    orders.wait_until_equal()

    refresh()

    wait_for_row(delta_table, customer="ada", total=Decimal("19.90"), timeout=10)


def test_an_order_that_was_deleted_counts_no_more(
    orders: CdcPipeline,
    refresh: Refresh,
    delta_table: DeltaTableLocation,
    wait_for_row: WaitForRow,
    wait_for_no_row: WaitForNoRow,
) -> None:
    order = orders.insert(customer="ada", amount="19.90", status="paid")
    orders.wait_for_row(order)
    refresh()
    wait_for_row(delta_table, customer="ada")

    orders.delete(order)
    orders.wait_for_no_row(order)
    refresh()

    wait_for_no_row(delta_table, customer="ada")
