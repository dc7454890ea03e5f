"""The sink's container: memory, CPU, start."""

from __future__ import annotations

import threading
import time
from typing import Any

import docker

from benchmarks.sink.source import until
from cdc_workstation.clients.sink import SinkClient, samples
from cdc_workstation.settings import Settings


class SinkContainer:
    """The running container.

    Args:
        settings: the stack's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        labels = [
            f"com.docker.compose.project={settings.compose_project_name}",
            "com.docker.compose.service=delta-sink",
        ]
        [self._container] = docker.from_env().containers.list(filters={"label": labels})

    def _stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self._container.stats(stream=False, one_shot=True)
        return stats

    def memory(self) -> tuple[float, float]:
        """Return used bytes, without pages that the kernel can drop, and the limit."""
        memory = self._stats()["memory_stats"]
        # Control groups of version 1 and of version 2 have different names for it.
        droppable = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
        return memory["usage"] - droppable, memory["limit"]

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes have used, health checks included."""
        return float(self._stats()["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def tables(self) -> int:
        """Return how many tables the sink has."""
        with SinkClient(str(self._settings.delta_sink_url)) as sink:
            return len(samples(sink.metrics(), "table_stopped"))

    def start_again(self) -> float:
        """Stop it; return the seconds from its start until it is ready."""
        self._container.stop()
        began = time.monotonic()
        self._container.start()
        with SinkClient(str(self._settings.delta_sink_url), timeout=1) as sink:
            until(lambda: not sink.problem(), "the sink after its restart", seconds=120, every=0.02)
        return time.monotonic() - began


class MemoryPeak:
    """Samples the memory in a thread of its own while the block runs.

    Args:
        container: the container.
    """

    def __init__(self, container: SinkContainer) -> None:
        self.peak = self.limit = 0.0
        self._container = container
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.25):
            used, self.limit = self._container.memory()
            self.peak = max(self.peak, used)
