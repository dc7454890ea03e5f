"""The module that keeps the stack's secrets."""

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


def test_a_missing_secret_is_generated_for_its_owner_alone(keep: Any, tmp_path: Path) -> None:
    result = keep(secrets={"mysql_password": ""})

    path = tmp_path / "secrets" / "mysql_password"
    assert result["changed"]
    assert path.read_text() == result["kept"]["mysql_password"]
    assert len(path.read_text()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_generated_secret_is_never_changed_again(keep: Any) -> None:
    first = keep(secrets={"mysql_password": ""})

    again = keep(secrets={"mysql_password": "", "another": ""})

    assert again["kept"]["mysql_password"] == first["kept"]["mysql_password"]
    assert not keep(secrets={"mysql_password": ""})["changed"]


def test_two_secrets_differ(keep: Any) -> None:
    kept = keep(secrets={"one": "", "other": ""})["kept"]

    assert kept["one"] != kept["other"]


def test_a_value_of_the_users_own_wins(keep: Any, tmp_path: Path) -> None:
    keep(secrets={"mysql_password": ""})

    result = keep(secrets={"mysql_password": "from the vault"})

    assert result["changed"]
    assert (tmp_path / "secrets" / "mysql_password").read_text() == "from the vault"
    assert not keep(secrets={"mysql_password": "from the vault"})["changed"]


def test_a_secret_that_is_no_text_leaves_all_files_as_they_are(keep: Any, tmp_path: Path) -> None:
    keep(secrets={"mysql_password": "old", "postgres_password": "old"})

    result = keep(secrets={"postgres_password": "new", "mysql_password": 12345678})

    assert result["msg"] == "mysql_password is not text; put its value in quotes."
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


def test_an_empty_secret_of_a_run_that_failed_is_generated(keep: Any, tmp_path: Path) -> None:
    keep(secrets={"mysql_password": ""})
    (tmp_path / "secrets" / "mysql_password").write_text("")

    assert len(keep(secrets={"mysql_password": ""})["kept"]["mysql_password"]) == 32


def test_check_mode_writes_nothing(keep: Any, tmp_path: Path) -> None:
    assert keep(secrets={"mysql_password": ""}, _check=True)["changed"]
    assert not (tmp_path / "secrets").exists()
