"""The module that keeps the stack's files equal to what its roles declared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = "kafka/config/server.properties"
PRIVATE = "kafka/private/password"
FRAGMENT = "kafka/compose.yml"
CONNECTION = "connection.d/kafka.env"

Files = Callable[..., dict[str, Any]]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return tmp_path / "stack"


@pytest.fixture
def stack_files(module: Any, stack: Path) -> Files:
    """Write the files of one service, whose configuration is `config`."""

    def run(config: str = "a=1\n", **arguments: Any) -> dict[str, Any]:
        given = {
            "public": {FRAGMENT: "services: {}\n", CONFIG: config},
            "owned": {PRIVATE: "secret\n"},
            "private": {CONNECTION: "KAFKA=127.0.0.1:9092\n"},
            "prune": ["kafka/config", "kafka/private"],
            "owner_uid": 10001,
            "owner_gid": 10001,
            "project": "cdc-workstation",
            "subnet": "172.30.57.0/24",
            "gateway": "172.30.57.1",
            "header": "# Ansible managed",
        }
        result: dict[str, Any] = module(
            "compose_project/library/stack_files.py", dest=str(stack), **{**given, **arguments}
        )
        return result

    return run


def everything(stack: Path) -> dict[str, str]:
    return {str(path.relative_to(stack)): path.read_text() for path in stack.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_are_written_with_the_modes_that_they_need(stack_files: Files, stack: Path) -> None:
    result = stack_files()

    assert set(result["changed_files"]) == {FRAGMENT, CONFIG, PRIVATE, CONNECTION, "compose.yml", "connection.env"}
    assert mode(stack) == 0o700
    assert mode(stack / CONFIG) == 0o644
    assert [mode(stack / name) for name in (PRIVATE, CONNECTION, "connection.env")] == [0o600] * 3


def test_containers_can_read_what_a_strict_umask_made(stack_files: Files, stack: Path) -> None:
    before = os.umask(0o077)
    try:
        stack_files()
    finally:
        os.umask(before)

    assert mode(stack / "kafka/config") == mode(stack / "kafka") == 0o755
    (stack / "kafka/config").chmod(0o700)
    stack_files(config="a=2\n")
    assert mode(stack / "kafka/config") == 0o755


def test_root_gives_files_of_containers_to_their_user(stack_files: Files, stack: Path) -> None:
    stack_files()

    # Others run containers as themselves.
    assert (stack / PRIVATE).stat().st_uid == (10001 if os.geteuid() == 0 else os.geteuid())
    assert (stack / CONNECTION).stat().st_uid == os.geteuid()


def test_second_time_changes_nothing(stack_files: Files, stack: Path) -> None:
    stack_files()
    before = (stack / CONFIG).stat()

    result = stack_files()

    assert not result["changed"]
    assert result["changed_files"] == []
    assert (stack / CONFIG).stat().st_ino == before.st_ino


def test_changed_file_replaces_the_old_one_in_one_step(stack_files: Files, stack: Path) -> None:
    stack_files(config="a=1\n")
    with (stack / CONFIG).open() as reader:
        result = stack_files(config="a=2\n")
        still_read = reader.read()

    assert result["changed_files"] == [CONFIG]
    assert still_read == "a=1\n"
    assert (stack / CONFIG).read_text() == "a=2\n"


def test_mode_that_was_changed_by_hand_is_repaired(stack_files: Files, stack: Path) -> None:
    stack_files()
    (stack / PRIVATE).chmod(0o644)

    assert stack_files()["changed_files"] == [PRIVATE]
    assert mode(stack / PRIVATE) == 0o600


def test_files_that_are_no_longer_rendered_are_removed_and_others_stay(stack_files: Files, stack: Path) -> None:
    stack_files(public={FRAGMENT: "services: {}\n", CONFIG: "a=1\n", "kafka/config/rules/old.yml": "old\n"})
    (stack / "kafka" / "derived").mkdir()
    (stack / "kafka" / "derived" / "cache").write_text("from the image\n")

    result = stack_files()

    assert result["changed_files"] == ["kafka/config/rules/old.yml"]
    assert (stack / "kafka/derived/cache").exists()
    assert not (stack / "kafka/config/rules").exists()


def test_mounted_directories_exist_without_files(stack_files: Files, stack: Path) -> None:
    stack_files(public={FRAGMENT: "services: {}\n"}, owned={})

    assert (stack / "kafka/config").is_dir()
    assert (stack / "kafka/private").is_dir()


def check(script: str) -> dict[str, list[str]]:
    return {"kafka/config": ["sh", "-c", script, "%s"]}


def test_refused_configuration_leaves_every_file_as_it_was(stack_files: Files, stack: Path) -> None:
    stack_files()
    before = everything(stack)
    script = "grep -q broken $0/server.properties && { echo line 1: broken >&2; exit 1; }; true"

    result = stack_files(config="broken\n", checks=check(script), owned={PRIVATE: "new\n"})

    assert result["failed"]
    assert "line 1: broken" in result["msg"]
    assert "nothing was changed" in result["msg"]
    assert everything(stack) == before


def test_accepted_configuration_is_used(stack_files: Files, stack: Path) -> None:
    assert stack_files(config="good\n", checks=check("grep -q good $0/server.properties"))["changed"]
    assert (stack / CONFIG).read_text() == "good\n"


def test_unchanged_configuration_is_not_checked_again(stack_files: Files) -> None:
    stack_files()

    assert not stack_files(checks=check("false"))["changed"]


def test_check_mode_says_what_would_change_and_writes_nothing(stack_files: Files, stack: Path) -> None:
    result = stack_files(_check=True)

    assert {CONFIG, PRIVATE, "compose.yml"} <= set(result["changed_files"])
    assert result["services"] == ["kafka"]
    assert not stack.exists()


def test_difference_shows_no_credentials(stack_files: Files) -> None:
    shown = {part["after_header"] for part in stack_files()["diff"]}

    assert shown == {FRAGMENT, CONFIG, "compose.yml"}


def test_root_includes_declared_services_and_those_of_former_runs(stack_files: Files, stack: Path) -> None:
    stack_files(public={"mysql/compose.yml": "services: {}\n"}, private={"connection.d/mysql.env": "MYSQL_HOST=::1\n"})
    # What `last_good` keeps is no part of the project.
    (stack / ".last-good").mkdir()
    (stack / ".last-good" / "compose.yml").write_text("services: {}\n")

    result = stack_files()

    root = yaml.safe_load((stack / "compose.yml").read_text())
    assert result["services"] == ["kafka", "mysql"]
    assert root["name"] == "cdc-workstation"
    assert root["include"] == ["kafka/compose.yml", "mysql/compose.yml"]
    assert root["networks"]["default"]["ipam"]["config"] == [{"subnet": "172.30.57.0/24", "gateway": "172.30.57.1"}]
    assert (stack / "compose.yml").read_text().startswith("# Ansible managed\n")


def test_connection_env_joins_the_lines_of_services_once(stack_files: Files, stack: Path) -> None:
    stack_files(
        public={"mysql/compose.yml": "services: {}\n"},
        private={"connection.d/mysql.env": "KAFKA=127.0.0.1:9092\nMYSQL_HOST=127.0.0.1\n"},
    )
    stack_files()

    assert (stack / "connection.env").read_text().splitlines() == [
        "# Ansible managed",
        "COMPOSE_PROJECT_NAME=cdc-workstation",
        "KAFKA=127.0.0.1:9092",
        "MYSQL_HOST=127.0.0.1",
    ]


def test_service_that_was_taken_out_leaves_nothing_behind(stack_files: Files, stack: Path) -> None:
    stack_files(
        public={"mysql/compose.yml": "services: {}\n", "targets/mysql.json": "[]"},
        private={"connection.d/mysql.env": "MYSQL_HOST=127.0.0.1\n"},
    )

    result = stack_files(services=["kafka"])

    assert result["changed"]
    assert result["services"] == ["kafka"]
    assert "mysql" not in (stack / "compose.yml").read_text()
    assert "MYSQL" not in (stack / "connection.env").read_text()
    assert [path for path in stack.rglob("*") if "mysql" in path.name] == []


def test_check_mode_removes_nothing(stack_files: Files, stack: Path) -> None:
    stack_files()

    result = stack_files(public={}, owned={}, private={}, services=["mysql"], _check=True)

    assert result["changed"]
    assert (stack / FRAGMENT).exists()


@pytest.mark.parametrize("name", [FRAGMENT, "connection.env", "connection.d/mysql.env"])
def test_files_that_are_not_utf_8_are_no_obstacle(stack_files: Files, stack: Path, name: str) -> None:
    stack_files(private={CONNECTION: "", "connection.d/mysql.env": ""}, public={FRAGMENT: "", "mysql/compose.yml": ""})
    (stack / name).write_bytes(b"NAME=\xff\n")

    stack_files()

    assert "KAFKA=127.0.0.1:9092" in (stack / "connection.env").read_text()
    assert (stack / FRAGMENT).read_text() == "services: {}\n"


def test_directory_that_the_engine_made_for_a_missing_file_is_replaced(stack_files: Files, stack: Path) -> None:
    stack_files()
    (stack / CONFIG).unlink()
    (stack / CONFIG).mkdir()

    assert stack_files()["changed_files"] == [CONFIG]
    assert (stack / CONFIG).read_text() == "a=1\n"


def test_check_mode_knows_whether_there_is_a_project(stack_files: Files) -> None:
    assert not stack_files(_check=True)["deployed"]
    assert stack_files()["deployed"]
    assert stack_files(_check=True)["deployed"]


def test_last_good_state_is_known_from_another(stack_files: Files, stack: Path) -> None:
    assert not stack_files()["saved"]
    shutil.copytree(stack, stack / ".last-good", ignore=shutil.ignore_patterns(".last-good"))

    assert stack_files()["saved"]
    assert not stack_files(config="a=2\n")["saved"]
    assert not stack_files(public={"mysql/compose.yml": "services: {}\n"}, owned={}, private={})["saved"]
