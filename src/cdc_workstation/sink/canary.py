"""The canary: a row that goes all the way from Kafka to Delta, before the sink calls itself ready."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.sink.topics import Topics

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
    """Sends a row at each start and sees whether it arrives.

    Args:
        settings: the sink's settings.
        topics: creates its topic.
    """

    def __init__(self, settings: SinkSettings, topics: Topics) -> None:
        self.topic = settings.canary_topic
        self.arrived = False
        self._topics = topics
        self._sent: int | None = None

    def send(self) -> None:
        """Create the topic if there is none, and send the row.

        It begins as a snapshot does, because a recreated topic (the broker's data are others) may have lost what was
        never applied: that is nothing here, and must not keep the sink from being ready.
        """
        self._topics.create(self.topic)
        moment = time.time_ns() // 1000
        self._sent = moment // 1000
        for place, op in enumerate("ru"):
            key, value = event({"id": 0, "sent_ms": moment // 1000, "note": "canary"}, moment + place, op)
            self._topics.send(self.topic, key, value)

    def look(self, committed_ts_ms: int) -> None:
        """See whether the row has arrived: its table's newest change is not older."""
        if not self.arrived and self._sent is not None and committed_ts_ms >= self._sent:
            self.arrived = True
            log.info("Ready: a canary row has reached Delta")
