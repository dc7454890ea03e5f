"""A service that ends is started again, whatever it says; one that is stopped stays down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import requests

from cdc_workstation.clients.http import direct_session
from conftest import SmallStack, docker

# The program itself, and not what starts it: by the name that the kernel has of it.
END = """
for process in /proc/[0-9]*; do
    if [[ $(<"$process/comm") == "$1" ]]; then kill -TERM "${process#/proc/}"; fi
done
"""

GROUPS = [{"name": "reloaded", "rules": [{"record": "cdc:one", "expr": "vector(1)"}]}]


def state(container: str) -> dict[str, object]:
    """Return what the engine says of a container: `Status`, `ExitCode`, and `RestartCount` beside them."""
    [found] = json.loads(docker("inspect", container))
    return {**found["State"], "RestartCount": found["RestartCount"]}


def wait_for(container: str, condition: str, value: object) -> None:
    """Return once the engine says so; fail after half a minute."""
    deadline = time.monotonic() + 30
    while (found := state(container))[condition] != value:
        if time.monotonic() > deadline:
            pytest.fail(f"{condition} is {found[condition]} and not {value}: {found}")
        time.sleep(0.2)


def test_a_regular_end_that_nobody_asked_for_is_a_failure(small_stack: SmallStack) -> None:
    """Alertmanager ends with 0 on SIGTERM, which `on-failure` takes for success."""
    container, _ = small_stack.containers()["alertmanager"]
    before = state(container)["RestartCount"]

    docker("exec", container, "bash", "-c", END, "end", "alertmanager")

    wait_for(container, "RestartCount", int(str(before)) + 1)
    wait_for(container, "Status", "running")


def test_a_stopped_service_stays_down(small_stack: SmallStack) -> None:
    container, _ = small_stack.containers()["alertmanager"]

    docker("stop", container)

    assert state(container)["Status"] == "exited"
    assert state(container)["ExitCode"] == 0
    docker("start", container)
    wait_for(container, "Status", "running")


@pytest.fixture
def watched(small_stack: SmallStack) -> Iterator[dict[str, object]]:
    """Settings with which the small stack has Prometheus; without it again afterwards."""
    settings = {
        "stack_services": ["webhook_receiver", "alertmanager", "prometheus"],
        "prometheus_port": 29095,
    }
    up = small_stack.converge(**settings)
    assert up.code == 0, up.output
    yield settings
    assert small_stack.converge().code == 0


def test_prometheus_loads_a_changed_configuration_and_goes_on(
    small_stack: SmallStack, watched: dict[str, object]
) -> None:
    """By a signal: nothing reloads it over HTTP, where others could."""
    before = small_stack.containers()["prometheus"]

    changed = small_stack.converge(**watched, prometheus_extra_rule_groups=GROUPS)

    assert changed.code == 0, changed.output
    assert small_stack.containers()["prometheus"] == before
    with direct_session() as session:
        answer = session.get("http://127.0.0.1:29095/api/v1/rules", timeout=10).json()["data"]["groups"]
        refused = session.post("http://127.0.0.1:29095/-/reload", timeout=10)
    assert "reloaded" in {group["name"] for group in answer}
    assert refused.status_code == requests.codes.forbidden
