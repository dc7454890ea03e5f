"""When `scripts/playbook` asks for sudo's password."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("inventory", "asks"), [("laptop", True), ("cluster", False), ("vagrant", False)], ids=["here", "hosts", "vm"]
)
def test_only_this_machine_is_asked_whether_root_is_needed(
    program: Callable[[str, str], dict[str, str]], inventory: str, asks: bool
) -> None:
    # A user who has no engine yet, and whose sudo asks.
    programs = {"docker": "exit 1", "sudo": "exit 1", "id": "echo 1000", "ansible-playbook": "echo $*"}
    for name, script in programs.items():
        environment = program(name, script)
    run = subprocess.run(
        [ROOT / "scripts/playbook", "-i", f"inventories/{inventory}", "site.yml"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("--ask-become-pass" in run.stdout) == asks
    assert run.stdout.endswith(f"-i inventories/{inventory} site.yml\n")


def test_nobody_is_asked_for_a_password_of_a_sudo_that_is_not_there(
    program: Callable[[str, str], dict[str, str]], tmp_path: Path
) -> None:
    for name, script in {"docker": "exit 1", "id": "echo 1000", "ansible-playbook": "echo $*"}.items():
        program(name, script)
    (tmp_path / "bin" / "grep").symlink_to(shutil.which("grep") or "")
    run = subprocess.run(
        [ROOT / "scripts/playbook", "-i", "inventories/laptop", "site.yml"],
        cwd=ROOT,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout == "-i inventories/laptop site.yml\n"
