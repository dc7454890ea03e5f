"""Client of the sink's HTTP interface: whether it is ready, and what its metrics say of a table or a topic."""

from __future__ import annotations

import re
from typing import Self

import requests

from cdc_workstation.clients.http import direct_session

# pytest's tracebacks end in the test.
__tracebackhide__ = True

# How the metrics' names begin.
_PREFIX = "cdc_sink_"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class SinkClient:
    """The HTTP interface of one sink.

    Args:
        url: base address, for example `http://127.0.0.1:9108`.
        timeout: seconds that one request may take.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = direct_session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def problem(self) -> str:
        """Return why the sink is not ready; empty if it is. Raises nothing."""
        try:
            answer = self._session.get(f"{self.url}/ready", timeout=self.timeout)
        except requests.RequestException:
            return f"{self.url} does not answer"
        return "" if answer.ok else answer.text.strip() or f"{self.url} is not ready"

    def metrics(self) -> str:
        """Return all metrics in Prometheus's text format.

        Raises:
            requests.RequestException: the sink does not answer, or answers with an error.
        """
        answer = self._session.get(f"{self.url}/metrics", timeout=self.timeout)
        answer.raise_for_status()
        return answer.text


def samples(metrics: str, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a metric that have these labels, each with all of its labels.

    Args:
        metrics: what `SinkClient.metrics` returned.
        name: the metric's name without `cdc_sink_`.
        **labels: labels that a sample must have.
    """
    head = f"{_PREFIX}{name}{{"
    found = []
    for line in metrics.splitlines():
        if line.startswith(head):
            described, _, value = line.rpartition(" ")
            own = {label: text.replace("\\\\", "\\") for label, text in _LABEL.findall(described)}
            if labels.items() <= own.items():
                found.append((own, float(value)))
    return found


def total(metrics: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels, 0 if there is none."""
    return sum(value for _, value in samples(metrics, name, **labels))


def is_stopped(metrics: str, table: str) -> bool:
    """Tell whether the sink has stopped a table, named `database.table`."""
    return total(metrics, "table_stopped", table=table) > 0


def next_offsets(metrics: str, partition: int = 0) -> dict[str, int]:
    """Return topic to the offset behind the last record that the sink has applied, also if that changed no row."""
    found = samples(metrics, "applied_offset", partition=str(partition))
    return {labels["topic"]: int(value) for labels, value in found if "topic" in labels}
