"""Turns between the workers of a run: a test that restarts a service has the stack alone, all others share it."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdc_workstation.settings import get_settings


def is_alone(item: pytest.Item | None) -> bool:
    """Tell whether a test restarts or reconfigures a service that others use."""
    return item is not None and item.get_closest_marker("alone") is not None


class Turns:
    """Makes each test wait for its turn, outside of its timeout."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._alone = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Hold the stack while the test with its fixtures runs; what wants it alone keeps it for the next such test."""
        if item.get_closest_marker("apart"):
            return (yield)
        if not self._alone:
            self._take(fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            self._alone = is_alone(item) and is_alone(nextitem)
            if not self._alone:
                self._held.close()

    def _take(self, mode: int) -> None:
        # Two locks: who wants the stack alone takes the first, so that newcomers queue behind it.
        directory = Path(tempfile.gettempdir())
        name = get_settings().compose_project_name
        lock = self._held.enter_context((directory / f"{name}.lock").open("a"))
        with (directory / f"{name}.queue").open("a") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            fcntl.flock(lock, mode)
