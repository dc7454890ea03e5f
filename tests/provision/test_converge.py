"""What a converge does to a stack that is there already."""

from __future__ import annotations

import pytest

from conftest import PROJECT, SmallStack, docker

pytestmark = pytest.mark.timeout(300)


def test_a_second_converge_changes_nothing_and_restarts_nothing(small_stack: SmallStack) -> None:
    before = small_stack.containers()
    outcome = small_stack.converge()
    assert outcome.code == 0, outcome.output
    assert outcome.changed == 0, outcome.output
    assert small_stack.containers() == before


def test_a_killed_container_is_healed(small_stack: SmallStack) -> None:
    before = small_stack.containers()
    docker("kill", before["alertmanager"][0])
    outcome = small_stack.converge()
    assert outcome.code == 0, outcome.output
    after = small_stack.containers()
    assert after["alertmanager"] != before["alertmanager"]
    assert after["webhook-receiver"] == before["webhook-receiver"]


def test_a_service_that_is_taken_out_is_removed(small_stack: SmallStack) -> None:
    outcome = small_stack.converge(stack_services=["webhook_receiver"])
    assert outcome.code == 0, outcome.output
    assert set(small_stack.containers()) == {"webhook-receiver"}
    assert "ALERTMANAGER_URL" not in (small_stack.stack_dir / "connection.env").read_text()
    assert small_stack.converge().code == 0
    assert set(small_stack.containers()) == {"webhook-receiver", "alertmanager"}


def test_down_keeps_data_and_destroy_removes_it(small_stack: SmallStack, tmp_path) -> None:
    volumes = ["volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
    kept = docker(*volumes)
    assert kept
    assert small_stack.converge("playbooks/down.yml").code == 0
    assert small_stack.containers() == {}
    assert docker(*volumes) == kept
    asked = small_stack.converge("playbooks/destroy.yml", stack_delta_tables_dir=str(tmp_path))
    assert asked.code != 0
    assert docker(*volumes) == kept
    destroyed = small_stack.converge(
        "playbooks/destroy.yml", destroy_confirmed=True, stack_delta_tables_dir=str(tmp_path)
    )
    assert destroyed.code == 0, destroyed.output
    assert docker(*volumes) == ""
    assert not small_stack.stack_dir.exists()
    assert small_stack.converge().code == 0


def test_destroy_removes_a_stack_that_compose_cannot_read(small_stack: SmallStack, tmp_path) -> None:
    (small_stack.stack_dir / "compose.yml").write_text("include: [nowhere.yml]\n")

    outcome = small_stack.converge(
        "playbooks/destroy.yml", destroy_confirmed=True, stack_delta_tables_dir=str(tmp_path)
    )

    assert outcome.code == 0, outcome.output
    ours = ["ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
    assert [docker(kind, *ours) for kind in ("container", "volume", "network")] == ["", "", ""]
    assert not small_stack.stack_dir.exists()
    assert small_stack.converge().code == 0
