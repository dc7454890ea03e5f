"""A sink of a test's own: a process of this machine that reads the stack's topics and writes tables elsewhere."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from captured import TOPIC_PREFIX, CapturedDatabase, CapturedTable, until
from confluent_kafka.admin import AdminClient

from cdc_workstation.clients.sink import SinkClient
from cdc_workstation.settings import Settings

# A process that starts on a busy machine.
READY_SECONDS = 240.0


class OwnSink:
    """Applies the topics of some databases; a context, after which its process and its topic are gone.

    Args:
        settings: the stack's.
        databases: whose topics it reads.
        tables: the directory that it writes to.
        options: more of the sink's settings.
    """

    def __init__(self, settings: Settings, databases: list[CapturedDatabase], tables: Path, **options: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.canary_topic = f"cdc_sink_canary_{uuid4().hex[:12]}"
        self.tables = tables
        self.options = {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "topics": rf"{TOPIC_PREFIX}\.({'|'.join(re.escape(one.name) for one in databases)})\..+",
            "canary_topic": self.canary_topic,
            "tables": str(tables),
            "table_properties": {"delta.enableChangeDataFeed": "true"},
            "metrics_port": port,
            "watch_seconds": 0.5,
        } | options
        self.settings = settings.model_copy(
            update={"delta_tables_dir": tables, "delta_sink_url": f"http://127.0.0.1:{port}"}
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        client = AdminClient({"bootstrap.servers": str(self.settings.kafka_bootstrap_servers), "log_level": 2})
        for deleted in client.delete_topics([self.canary_topic]).values():
            deleted.exception(30)

    def of(self, table: CapturedTable) -> CapturedTable:
        """Return a table as this sink writes it."""
        return CapturedTable(replace(table.database, settings=self.settings), table.name, table.connector)

    def start(self, program: list[str] | None = None, **environment: str) -> None:
        """Start it, and wait until it is ready.

        Args:
            program: what to run with Python instead of the sink.
            **environment: variables for it.
        """
        configuration = self.tables / "sink.json"
        configuration.write_text(json.dumps(self.options))
        log = self.log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, *(program or ["-m", "cdc_workstation.sink"])],
            env=os.environ | {"CDC_SINK_CONFIG": str(configuration)} | environment,
            stdout=log,
            stderr=log,
        )
        log.close()
        with SinkClient(str(self.settings.delta_sink_url)) as client:
            until(lambda: not client.problem(), self._words, READY_SECONDS, self._ended)

    def stop(self) -> None:
        """Stop it as its supervisor does."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def wait_for_end(self) -> int:
        """Wait until it ends by itself; return its exit code, below zero for a signal."""
        assert self._process is not None
        process = self._process
        until(lambda: process.poll() is not None, lambda: f"the sink ends: {self._words()}")
        self._process = None
        return int(process.returncode)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.tables / "sink.log"

    def _words(self) -> str:
        return f"the sink is ready; it said: {self.log.read_text()[-2000:]}"

    def _ended(self) -> str:
        ended = self._process is None or self._process.poll() is not None
        return f"the sink has ended: {self.log.read_text()[-2000:]}" if ended else ""
