"""What the sink itself takes: CPU while nothing changes, the time to start."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.sink.container import SinkContainer
from benchmarks.sink.latency import Figure
from cdc_workstation.settings import Settings

_IDLE_SECONDS = 30


def idle(settings: Settings) -> Iterator[Figure]:
    """Measure the CPU of the container while nothing changes."""
    container = SinkContainer(settings)
    tables = container.tables()
    before, began = container.cpu_seconds(), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    used = (container.cpu_seconds() - before) / (time.monotonic() - began)
    yield f"CPU while nothing changes, {tables} tables, {_IDLE_SECONDS} s", used * 100, "% of a core", "< 1"


def start(settings: Settings) -> Iterator[Figure]:
    """Measure a restart of the container."""
    container = SinkContainer(settings)
    tables = container.tables()
    yield f"start until ready, {tables} tables", container.start_again(), "s", "< 3"
