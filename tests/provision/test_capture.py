"""A connector whose password is wrong, and one that goes, with what it leaves in PostgreSQL."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.settings import Settings
from conftest import SmallStack, docker

pytestmark = pytest.mark.timeout(600)

SOURCES = {
    "stack_services": ["webhook_receiver", "alertmanager", "kafka", "postgres", "debezium"],
    "kafka_port": 29192,
    "postgres_port": 25432,
    "debezium_port": 28083,
    "stack_start_timeout": 180,
    "postgres_debezium_password": "the-right-one",
    "debezium_connectors_timeout": 30,
    "debezium_secrets": {"own_password": "the-right-one"},
    # As the role's own, but with a secret of its own for the password.
    "debezium_connectors": [
        {
            "name": "postgres-cdcdb",
            "config": {
                "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
                "database.hostname": "postgres",
                "database.dbname": "cdcdb",
                "database.user": "debezium",
                "database.password": "${dir:/run/secrets:own_password}",
                "topic.prefix": "debezium",
                "plugin.name": "pgoutput",
                "publication.name": "dbz_publication",
                "publication.autocreate.mode": "disabled",
                "slot.name": "debezium",
                "snapshot.mode": "when_needed",
                "heartbeat.interval.ms": 10000,
                "retriable.restart.connector.wait.ms": 1000,
            },
        }
    ],
}


def sql(stack: SmallStack, statement: str) -> str:
    """Run it as the server's owner; return what it prints."""
    postgres, _ = stack.containers()["postgres"]
    return docker("exec", postgres, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "cdcdb", "-c", statement).strip()


def slots(stack: SmallStack) -> dict[str, bool]:
    """Return name to whether it is being read."""
    return json.loads(sql(stack, "SELECT json_object_agg(slot_name, active) FROM pg_replication_slots") or "{}")


def wait_for_product(sku: str) -> None:
    """Return once Kafka has the row."""
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:29192", "group.id": "provision", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition("debezium.public.products", 0, 0)])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for message in consumer.consume(500, 1):
                after = json.loads(message.value() or b"{}").get("payload", {}).get("after")
                if after and after["sku"] == sku:
                    return
    finally:
        consumer.close()
    pytest.fail(f"no event of {sku} within 60 s")


def wait_for_slot(stack: SmallStack) -> None:
    """Return once the slot is being read; raise with what the slots are where that takes more than a minute."""
    Retrying(
        retry=retry_if_not_result(lambda found: set(found.values()) == {True}),
        stop=stop_after_delay(60),
        wait=wait_fixed(0.2),
    )(slots, stack)


def connect_client(stack: SmallStack) -> ConnectClient:
    """Return a client of the small stack's Connect."""
    return ConnectClient.of(Settings(_env_file=stack.stack_dir / "connection.env"))


def connector(stack: SmallStack) -> tuple[str, str]:
    """Return name and state of the only one."""
    with connect_client(stack) as client:
        [name] = client.connectors()
        return name, client.state(name)


@pytest.fixture(scope="module")
def capturing(small_stack: SmallStack) -> Iterator[SmallStack]:
    """The small stack with PostgreSQL and what reads it; as it was before afterwards."""
    up = small_stack.converge(**SOURCES)
    assert up.code == 0, up.output
    yield small_stack
    back = small_stack.converge()
    assert back.code == 0, back.output
    assert set(small_stack.containers()) == {"webhook-receiver", "alertmanager"}


def test_with_a_wrong_password_the_connector_of_before_runs_on(capturing: SmallStack) -> None:
    name, state = connector(capturing)
    assert state == "RUNNING"

    # Connect reads the secret when it starts: the connector's configuration says nothing of it.
    wrong = capturing.converge(**{**SOURCES, "debezium_secrets": {"own_password": "a-wrong-one"}})

    said = " ".join(wrong.output.split())
    assert wrong.code != 0
    assert "password authentication failed" in said
    assert "the stack runs again as it was before" in said
    assert "a-wrong-one" not in said
    with connect_client(capturing) as client:
        client.wait_for(name)
    wait_for_slot(capturing)


def test_the_slot_goes_with_debezium_and_comes_back_with_it(capturing: SmallStack) -> None:
    """Unread, it would hold the WAL back for good."""
    name, state = connector(capturing)
    assert state == "RUNNING"
    wait_for_slot(capturing)

    sources = [one for one in SOURCES["stack_services"] if one != "debezium"]
    # Another stack's Connect, on the port that this run's settings name, is not asked for anything.
    with socket.create_server(("127.0.0.1", 0)) as another:
        settings = {**SOURCES, "stack_services": sources, "debezium_port": another.getsockname()[1]}
        without = capturing.converge(**settings)
        another.setblocking(False)
        with pytest.raises(BlockingIOError):
            another.accept()
    assert without.code == 0, without.output
    assert slots(capturing) == {}
    # And is not looked for again.
    assert capturing.converge(**{**SOURCES, "stack_services": sources}).changed == 0

    # A position without a slot would pass over this; the connector begins with a snapshot.
    sql(capturing, "INSERT INTO products (sku, name, price) VALUES ('MEANWHILE', 'while nobody read', 1)")
    again = capturing.converge(**SOURCES)
    assert again.code == 0, again.output
    assert connector(capturing) == (name, "RUNNING")
    wait_for_slot(capturing)
    wait_for_product("MEANWHILE")
