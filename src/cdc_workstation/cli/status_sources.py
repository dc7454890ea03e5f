"""Asks the stack's parts how they are, all at once; one that does not answer becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests

from cdc_workstation.cli import engine
from cdc_workstation.cli.captured import connect
from cdc_workstation.cli.outcome import CliError
from cdc_workstation.cli.status_model import Status
from cdc_workstation.cli.status_reading import alerts_of, connectors_of, services_of, tables_of
from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.clients.sink import SinkClient
from cdc_workstation.settings import Settings, connection_file

T = TypeVar("T")

PAGE = "consoles/status.html"
"""The live page, below Prometheus's address."""

_TIMEOUT = 5.0
# Debezium and the sink keep telling the lag of the last change: only that of a recent one says something.
_CONNECTOR_LAG = (
    'max by (plugin, name) (debezium_metrics_MilliSecondsBehindSource{context="streaming"} / 1000 >= 0'
    ' and debezium_metrics_MilliSecondsSinceLastEvent{context="streaming"} < 60000)'
)
_TABLE_LAG = "max by (table) (cdc_sink_lag_seconds and changes(cdc_sink_table_version[1m]) > 0)"


def gather(settings: Settings, containers: Sequence[dict[str, Any]] | None = None) -> Status:
    """Ask all parts at once.

    Args:
        settings: where they are.
        containers: what the engine of the stack's machine says, if another machine's; this one's is asked if `None`.
    """
    unreachable: list[str] = []

    def asked(what: str, call: Callable[[], T], otherwise: T) -> T:
        try:
            return call()
        except (requests.RequestException, CliError) as error:
            unreachable.append(f"{what}: {_sentence(error)}")
            return otherwise

    def listed() -> tuple[Any, Any]:
        if containers is not None:
            return [one for one in containers if "State" in one], [one for one in containers if "MemUsage" in one]
        found = engine.listed(settings.compose_project_name)
        return found, engine.stats(found)

    with ThreadPoolExecutor() as pool:
        there = pool.submit(asked, "Docker", listed, ([], []))
        connect = pool.submit(asked, "Kafka Connect", lambda: _connect(settings), ({}, {}))
        metrics = pool.submit(asked, "Delta sink", lambda: _metrics(settings), "")
        watched = pool.submit(asked, "Prometheus", lambda: _prometheus(settings), ([], {}, None))
        alerts, connector_lags, table_lags = watched.result()
        return Status(
            services_of(*there.result()),
            connectors_of(*connect.result(), connector_lags),
            tables_of(metrics.result(), table_lags),
            alerts_of(alerts),
            # Threads wait for each other above; this is read last.
            tuple(sorted(unreachable)),
            _addresses(settings, is_here=containers is None),
        )


def _connect(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    if settings.debezium_url is None:
        return {}, {}
    with connect(settings, _TIMEOUT) as client:
        return client.statuses(), client.configs()


def _metrics(settings: Settings) -> str:
    if settings.delta_sink_url is None:
        return ""
    with SinkClient(settings.delta_sink_url, timeout=_TIMEOUT) as client:
        return client.metrics()


def _prometheus(settings: Settings) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, float] | None]:
    if settings.prometheus_url is None:
        return [], {}, None
    client = PrometheusClient(settings.prometheus_url, timeout=_TIMEOUT)
    connectors = _connector_lags(client)
    tables = {labels["table"]: value for labels, value in client.query(_TABLE_LAG)}
    return client.alerts(), connectors, tables


def connector_lags(settings: Settings) -> dict[str, float]:
    """Return `plugin/prefix` to the seconds that a change of the last minute took; nothing if Prometheus is silent."""
    if settings.prometheus_url is None:
        return {}
    try:
        return _connector_lags(PrometheusClient(settings.prometheus_url, timeout=_TIMEOUT))
    except requests.RequestException:
        return {}


def _connector_lags(client: PrometheusClient) -> dict[str, float]:
    return {f"{labels['plugin']}/{labels['name']}": value for labels, value in client.query(_CONNECTOR_LAG)}


def _addresses(settings: Settings, *, is_here: bool) -> dict[str, str]:
    # What another machine told lies in a file that is gone a moment later.
    found = {"Addresses": f"{connection_file()} (`cdc-workstation env --explain`)"} if is_here else {}
    if settings.prometheus_url:
        found["Live page"] = f"{settings.prometheus_url}/{PAGE}"
    return found


def _sentence(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        url = error.request.url if error.request is not None else None
        return f"no connection to {url}." if url else "no connection."
    return "no answer in time." if isinstance(error, requests.Timeout) else str(error)
