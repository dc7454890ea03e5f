"""The module that collects what services said last when they did not become healthy."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest


def container(name: str, **state: Any) -> dict[str, Any]:
    labels = {"com.docker.compose.service": name}
    return {"Id": name, "Config": {"Labels": labels}, "State": {"Status": "running", "OOMKilled": False, **state}}


def health(status: str, output: str = "") -> dict[str, Any]:
    return {"Status": status, "Log": [{"ExitCode": 1 if output else 0, "Output": output}]}


@pytest.fixture
def last_words(module: Any, program: Any) -> Any:
    def collect(*containers: dict[str, Any]) -> list[dict[str, str]]:
        names = " ".join(one["Id"] for one in containers)
        answers = (
            f"case $1 in ps) echo {names};; inspect) echo '{json.dumps(containers)}';; "
            'logs) for last; do :; done; echo "$last says goodbye" >&2;; '
            'events) case "$*" in *container=starved*) echo oom;; esac;; esac'
        )
        run = partial(module, "compose_project/library/last_words.py", project="cdc-workstation")
        services: list[dict[str, str]] = run(_environment=program("docker", answers))["services"]
        return services

    return collect


def test_healthy_services_have_nothing_to_say(last_words: Any) -> None:
    assert last_words(container("kafka", Health=health("healthy")), container("mysql")) == []


def test_a_service_that_ended_says_how_and_shows_its_log(last_words: Any) -> None:
    [kafka] = last_words(container("kafka", Status="exited", ExitCode=1), container("mysql"))

    assert kafka == {
        "name": "kafka",
        "container": "kafka",
        "state": "exited with code 1",
        "log": "kafka says goodbye",
    }


def test_a_service_that_was_killed_for_memory_says_so(last_words: Any) -> None:
    [kafka] = last_words(container("kafka", Status="exited", ExitCode=137, OOMKilled=True))

    assert kafka["state"] == "exited with code 137, out of memory"


def test_a_service_that_is_started_again_and_again_says_why(last_words: Any) -> None:
    [starved] = last_words(container("starved", Health=health("starting")) | {"RestartCount": 3})

    assert starved["state"] == "starting after 3 restart(s), out of memory"


def test_an_unhealthy_service_shows_what_its_health_check_says(last_words: Any) -> None:
    [kafka] = last_words(container("kafka", Health=health("unhealthy", "no answer on 9092")))

    assert kafka["state"] == "unhealthy"
    assert kafka["log"].endswith("Its health check says: no answer on 9092")


def test_a_project_without_containers_has_nothing_to_say(last_words: Any) -> None:
    assert last_words() == []
