"""What the pipeline relies on: how changes of the source arrive."""

from cdc_workstation.typing import CdcPipeline, CreatePostgresTable, PostgresConnection, ReadChangeEvents


def test_a_rolled_back_order_never_arrives(orders: CdcPipeline) -> None:
    try:
        with orders.transaction():
            orders.insert(customer="ada", amount="19.90", status="paid")
            raise RuntimeError("the payment failed")
    except RuntimeError:
        pass
    bob = orders.insert(customer="bob", amount="1.00", status="paid")

    orders.wait_for_row(bob)

    assert [row["customer"] for row in orders.delta_rows()] == ["bob"]


def test_a_payment_is_an_event_with_the_order_before_and_after(
    postgres_table: CreatePostgresTable, postgres_connection: PostgresConnection, change_events: ReadChangeEvents
) -> None:
    table = postgres_table("id INT PRIMARY KEY, status TEXT")
    events = change_events(table)
    postgres_connection.execute(f"INSERT INTO {table} VALUES (1, 'new')")
    postgres_connection.execute(f"UPDATE {table} SET status = 'paid' WHERE id = 1")

    payment = events.next(where=lambda event: event.op == "u")

    assert payment.before == {"id": 1, "status": "new"}
    assert payment.after == {"id": 1, "status": "paid"}
