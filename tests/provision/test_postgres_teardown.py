"""PostgreSQL's replication slot goes with the connector that read it: unread, it would hold the WAL back for good."""

from __future__ import annotations

import json
import socket
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from cdc_workstation.clients.connect import ConnectClient
from conftest import SmallStack, docker

pytestmark = pytest.mark.timeout(600)

SOURCES = {
    "stack_services": ["webhook_receiver", "alertmanager", "kafka", "postgres", "debezium"],
    "kafka_port": 29192,
    "postgres_port": 25432,
    "debezium_port": 28083,
    "stack_start_timeout": 180,
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


def connector() -> tuple[str, str]:
    """Return name and state of the only one."""
    with ConnectClient("http://127.0.0.1:28083") as client:
        [name] = client.connectors()
        return name, client.state(name)


def test_the_slot_goes_with_debezium_and_comes_back_with_it(small_stack: SmallStack) -> None:
    up = small_stack.converge(**SOURCES)
    assert up.code == 0, up.output
    name, state = connector()
    assert state == "RUNNING"
    assert set(slots(small_stack).values()) == {True}

    sources = [one for one in SOURCES["stack_services"] if one != "debezium"]
    # Another stack's Connect, on the port that this run's settings name, is not asked for anything.
    with socket.create_server(("127.0.0.1", 0)) as another:
        settings = {**SOURCES, "stack_services": sources, "debezium_port": another.getsockname()[1]}
        without = small_stack.converge(**settings)
        another.setblocking(False)
        with pytest.raises(BlockingIOError):
            another.accept()
    assert without.code == 0, without.output
    assert slots(small_stack) == {}
    # And is not looked for again.
    assert small_stack.converge(**{**SOURCES, "stack_services": sources}).changed == 0

    # A position without a slot would pass over this; the connector begins with a snapshot.
    sql(small_stack, "INSERT INTO products (sku, name, price) VALUES ('MEANWHILE', 'while nobody read', 1)")
    again = small_stack.converge(**SOURCES)
    assert again.code == 0, again.output
    assert connector() == (name, "RUNNING")
    assert set(slots(small_stack).values()) == {True}
    wait_for_product("MEANWHILE")

    back = small_stack.converge()
    assert back.code == 0, back.output
    assert set(small_stack.containers()) == {"webhook-receiver", "alertmanager"}
