"""Reads what the stack's parts say about themselves. Pure: from their answers to the parts of a `Status`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cdc_workstation.cli.status_model import ORDER, Alert, ConnectorState, Service, TableState
from cdc_workstation.clients.connect import root_cause

_SAMPLE = re.compile(r'^cdc_(?:sink_)?(\w+)\{(?=[^}]*table="([^"]+)")[^}]*\} (\S+)$', re.MULTILINE)
# The sink's own row, which shows that it works.
_CANARY = "_cdc.canary"
_HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
# Labels that say which of several things an alert is about, the most telling first.
_ALERT_LABELS = ("table", "connector", "slot_name", "name", "instance", "job")


def services_of(containers: Sequence[Mapping[str, Any]], stats: Sequence[Mapping[str, Any]]) -> tuple[Service, ...]:
    """Read what `docker ps --all` and `docker stats` print as JSON, a document a container."""
    used = {one["ID"][:12]: str(one.get("MemUsage", "")) for one in stats}
    found = []
    for container in containers:
        labels = dict(part.partition("=")[::2] for part in str(container.get("Labels", "")).split(","))
        if labels.get("com.docker.compose.oneoff") == "True":
            continue
        memory, _, limit = used.get(str(container["ID"])[:12], "").partition(" / ")
        state = str(container.get("State", ""))
        health = _HEALTH.search(str(container.get("Status", "")))
        if state == "running" and health:
            state = health[1]
        found.append(
            Service(
                labels.get("com.docker.compose.service", str(container.get("Names", ""))),
                state,
                size(memory),
                size(limit),
                labels.get("cdc-workstation.version", ""),
                labels.get("cdc-workstation.url", ""),
            )
        )
    return tuple(sorted(found, key=lambda one: (ORDER.index(one.health), one.name)))


def connectors_of(
    statuses: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Mapping[str, str]], lags: Mapping[str, float]
) -> tuple[ConnectorState, ...]:
    """Read Kafka Connect's answers.

    Args:
        statuses: the status of each connector by name.
        configs: the configuration of each; one that was registered a moment ago has no status yet.
        lags: `plugin/prefix` to seconds, of those that had a change in the last minute.
    """
    found = []
    for name, config in configs.items():
        status = statuses.get(name) or {"connector": {"state": "UNASSIGNED"}, "tasks": []}
        parts = [status["connector"], *status["tasks"]]
        traces = [str(part.get("trace") or "") for part in parts if part["state"] == "FAILED"]
        # io.debezium.connector.postgresql.PostgresConnector registers its beans as debezium.postgres.
        plugin = config.get("connector.class", "").rsplit(".", 1)[-1].removesuffix("Connector").lower()
        found.append(
            ConnectorState(
                name,
                status["connector"]["state"],
                tuple(task["state"] for task in status["tasks"]),
                lags.get(f"{plugin}/{config.get('topic.prefix', '')}"),
                root_cause(next((trace for trace in traces if trace), "")),
            )
        )
    return tuple(sorted(found, key=lambda one: (ORDER.index(one.health), one.name)))


def tables_of(metrics: str, recent_lags: Mapping[str, float] | None) -> tuple[TableState, ...]:
    """Read the sink's metrics; tables in trouble come first.

    Args:
        metrics: what the sink serves to Prometheus.
        recent_lags: table to the lag of its last change, of those that had one in the last minute; `None` if that is
            not known, as without Prometheus. The sink itself goes on telling the lag of a change long ago.
    """
    found: dict[str, dict[str, float]] = {}
    for metric, table, value in _SAMPLE.findall(metrics):
        if table != _CANARY:
            samples = found.setdefault(table, {})
            # Changes are counted by their kind.
            samples[metric] = samples.get(metric, 0) + float(value)
    states = []
    for name, samples in found.items():
        behind = int(samples.get("lag_offsets", 0))
        lag = (recent_lags or {}).get(name, samples.get("lag_seconds") if behind else None)
        version = int(samples.get("table_version", -1))
        states.append(
            TableState(
                name,
                _trouble(samples),
                behind,
                lag,
                int(samples.get("rows_applied_total", 0)),
                int(samples.get("dead_lettered_rows_total", 0)),
                version if version >= 0 else None,
            )
        )
    return tuple(sorted(states, key=lambda one: (ORDER.index(one.health), not one.dead_letters, one.name)))


def alerts_of(found: Sequence[Mapping[str, Any]]) -> tuple[Alert, ...]:
    """Read Prometheus's alerts; those that fire come first, critical ones before warnings."""
    alerts = []
    for one in found:
        labels, annotations = one["labels"], one.get("annotations") or {}
        about = next((labels[name] for name in _ALERT_LABELS if labels.get(name)), "")
        text = annotations.get("summary") or annotations.get("description") or ""
        alerts.append(
            Alert(
                labels.get("alertname", ""),
                about,
                labels.get("severity", ""),
                one.get("state", ""),
                " ".join(text.split()),
            )
        )
    return tuple(sorted(alerts, key=lambda one: (one.health != "bad", one.severity != "critical", one.name, one.about)))


def documents(lines: str) -> list[dict[str, Any]]:
    """Read JSON documents, one a line."""
    return [json.loads(line) for line in lines.splitlines() if line.strip()]


def size(text: str) -> int:
    """Return the bytes of a size as Docker prints it, for example `36.1MiB`; 0 if it is none."""
    for unit in sorted(_UNITS, key=len, reverse=True):
        if text.strip().endswith(unit):
            try:
                return int(float(text.strip()[: -len(unit)]) * _UNITS[unit])
            except ValueError:
                return 0
    return 0


def _trouble(samples: Mapping[str, float]) -> str:
    """Say in a word or two what keeps a table from equalling its source."""
    if samples.get("table_stopped"):
        return "stopped"
    if samples.get("table_not_captured"):
        return "not captured"
    drift = int(samples.get("drift_rows", 0))
    if drift:
        return f"drift: {drift:+d} rows"
    return "waits for a snapshot" if samples.get("snapshot_due") else ""
