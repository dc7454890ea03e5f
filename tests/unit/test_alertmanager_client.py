"""Alertmanager on a machine whose clock is another: what is sent is meant by its clock."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cdc_workstation.clients.alertmanager import AlertmanagerClient


class FarAway(ThreadingHTTPServer):
    """What a server with another clock sees and says. Two real clocks that differ cannot be had on one machine."""

    ahead = timedelta(0)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[Any] = []
        self.alerts: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FarAway

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(datetime.now(UTC) + self.server.ahead, usegmt=True)

    def do_GET(self) -> None:
        self._answer(json.dumps(self.server.alerts).encode())

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b'{"silenceID": "one"}')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[FarAway]:
    with FarAway() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("seconds", [-3600, -0.5, 0, 0.5, 3600])
def test_an_alert_ends_and_a_silence_starts_by_the_servers_clock(server: FarAway, seconds: float) -> None:
    server.ahead = timedelta(seconds=seconds)
    client = AlertmanagerClient(server.url)

    client.resolve({"alertname": "DiskFull"})
    client.create_silence(alertname="DiskFull")

    [ended], silence = server.bodies
    for moment in (ended["endsAt"], silence["startsAt"]):
        late = datetime.now(UTC) + server.ahead - datetime.fromisoformat(moment)
        assert timedelta(0) <= late < timedelta(seconds=5)


def test_an_alert_does_not_end_before_it_started(server: FarAway) -> None:
    """Both lie within one second, of which the server's `Date` tells the beginning; a start has milliseconds."""
    started = datetime.now(UTC).replace(microsecond=900_999)
    server.ahead = started - datetime.now(UTC)
    labels = {"alertname": "DiskFull"}
    server.alerts = [
        {
            "labels": labels,
            "fingerprint": "1",
            **{name: started.isoformat(timespec="milliseconds") for name in ("startsAt", "endsAt", "updatedAt")},
            "status": {"state": "active"},
        }
    ]

    AlertmanagerClient(server.url).resolve(labels)

    ended = datetime.fromisoformat(server.bodies[0][0]["endsAt"])
    assert started <= ended <= started + timedelta(milliseconds=1)
