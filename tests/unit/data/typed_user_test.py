"""A user's test that takes every fixture, with its type. It is type-checked, not run."""

from decimal import Decimal
from typing import Any

from pyspark.sql import SparkSession

from cdc_workstation.typing import (
    AlertmanagerClient,
    CdcLoad,
    CdcPipeline,
    CdcPipelines,
    ConnectClient,
    CreateMySQLTable,
    CreatePostgresTable,
    DeltaTableLocation,
    Mix,
    MySQLConnection,
    PostgresConnection,
    PrometheusClient,
    ReadChangeEvents,
    ReadDelta,
    RunConnector,
    Settings,
    WaitForNoRow,
    WaitForRow,
    WebhookReceiver,
)


def test_everything(
    stack_settings: Settings,
    kafka_bootstrap_servers: str,
    mysql_parameters: dict[str, Any],
    postgres_parameters: dict[str, Any],
    mysql_connection: MySQLConnection,
    postgres_connection: PostgresConnection,
    mysql_table: CreateMySQLTable,
    postgres_table: CreatePostgresTable,
    change_events: ReadChangeEvents,
    connect_client: ConnectClient,
    own_connector: RunConnector,
    own_postgres_connector: RunConnector,
    cdc_pipeline: CdcPipelines,
    cdc_load: CdcLoad,
    delta_table: DeltaTableLocation,
    wait_for_row: WaitForRow,
    wait_for_no_row: WaitForNoRow,
    read_delta: ReadDelta,
    spark_session: SparkSession,
    spark_connect_session: SparkSession,
    prometheus_client: PrometheusClient,
    alertmanager_client: AlertmanagerClient,
    alert_test_id: str,
    webhook_receiver: WebhookReceiver,
) -> None:
    orders: CdcPipeline = cdc_pipeline("mysql", "id INT PRIMARY KEY, amount DECIMAL(10,2)")
    key = orders.insert(id=1, amount="19.90")
    with orders.transaction():
        orders.update(key, amount=Decimal("20.00"))
    row = orders.wait_for_row(key, timeout=10)
    assert row["amount"] == Decimal("20.00")
    assert [change.kind for change in orders.delta.changes()]

    traffic = cdc_load("postgres", rate=50, seconds=1, mix=Mix(insert=1, update=0, delete=0))
    assert traffic.wait_until_equal(timeout=30)

    table = postgres_table("id int PRIMARY KEY", replica_identity="DEFAULT")
    events = change_events(table)
    postgres_connection.execute("INSERT INTO orders VALUES (1)")
    event = events.next(where=lambda event: event.op == "c")
    assert event.after == {"id": 1}
    with mysql_connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {mysql_table('id INT PRIMARY KEY')} VALUES (1)")

    name, prefix = own_connector({"snapshot.mode": "no_data"})
    connect_client.wait_for(name)
    assert own_postgres_connector({})[1] != prefix

    spark_connect_session.sql(f"CREATE TABLE {delta_table.identifier} (id INT) USING delta")
    assert spark_session.version
    wait_for_row(delta_table, {"id": 1}, timeout=5)
    wait_for_no_row(delta_table.path, id=2)
    assert len(read_delta(orders)) == 1

    alertmanager_client.post_alert("OrdersStuck", severity="critical")
    assert webhook_receiver.wait_for(count=1)
    assert prometheus_client.is_ready()
    assert str(stack_settings.mysql_host) in kafka_bootstrap_servers + alert_test_id
    assert mysql_parameters.keys() & postgres_parameters.keys()
