"""Who may work on a stack: one run of tests at a time, and in it the workers by turns."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdc_workstation.settings import get_settings


def leads(config: pytest.Config) -> bool:
    """Tell whether this process is to run tests, and is no worker of one that is."""
    return not hasattr(config, "workerinput") and not config.option.collectonly


def claim(config: pytest.Config) -> None:
    """Keep the stack for this run; end the run where another one has it.

    What a second run makes would look like what the first one left behind, which is removed.
    """
    # To be read and written from the first byte, and made where it is not there.
    lock = _lock_file("run").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pytest.exit(
            f"Another run of tests (process {lock.read()}) works on this stack, and each would remove what the other "
            "makes. Let it end first.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    config.add_cleanup(lock.close)


def is_exclusive(item: pytest.Item | None) -> bool:
    """Tell whether a test restarts or reconfigures a service that others use."""
    return item is not None and item.get_closest_marker("exclusive") is not None


class Turns:
    """Makes each test wait for its turn, outside of its timeout."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._exclusive = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Hold the stack while the test with its fixtures runs; what wants it alone keeps it for the next such test."""
        if item.get_closest_marker("independent"):
            return (yield)
        if not self._exclusive:
            self._take(fcntl.LOCK_EX if is_exclusive(item) else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            self._exclusive = is_exclusive(item) and is_exclusive(nextitem)
            if not self._exclusive:
                self._held.close()

    def _take(self, mode: int) -> None:
        # Two locks: who wants the stack alone takes the first, so that newcomers queue behind it.
        lock = self._held.enter_context(_lock_file("lock").open("a"))
        with _lock_file("queue").open("a") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            fcntl.flock(lock, mode)


def _lock_file(what: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{get_settings().compose_project_name}.{what}"
