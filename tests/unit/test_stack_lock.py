"""The lock of a stack: held until the run ends, and not a moment longer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tenacity import retry, stop_after_delay, wait_fixed


@pytest.fixture
def take(load: Callable[[str], ModuleType], tmp_path: Path) -> Callable[[int], str]:
    plugin: Any = load("roles/stack/action_plugins/stack_lock.py")
    return lambda run: str(plugin.take(tmp_path / "lock", run))


@pytest.fixture
def run() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a run of Ansible."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_second_run_is_told_who_is_at_work(take: Callable[[int], str], run: subprocess.Popen[bytes]) -> None:
    assert take(run.pid) == ""

    assert take(os.getpid()).startswith(f"process {run.pid} of ")


def test_the_same_run_may_take_it_again(take: Callable[[int], str], run: subprocess.Popen[bytes]) -> None:
    assert take(run.pid) == take(run.pid) == ""


def test_a_run_that_was_killed_leaves_no_lock(take: Callable[[int], str], run: subprocess.Popen[bytes]) -> None:
    take(run.pid)
    run.kill()
    run.wait()

    @retry(stop=stop_after_delay(10), wait=wait_fixed(0.05))
    def free() -> None:
        assert take(os.getpid()) == ""

    free()
