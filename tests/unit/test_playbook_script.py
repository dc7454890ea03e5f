"""When `scripts/playbook` asks for sudo's password."""

from __future__ import annotations

import os
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
