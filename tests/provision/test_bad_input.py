"""Bad settings and faults: a clear error that says what to do, and the running stack as it was."""

from __future__ import annotations

import fcntl
import json
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import PROJECT, SmallStack, docker

pytestmark = pytest.mark.timeout(300)


@pytest.mark.usefixtures("untouched")
def test_all_problems_are_reported_at_once(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(
        stack_start_timeout="soon", alertmanager_prot=9093, stack_services=["alertmanager", "nope"]
    )
    assert outcome.code != 0
    assert "Nothing was changed. 3 thing(s) to correct first" in outcome.output
    assert "stack_start_timeout 'soon' is not a whole number; use digits alone." in outcome.output
    assert "alertmanager_prot is not a setting of any role. Did you mean alertmanager_port?" in outcome.output
    assert "stack_services names nope; use any of: alertmanager, " in outcome.output


@pytest.mark.usefixtures("untouched")
def test_a_second_run_is_told_that_another_is_at_work(small_stack: SmallStack) -> None:
    lock = Path("/run/lock") / f"cdc-workstation-localhost-{PROJECT}.lock"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = small_stack.converge()
    assert outcome.code != 0
    assert f"Another run is at work on the stack {PROJECT} (" in outcome.output


def test_what_was_broken_by_hand_is_repaired(small_stack: SmallStack) -> None:
    """Compose sees none of it: its labels and files are what they were."""
    before = small_stack.containers()
    # A reload that was lost, and a container without the network and directories that its service needs.
    config = small_stack.stack_dir / "alertmanager/config/alertmanager.yml"
    config.write_text(config.read_text().replace("resolve_timeout: 5m", "resolve_timeout: 9m"))
    receiver = before["webhook-receiver"][0]
    docker("network", "disconnect", "--force", f"{PROJECT}_default", receiver)
    shutil.rmtree(small_stack.stack_dir / "webhook-receiver/config")

    # Of a user with a strict umask, root for one.
    strict = replace(small_stack, wrapper=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    outcome = strict.converge(alertmanager_resolve_timeout="7m")

    assert outcome.code == 0, outcome.output
    assert "webhook-receiver is recreated: " in outcome.output
    assert "alertmanager has loaded the configuration of " in outcome.output
    after = small_stack.containers()
    assert after["alertmanager"] == before["alertmanager"]
    with urllib.request.urlopen("http://127.0.0.1:29093/api/v2/status", timeout=5) as answer:
        assert b"resolve_timeout: 7m" in answer.read()
    with urllib.request.urlopen("http://127.0.0.1:25001/__admin/mappings", timeout=5) as answer:
        assert json.load(answer)["meta"]["total"] > 0
    assert small_stack.converge().code == 0


@pytest.mark.usefixtures("untouched")
def test_a_broken_route_is_refused_in_the_words_of_amtool(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(alertmanager_route={"receiver": "nobody"})
    assert outcome.code != 0
    assert 'undefined receiver "nobody" used in route' in outcome.output


@pytest.mark.usefixtures("untouched")
def test_a_failed_build_shows_the_end_of_its_log(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(alertmanager_version="0.0.1-none")
    assert outcome.code != 0
    assert "The build of cdc-workstation/alertmanager:0.0.1-none" in outcome.output
    assert "nothing that runs was touched" in outcome.output
    assert "v0.0.1-none" in outcome.output


def test_a_service_that_never_gets_healthy_shows_its_last_words_and_the_old_one_runs_again(
    small_stack: SmallStack,
) -> None:
    before, files = small_stack.containers(), small_stack.files()
    # Too little memory for a JVM: the kernel ends it.
    outcome = small_stack.converge(webhook_receiver_memory="12m", webhook_receiver_heap="8m")
    assert outcome.code != 0
    assert "webhook-receiver is " in outcome.output
    assert "the stack runs again as it was before" in outcome.output
    assert small_stack.files() == files
    after = small_stack.containers()
    assert after["alertmanager"] == before["alertmanager"]
    health = docker(
        "inspect", "--format", "{{.State.Health.Status}} {{.HostConfig.Memory}}", after["webhook-receiver"][0]
    )
    assert health.split() == ["healthy", str(192 * 2**20)]


def test_a_new_service_that_fails_leaves_nothing_in_the_way_of_the_next_try(small_stack: SmallStack) -> None:
    before, files = small_stack.containers(), small_stack.files()
    more = {"stack_services": [*small_stack.variables["stack_services"], "prometheus"], "prometheus_port": 29090}
    # Started again and again: the kernel ends it each time.
    failed = small_stack.converge(**more, prometheus_memory="8m")
    assert failed.code != 0
    assert "prometheus is " in failed.output
    assert "out of memory" in failed.output
    assert small_stack.files() == files

    mended = small_stack.converge(**more)

    assert mended.code == 0, mended.output
    assert set(small_stack.containers()) == {*before, "prometheus"}
    assert small_stack.converge().code == 0
    assert small_stack.containers() == before
