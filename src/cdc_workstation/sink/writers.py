"""Which engine writes a table."""

from __future__ import annotations

from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.writer import TableWriter


def writer_of(settings: SinkSettings, location: Location) -> TableWriter:
    """Return a writer of a table, of the engine that the settings choose."""
    return DeltaRsWriter(location, settings.retention_seconds)
