"""Locks on the stack: one run of tests at a time, and in it no test beside an exclusive one of the same services."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdc_workstation.settings import get_settings

# What exclusive tests restart or reconfigure. A test uses both, unless it is marked.
RESOURCES = ("alertmanager", "databases")


def leads(config: pytest.Config) -> bool:
    """Tell whether this process runs tests and is not an xdist worker."""
    return not hasattr(config, "workerinput") and not config.option.collectonly


def claim(config: pytest.Config) -> None:
    """Lock the stack for this run; end the run if another one has it.

    The things that a second run creates would look like leaks of the first one, and be removed.
    """
    # Opened for reading and writing without truncating it, and created if need be.
    lock = _lock_file("run").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pytest.exit(
            f"Another run of tests (process {lock.read()}) uses this stack, and each would remove what the other "
            "creates. Wait for it to end.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    config.add_cleanup(lock.close)


def is_exclusive(item: pytest.Item | None) -> bool:
    """Tell whether a test restarts or reconfigures a service that others use."""
    return item is not None and item.get_closest_marker("exclusive") is not None


def locks_of(item: pytest.Item) -> dict[str, int]:
    """Return what a test locks, and whether for itself (`LOCK_EX`) or beside others (`LOCK_SH`)."""
    exclusive, uses = item.get_closest_marker("exclusive"), item.get_closest_marker("uses")
    own = exclusive.args if exclusive else ()
    others = uses.args if uses else RESOURCES
    unknown = {*own, *others} - {*RESOURCES}
    if unknown:
        raise pytest.UsageError(f"{item.nodeid}: {', '.join(unknown)} is none of {', '.join(RESOURCES)}")
    # In the same order for all tests, so that no two wait for each other.
    return {
        name: fcntl.LOCK_EX if name in own else fcntl.LOCK_SH for name in RESOURCES if name in own or name in others
    }


class Turns:
    """Makes each test wait for its turn; that time does not count towards its timeout."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._locks: dict[str, int] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Hold the locks while the test and its fixtures run; an exclusive test keeps them for the next one."""
        locks = locks_of(item)
        if self._locks != locks:
            self._held.close()
            for name, mode in locks.items():
                self._take(name, mode)
            self._locks = locks
        try:
            return (yield)
        finally:
            if nextitem is None or not is_exclusive(item) or locks_of(nextitem) != locks:
                self._held.close()
                self._locks = {}

    def _take(self, name: str, mode: int) -> None:
        # Two locks: an exclusive test waits while it holds the queue's, so that later tests come after it.
        lock = self._held.enter_context(_lock_file(f"{name}.lock").open("a"))
        with _lock_file(f"{name}.queue").open("a") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            fcntl.flock(lock, mode)


def _lock_file(what: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{get_settings().compose_project_name}.{what}"
