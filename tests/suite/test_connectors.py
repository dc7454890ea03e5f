"""Declared connectors: registered, updated in place, left running when the new settings are wrong, and removed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.kafka import delete_topics, stack_connector
from cdc_workstation.settings import Settings

pytestmark = pytest.mark.uses("databases")

MODULE = Path(__file__).parents[2] / "roles/debezium/library/connectors.py"
# How the role marks a connector as its own.
MARK = "cdc.workstation.managed"


@dataclass
class Outcome:
    """What the role's module returned."""

    result: dict[str, Any]

    @property
    def message(self) -> str:
        """Its error, empty where there was none."""
        return str(self.result["msg"]) if self.result.get("failed") else ""


@pytest.fixture
def declare(stack_settings: Settings, connect_client: ConnectClient) -> Callable[[dict[str, Any]], Outcome]:
    """Run the role's module with the stack's own connectors and those of the test.

    It is started as Ansible starts it on the host; through Ansible itself `make up` has run it.
    """
    stack = [
        {"name": name, "config": config}
        for name, config in connect_client.configs().items()
        if config.get(MARK) == name
    ]

    def run(connectors: dict[str, Any]) -> Outcome:
        declared = [*stack, *({"name": name, "config": config} for name, config in connectors.items())]
        arguments = {"ANSIBLE_MODULE_ARGS": {"url": stack_settings.debezium_url, "connectors": declared}}
        ran = subprocess.run(
            [sys.executable, MODULE], input=json.dumps(arguments), capture_output=True, text=True, check=False
        )
        assert ran.stdout.strip(), ran.stderr
        return Outcome(json.loads(ran.stdout))

    return run


@pytest.fixture
def connector(
    connect_client: ConnectClient, kafka_bootstrap_servers: str, stack_settings: Settings
) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and settings of a MySQL connector that is not registered yet."""
    name = f"test_{uuid4().hex[:12]}"
    config = {
        **connect_client.config(stack_connector(connect_client)),
        "name": name,
        MARK: name,
        "topic.prefix": name,
        "database.server.id": str(10_000 + uuid4().int % 1_000_000_000),
        "schema.history.internal.kafka.topic": f"{name}_schema_history",
        "topic.heartbeat.prefix": f"{name}_heartbeat",
        "table.include.list": f"{stack_settings.mysql_database}.{name}",
        "snapshot.mode": "no_data",
    }
    yield name, config
    connect_client.remove(name)
    delete_topics(kafka_bootstrap_servers, lambda topic: topic.startswith(name))


def test_connector_is_registered_updated_and_removed_as_declared(
    declare: Callable[[dict[str, Any]], Outcome], connect_client: ConnectClient, connector: tuple[str, dict[str, str]]
) -> None:
    name, config = connector

    registered = declare({name: config})
    assert registered.result["actions"] == [f"registered {name}"], registered.message
    assert connect_client.state(name) == "RUNNING"

    assert declare({name: config}).result["changed"] is False

    updated = declare({name: {**config, "poll.interval.ms": "70"}})
    assert updated.result["actions"] == [f"updated {name}"], updated.message
    assert connect_client.config(name)["poll.interval.ms"] == "70"
    assert connect_client.state(name) == "RUNNING"

    refused = declare({name: {**config, "database.password": "wrong"}})
    assert "No connector was changed" in refused.message
    assert "Access denied for user" in refused.message
    assert connect_client.config(name)["poll.interval.ms"] == "70"
    assert connect_client.state(name) == "RUNNING"

    removed = declare({})
    assert removed.result["actions"] == [f"removed {name}"], removed.message
    assert name not in connect_client.configs()
