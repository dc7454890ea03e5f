"""The module that keeps a service's files equal to what was rendered."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

CONFIG = "kafka/config/server.properties"
PRIVATE = "kafka/private/password"


@pytest.fixture
def tree(module: Any, tmp_path: Path) -> Any:
    return partial(
        module,
        "compose_service/library/service_tree.py",
        dest=str(tmp_path / "stack"),
        private=["kafka/private"],
        prune=["kafka/config"],
        validate_dir="kafka/config",
    )


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return tmp_path / "stack"


def everything(stack: Path) -> dict[str, str]:
    return {str(path.relative_to(stack)): path.read_text() for path in stack.rglob("*") if path.is_file()}


def test_files_are_written_with_the_modes_that_they_need(tree: Any, stack: Path) -> None:
    result = tree(files={CONFIG: "a=1\n", PRIVATE: "secret\n"})

    assert result["changed_files"] == [CONFIG, PRIVATE]
    assert everything(stack) == {CONFIG: "a=1\n", PRIVATE: "secret\n"}
    assert (stack / CONFIG).stat().st_mode & 0o777 == 0o644
    assert (stack / PRIVATE).stat().st_mode & 0o777 == 0o600


def test_a_second_time_nothing_changes(tree: Any, stack: Path) -> None:
    tree(files={CONFIG: "a=1\n"})
    before = (stack / CONFIG).stat()

    result = tree(files={CONFIG: "a=1\n"})

    assert not result["changed"]
    assert (stack / CONFIG).stat().st_ino == before.st_ino


def test_a_changed_file_replaces_the_old_one_in_one_step(tree: Any, stack: Path) -> None:
    tree(files={CONFIG: "a=1\n"})
    with (stack / CONFIG).open() as reader:
        result = tree(files={CONFIG: "a=2\n"})
        still_read = reader.read()

    assert result["changed_files"] == [CONFIG]
    assert still_read == "a=1\n"
    assert everything(stack) == {CONFIG: "a=2\n"}


def test_a_mode_that_was_changed_by_hand_is_put_right(tree: Any, stack: Path) -> None:
    tree(files={PRIVATE: "secret\n"})
    (stack / PRIVATE).chmod(0o644)

    result = tree(files={PRIVATE: "secret\n"})

    assert result["changed_files"] == [PRIVATE]
    assert (stack / PRIVATE).stat().st_mode & 0o777 == 0o600


def test_what_is_no_longer_rendered_is_removed_and_what_was_never_rendered_stays(tree: Any, stack: Path) -> None:
    tree(files={CONFIG: "a=1\n", "kafka/config/rules/old.yml": "old\n"})
    (stack / "kafka" / "derived").mkdir()
    (stack / "kafka" / "derived" / "cache").write_text("from the image\n")

    result = tree(files={CONFIG: "a=1\n"})

    assert result["changed_files"] == ["kafka/config/rules/old.yml"]
    assert everything(stack) == {CONFIG: "a=1\n", "kafka/derived/cache": "from the image\n"}
    assert not (stack / "kafka/config/rules").exists()


def test_directories_that_are_mounted_exist_even_without_files(tree: Any, stack: Path) -> None:
    tree(files={})

    assert (stack / "kafka/config").is_dir()
    assert (stack / "kafka/private").is_dir()


def test_a_refused_configuration_leaves_every_file_as_it_was(tree: Any, stack: Path) -> None:
    tree(files={CONFIG: "a=1\n", "kafka/compose.yml": "old\n"})
    before = everything(stack)
    check = ["sh", "-c", "grep -q broken $0/server.properties && { echo line 1: broken >&2; exit 1; }; true", "%s"]

    result = tree(files={CONFIG: "broken\n", "kafka/compose.yml": "new\n"}, validate=check)

    assert result["failed"]
    assert "line 1: broken" in result["msg"]
    assert "nothing was changed" in result["msg"]
    assert everything(stack) == before


def test_an_accepted_configuration_is_used(tree: Any, stack: Path) -> None:
    result = tree(files={CONFIG: "good\n"}, validate=["sh", "-c", "grep -q good $0/server.properties", "%s"])

    assert result["changed"]
    assert everything(stack) == {CONFIG: "good\n"}


def test_what_did_not_change_is_not_checked_again(tree: Any) -> None:
    tree(files={CONFIG: "a=1\n"})

    result = tree(files={CONFIG: "a=1\n"}, validate=["false", "%s"])

    assert not result["changed"]


def test_check_mode_says_what_would_change_and_writes_nothing(tree: Any, stack: Path) -> None:
    result = tree(files={CONFIG: "a=1\n", PRIVATE: "secret\n"}, _check=True)

    assert result["changed_files"] == [CONFIG, PRIVATE]
    assert not stack.exists()


def test_the_difference_shows_no_credentials(tree: Any) -> None:
    result = tree(files={CONFIG: "a=1\n", PRIVATE: "secret\n"})

    assert [part["after_header"] for part in result["diff"]] == [CONFIG]
