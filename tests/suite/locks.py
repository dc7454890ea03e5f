"""Locks between tests of several workers on one stack: most share a service, one that restarts it needs it alone."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdc_workstation.settings import get_settings


@contextmanager
def sharing(service: str) -> Iterator[None]:
    """Hold off tests that need `service` alone until the block ends."""
    with _locked(service, fcntl.LOCK_SH):
        yield


@contextmanager
def alone_with(service: str) -> Iterator[None]:
    """Wait until no other test uses `service`, and keep them waiting until the block ends."""
    with _locked(service, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(service: str, mode: int) -> Iterator[None]:
    # Two locks: who wants the service alone takes the first, so that newcomers queue behind it.
    directory = Path(tempfile.gettempdir())
    name = f"{get_settings().compose_project_name}-{service}"
    with (directory / f"{name}.queue").open("a") as queue, (directory / f"{name}.lock").open("a") as lock:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(lock, mode)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
