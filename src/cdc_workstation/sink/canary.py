"""The canary: a row that goes all the way from Kafka to Delta, before the sink calls itself ready.

It also warms the code: the first MERGE of a JVM takes ten times as long as the tenth.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder
from pyspark.sql import SparkSession

from cdc_workstation.sink.kafka import Admin, Producer
from cdc_workstation.sink.settings import SinkSettings

log = logging.getLogger(__name__)

_KEY = {
    "type": "struct",
    "fields": [{"type": "int32", "optional": False, "field": "id"}],
    "optional": False,
    "name": "canary.Key",
}
_ROW = [
    {"type": "int32", "optional": False, "field": "id"},
    {"type": "int64", "optional": False, "field": "sent_ms"},
    {"type": "string", "optional": True, "field": "note"},
]
_VALUE = {
    "type": "struct",
    "fields": [
        {"type": "struct", "fields": _ROW, "optional": True, "name": "canary.Value", "field": "before"},
        {"type": "struct", "fields": _ROW, "optional": True, "name": "canary.Value", "field": "after"},
    ],
    "optional": False,
    "name": "canary.Envelope",
}


def event(row: dict[str, Any], moment_us: int, op: str = "u") -> tuple[bytes, bytes]:
    """Return key and value of a change event like those of Debezium's MySQL connector."""
    source = {
        "connector": "mysql",
        "ts_ms": moment_us // 1000,
        "snapshot": "first" if op == "r" else "false",
        "file": "canary.000000",
        "pos": moment_us,
        "row": 0,
    }
    deleted = op == "d"
    payload = {"before": row if deleted else None, "after": None if deleted else row, "source": source, "op": op}
    key = {"schema": _KEY, "payload": {"id": row["id"]}}
    value = {"schema": _VALUE, "payload": payload}
    return tuple(json.dumps(part, separators=(",", ":")).encode() for part in (key, value))  # type: ignore[return-value]


class Canary:
    """Sends rows at each start and sees whether one of them arrives.

    One is enough: where much else is waiting, Spark reads one record of a small topic at a time, and a sink that
    catches up is ready.
    """

    ROWS = 8

    def __init__(self, spark: SparkSession, settings: SinkSettings) -> None:
        self.topic = settings.canary_topic
        self.location = settings.location_of(self.topic)
        self.arrived = False
        self._producer = Producer(spark, settings.bootstrap_servers)
        self._sent: int | None = None

    def create_topic(self, admin: Admin) -> None:
        """Create its topic."""
        admin.create(self.topic)

    def start(self) -> None:
        """Send the rows, once."""
        if self._sent is not None:
            return
        moment = time.time_ns() // 1000
        for number in range(self.ROWS):
            row = {"id": number, "sent_ms": moment // 1000, "note": "canary"}
            # It begins as a snapshot does, because a topic that was made anew (the broker's data are others) may have
            # lost what was never applied: that is nothing here, and must not keep the sink from being ready.
            op = {0: "r", 1: "d"}.get(number, "u")
            self._producer.send(self.topic, *event(row, moment + number, op))
        self._sent = moment // 1000

    def look(self) -> None:
        """See in the table whether a row of this start has arrived."""
        if self.arrived or self._sent is None:
            return
        table = self.location.open()
        if table is None:
            return
        # The query engine of delta-rs, because it reads tables with deletion vectors too.
        rows = pa.table(QueryBuilder().register("canary", table).execute("SELECT sent_ms FROM canary").read_all())
        if max(rows["sent_ms"].to_pylist(), default=0) >= self._sent:
            self.arrived = True
            log.info("Ready: a canary row has reached %s", self.location)
