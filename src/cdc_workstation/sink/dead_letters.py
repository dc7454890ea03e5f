"""The dead-letter table: records that could not be applied, each once, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

from cdc_workstation.sink.location import Location
from cdc_workstation.sink.state import app_id
from cdc_workstation.sink.steps import DeadLetter

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("table", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("kafka_timestamp", pa.timestamp("us", tz="UTC")),
        ("written_at", pa.timestamp("us", tz="UTC")),
    ]
)
_DETAIL = 2000


class DeadLetters:
    """Writes the table that all tables share; used by several threads.

    Args:
        location: where it lies.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._lock = threading.Lock()
        # Application (a topic's partition) to the last offset that was written.
        self._written: dict[str, int] = {}

    def write(self, table: str, topic_id: str, letters: Sequence[DeadLetter]) -> int:
        """Write records of one partition that were not written before; return how many."""
        if not letters:
            return 0
        application = f"{app_id(topic_id, letters[0].record.partition)}/dead"
        with self._lock:
            written = self._written.get(application)
            if written is None:
                written = self._last_written(application)
            new = sorted((one for one in letters if one.record.offset > written), key=lambda one: one.record.offset)
            if new:
                now = datetime.now(UTC)
                rows = [
                    {
                        "topic": one.record.topic,
                        "partition": one.record.partition,
                        "offset": one.record.offset,
                        "table": table,
                        "reason": one.reason,
                        "detail": one.detail[:_DETAIL],
                        "key": one.record.key,
                        "value": one.record.value,
                        "kafka_timestamp": one.record.timestamp_ms * 1000,
                        "written_at": now,
                    }
                    for one in new
                ]
                written = new[-1].record.offset
                write_deltalake(
                    str(self._location),
                    pa.Table.from_pylist(rows, schema=SCHEMA),
                    mode="append",
                    storage_options=dict(self._location.storage_options),
                    commit_properties=CommitProperties(app_transactions=[Transaction(application, written)]),
                )
            self._written[application] = written
        return len(new)

    def _last_written(self, application: str) -> int:
        try:
            table = DeltaTable(str(self._location), storage_options=dict(self._location.storage_options))
        except TableNotFoundError:
            return -1
        version = table.transaction_version(application)
        return -1 if version is None else version
