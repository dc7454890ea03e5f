"""The module that writes the root project and connection.env from what services declared."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    for name in ("kafka", "mysql"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "compose.yml").write_text("services: {}\n")
        for directory, suffix in (("connection.d", "env"), ("targets", "json")):
            (tmp_path / directory).mkdir(exist_ok=True)
            (tmp_path / directory / f"{name}.{suffix}").write_text(f"{name.upper()}_HOST=127.0.0.1\n")
    # What `last_good` keeps is no part of the project.
    (tmp_path / ".last-good").mkdir()
    (tmp_path / ".last-good" / "compose.yml").write_text("services: {}\n")
    return tmp_path


@pytest.fixture
def compose_root(module: Any, stack: Path) -> Any:
    return partial(
        module,
        "compose_project/library/compose_root.py",
        dest=str(stack),
        project="cdc-workstation",
        subnet="172.30.57.0/24",
        gateway="172.30.57.1",
        header="# Ansible managed",
    )


def test_the_root_includes_what_services_declared(compose_root: Any, stack: Path) -> None:
    result = compose_root()

    root = yaml.safe_load((stack / "compose.yml").read_text())
    assert result["services"] == ["kafka", "mysql"]
    assert root["name"] == "cdc-workstation"
    assert root["include"] == ["kafka/compose.yml", "mysql/compose.yml"]
    assert root["networks"]["default"]["ipam"]["config"] == [{"subnet": "172.30.57.0/24", "gateway": "172.30.57.1"}]
    assert (stack / "compose.yml").read_text().startswith("# Ansible managed\n")


def test_connection_env_joins_the_services_lines_for_their_owner_alone(compose_root: Any, stack: Path) -> None:
    compose_root()

    lines = (stack / "connection.env").read_text().splitlines()
    assert lines[0] == "# Ansible managed"
    assert lines[1:] == ["COMPOSE_PROJECT_NAME=cdc-workstation", "KAFKA_HOST=127.0.0.1", "MYSQL_HOST=127.0.0.1"]
    assert (stack / "connection.env").stat().st_mode & 0o777 == 0o600
    assert stack.stat().st_mode & 0o777 == 0o700


def test_a_second_time_nothing_changes(compose_root: Any) -> None:
    assert compose_root()["changed"]
    assert not compose_root()["changed"]


def test_a_service_that_was_taken_out_leaves_nothing_behind(compose_root: Any, stack: Path) -> None:
    compose_root()

    result = compose_root(services=["mysql"])

    assert result["changed"]
    assert result["services"] == ["mysql"]
    assert "kafka" not in (stack / "compose.yml").read_text()
    assert "KAFKA" not in (stack / "connection.env").read_text()
    assert not (stack / "kafka").exists()
    assert not (stack / "targets" / "kafka.json").exists()


def test_check_mode_removes_and_writes_nothing(compose_root: Any, stack: Path) -> None:
    result = compose_root(services=["mysql"], _check=True)

    assert result["changed"]
    assert (stack / "kafka" / "compose.yml").exists()
    assert not (stack / "compose.yml").exists()
