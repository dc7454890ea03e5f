"""Which engine writes a table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.writer import TableWriter


def writer_of(settings: SinkSettings, location: Location) -> TableWriter:
    """Return a writer of a table, of the engine that the settings choose."""
    if settings.engine == "spark":
        return _spark(settings.spark_remote, settings.spark_token_file)(location, settings.retention_seconds)
    return DeltaRsWriter(location, settings.retention_seconds)


@functools.cache
def _spark(remote: str, token_file: Path | None) -> Callable[[Location, float], TableWriter]:
    """Return what makes writers of one endpoint, which share its sessions."""
    # Spark's client takes a second and 100 MiB: from those alone who use it.
    from cdc_workstation.sink.spark_connect import SparkConnectWriter
    from cdc_workstation.sink.spark_sessions import SparkSessions

    sessions = SparkSessions(remote, token_file)
    return lambda location, retention_seconds: SparkConnectWriter(location, retention_seconds, sessions)
