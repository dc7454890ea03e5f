"""A password that preflight accepts is the same password for everybody who reads it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dotenv import dotenv_values

from cdc_workstation.settings import Settings

# Each printable character that is not refused, a space and $ among them, and those in front that a reader might take
# for the start of something else.
PASSWORDS = [
    "".join(chr(code) for code in range(32, 127) if chr(code) not in "'`\\").strip(),
    '"quoted"',
    "#comment",
    "$HOME",
    "=x",
    "!x ;y",
    "%(x)s",
]


@pytest.fixture(params=PASSWORDS)
def password(request: pytest.FixtureRequest, load: Callable[[str], ModuleType]) -> str:
    given: str = request.param
    rules: Any = load("roles/stack/module_utils/setting_rules.py")
    assert rules.judge_secret("mysql_password", given) == []
    return given


@pytest.fixture
def connection(password: str, load: Callable[[str], ModuleType], tmp_path: Path) -> Path:
    """connection.env, with the password in it."""
    plugin: Any = load("roles/compose_service/action_plugins/declare_service.py")
    file = tmp_path / "connection.env"
    file.write_text(plugin.connection_lines({"MYSQL_PASSWORD": password}))
    return file


def test_fixtures_and_dotenv_read_it(connection: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYSQL_PASSWORD", raising=False)

    assert Settings(_env_file=connection).mysql_password.get_secret_value() == password
    assert dotenv_values(connection)["MYSQL_PASSWORD"] == password


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shells_read_it(connection: Path, password: str, shell: str) -> None:
    script = '. "$1"; printf %s "$MYSQL_PASSWORD"'
    run = subprocess.run([shell, "-c", script, shell, connection], capture_output=True, text=True, check=True)

    assert run.stdout == password
