"""Declared connectors: registered, updated in place, left running when the new settings are wrong, and removed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cdc_workstation.clients.connect import ConnectClient, ConnectError
from cdc_workstation.clients.http import direct_session
from cdc_workstation.clients.kafka import delete_topics, stack_connector
from cdc_workstation.settings import Settings

pytestmark = pytest.mark.uses("databases")

ROLE = Path(__file__).parents[2] / "roles/debezium"
# Ansible brings the role's own utilities with the module.
RUN = """
import runpy, sys, ansible.module_utils
# An argument would be taken for the module's own.
role = sys.argv.pop()
ansible.module_utils.__path__.append(role + "/module_utils")
runpy.run_path(role + "/library/connectors.py", run_name="__main__")
"""
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
def declare(
    stack_settings: Settings, connect_client: ConnectClient, tmp_path: Path
) -> Callable[[dict[str, Any]], Outcome]:
    """Run the role's module with the stack's own connectors and those of the test.

    It is started as Ansible starts it on the host; through Ansible itself `make up` has run it.
    """
    password = tmp_path / "password"
    password.write_text(stack_settings.debezium_password.get_secret_value())
    stack = [
        {"name": name, "config": config}
        for name, config in connect_client.configs().items()
        if config.get(MARK) == name
    ]

    def run(connectors: dict[str, Any]) -> Outcome:
        declared = [*stack, *({"name": name, "config": config} for name, config in connectors.items())]
        arguments = {
            "url": stack_settings.debezium_url,
            "user": stack_settings.debezium_user,
            "password_file": str(password),
            "connectors": declared,
        }
        ran = subprocess.run(
            [sys.executable, "-c", RUN, ROLE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            check=False,
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


@pytest.mark.parametrize("login", [None, ("cdcuser", "wrong"), ("nobody", "")], ids=["none", "wrong", "unknown"])
def test_connect_shows_nothing_without_its_login(
    stack_settings: Settings, connect_client: ConnectClient, login: tuple[str, str] | None
) -> None:
    """A validation answers with the value of a reference: whoever may ask for one reads the databases' passwords."""
    config = connect_client.config(stack_connector(connect_client)) | {
        "name": "${dir:/run/secrets:mysql_debezium_password}"
    }
    stranger = ConnectClient(connect_client.url, login=login)

    for call in (
        stranger.connectors,
        stranger.plugins,
        lambda: stranger.validate(config),
        lambda: stranger.put("intruder", config),
        lambda: stranger.delete(stack_connector(connect_client)),
    ):
        with pytest.raises(ConnectError) as refused:
            call()
        assert refused.value.status == HTTPStatus.UNAUTHORIZED
    assert "intruder" not in connect_client.connectors()


@pytest.mark.parametrize(
    "reference", ["${file:/run/kafka-connect/users.properties:cdcuser}", "${dir:/run/kafka-connect:users.properties}"]
)
def test_connect_resolves_references_to_its_secrets_alone(
    stack_settings: Settings, connect_client: ConnectClient, reference: str
) -> None:
    config = connect_client.config(stack_connector(connect_client))
    password = stack_settings.debezium_password.get_secret_value()
    with direct_session() as session:
        answer = session.put(
            f"{connect_client.url}/connector-plugins/{config['connector.class']}/config/validate",
            json=config | {"name": reference},
            auth=(stack_settings.debezium_user, password),
            timeout=30,
        )

    assert answer.ok
    assert reference in answer.text
    assert password not in answer.text


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
