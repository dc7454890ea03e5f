"""The module that writes the stack's secrets."""

from __future__ import annotations

import os
import resource
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def keep(module: Any, tmp_path: Path) -> Any:
    return partial(
        module,
        "compose_project/library/stack_secrets.py",
        dest=str(tmp_path / "secrets"),
        owner_uid=os.getuid(),
        owner_gid=os.getgid(),
    )


def test_a_secret_is_its_owners_alone(keep: Any, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        result = keep(secrets={"mysql_password": "from the vault"})
    finally:
        os.umask(before)

    path = tmp_path / "secrets" / "mysql_password"
    assert result["changed"]
    assert path.read_text() == "from the vault"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_is_there_changes_nothing(keep: Any) -> None:
    keep(secrets={"mysql_password": "mine"})

    assert not keep(secrets={"mysql_password": "mine"})["changed"]


def test_a_directory_that_the_engine_made_is_replaced(keep: Any, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "mysql_password").mkdir(parents=True)

    keep(secrets={"mysql_password": "mine"})

    assert (tmp_path / "secrets" / "mysql_password").read_text() == "mine"


def test_a_secret_that_is_no_text_leaves_all_files_as_they_are(keep: Any, tmp_path: Path) -> None:
    keep(secrets={"mysql_password": "old", "postgres_password": "old"})

    result = keep(secrets={"postgres_password": "new", "mysql_password": 12345678})

    assert result["msg"] == "mysql_password is empty or not text; put its value in quotes."
    kept = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert kept == {"mysql_password": "old", "postgres_password": "old"}


def test_a_write_that_fails_leaves_the_old_secret(keep: Any, load: Any, tmp_path: Path) -> None:
    keep(secrets={"mysql_password": "old"})
    module = load("roles/compose_project/library/stack_secrets.py")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # As on a disk that is full: not a byte can be written.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            module.write(tmp_path / "secrets" / "mysql_password", "new", None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)

    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == {"mysql_password": "old"}


def test_check_mode_writes_nothing(keep: Any, tmp_path: Path) -> None:
    assert keep(secrets={"mysql_password": "mine"}, _check=True)["changed"]
    assert not (tmp_path / "secrets").exists()
