"""Who the sink answers with its metrics."""

from __future__ import annotations

import http.client
import socket

import pytest

from cdc_workstation.sink import metrics


@pytest.fixture(scope="module")
def port() -> int:
    """The port of a server that knows its names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    metrics.serve(number, lambda: "", ["localhost", "delta-sink"])
    return number


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:9405", 200), ("delta-sink:9405", 200), ("localhost", 200), ("website.invalid:9405", 403)],
)
def test_metrics_are_answered_under_known_names_alone(port: int, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={"Host": host})

    assert connection.getresponse().status == status
