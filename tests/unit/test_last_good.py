"""The module that keeps the files with which all services were healthy."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    for name, content in {
        "compose.yml": "include: [kafka/compose.yml]\n",
        "connection.env": "KAFKA=good\n",
        "connection.d/kafka.env": "KAFKA=good\n",
        "targets/kafka.json": "[]\n",
        "kafka/compose.yml": "good\n",
        "kafka/config/server.properties": "good\n",
        "kafka/private/password": "good\n",
        "kafka/derived/cache": "from the image\n",
        "secrets/password": "kept\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "kafka/private/password").chmod(0o600)
    return tmp_path


@pytest.fixture
def last_good(module: Any, stack: Path) -> Any:
    return partial(module, "compose_project/library/last_good.py", stack_dir=str(stack))


def files(stack: Path) -> dict[str, str]:
    return {
        str(path.relative_to(stack)): path.read_text()
        for path in stack.rglob("*")
        if path.is_file() and ".last-good" not in path.parts
    }


def test_what_a_failed_converge_wrote_is_undone(last_good: Any, stack: Path) -> None:
    good = files(stack)
    last_good(state="saved")
    for name in ("compose.yml", "connection.env", "kafka/compose.yml", "kafka/config/server.properties"):
        (stack / name).write_text("broken\n")
    (stack / "kafka/config/new.properties").write_text("broken\n")

    result = last_good(state="restored")

    assert result["found"]
    assert files(stack) == good


def test_a_mounted_directory_stays_the_same_directory(last_good: Any, stack: Path) -> None:
    last_good(state="saved")
    before = (stack / "kafka/config").stat().st_ino
    (stack / "kafka/config/server.properties").write_text("broken\n")

    last_good(state="restored")

    assert (stack / "kafka/config").stat().st_ino == before


def test_private_files_stay_private(last_good: Any, stack: Path) -> None:
    last_good(state="saved")
    copy = stack / ".last-good"
    (stack / "kafka/private/password").unlink()

    last_good(state="restored")

    assert copy.stat().st_mode & 0o777 == 0o700
    assert (copy / "kafka/private/password").stat().st_mode & 0o777 == 0o600
    assert (stack / "kafka/private/password").stat().st_mode & 0o777 == 0o600


def test_a_service_that_was_new_is_not_started_with_the_old_ones(last_good: Any, stack: Path) -> None:
    last_good(state="saved")
    (stack / "mysql").mkdir()
    (stack / "mysql" / "compose.yml").write_text("broken\n")

    (stack / "connection.d/spark.env").write_text("SPARK=new\n")
    (stack / "targets/spark.json").write_text("[]\n")

    last_good(state="restored")

    assert not (stack / "mysql").exists()
    assert (stack / "kafka").exists()
    assert not (stack / "connection.d/spark.env").exists()
    assert not (stack / "targets/spark.json").exists()


def test_a_secret_is_again_what_it_was_and_a_new_one_stays(last_good: Any, stack: Path) -> None:
    """The data volume of a new service was made with its secret, and the service is to find it there next time."""
    (stack / "secrets/password").chmod(0o600)
    last_good(state="saved")
    (stack / "secrets/password").write_text("wrong\n")
    (stack / "secrets/of_a_new_service").write_text("new\n")

    last_good(state="restored")

    assert (stack / "secrets/password").read_text() == "kept\n"
    assert (stack / "secrets/password").stat().st_mode & 0o777 == 0o600
    assert (stack / "secrets/of_a_new_service").read_text() == "new\n"


def test_a_file_that_is_the_same_is_not_written(last_good: Any, stack: Path) -> None:
    """A container whose files are newer than it is would be recreated."""
    last_good(state="saved")
    before = (stack / "kafka/config/server.properties").stat()

    last_good(state="restored")

    assert (stack / "kafka/config/server.properties").stat() == before


def test_directories_are_readable_whatever_the_umask(last_good: Any, stack: Path) -> None:
    last_good(state="saved")
    shutil.rmtree(stack / "kafka/config")
    before = os.umask(0o077)
    try:
        last_good(state="restored")
    finally:
        os.umask(before)

    assert (stack / "kafka/config").stat().st_mode & 0o777 == 0o755


def test_a_state_that_is_saved_already_is_not_saved_again(last_good: Any, stack: Path) -> None:
    assert last_good(state="saved")["changed"]
    assert not last_good(state="saved")["changed"]

    (stack / "targets/kafka.json").write_text("[1]\n")

    assert last_good(state="saved")["changed"]
    assert not last_good(state="saved")["changed"]


def test_what_clients_on_the_host_were_given_goes_with_the_secrets(last_good: Any, stack: Path) -> None:
    client = stack / "kafka/host-conf/client.properties"
    client.parent.mkdir()
    client.write_text("kept\n")
    last_good(state="saved")
    client.write_text("wrong\n")

    last_good(state="restored")

    assert client.read_text() == "kept\n"


def test_without_a_good_state_there_is_nothing_to_restore(last_good: Any, stack: Path) -> None:
    before = files(stack)

    assert not last_good(state="restored")["found"]
    assert files(stack) == before
