"""Client of Prometheus's HTTP API v1: queries, alerts, targets."""

from __future__ import annotations

from typing import Any

import requests

from cdc_workstation.clients.http import direct_session

# pytest's tracebacks end in the test.
__tracebackhide__ = True


class PrometheusClient:
    """The HTTP API of one Prometheus.

    Args:
        url: base address, for example `http://127.0.0.1:9090`.
        timeout: seconds that one request may take.

    Raises:
        requests.RequestException: (all methods) Prometheus did not answer, or with an error.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = direct_session()

    def is_ready(self) -> bool:
        """Tell whether Prometheus serves queries. An unreachable one is not ready; nothing is raised."""
        try:
            return self._session.get(f"{self.url}/-/ready", timeout=self.timeout).ok
        except requests.RequestException:
            return False

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now and return `(labels, value)` of each series; a scalar has no labels."""
        data = self._get("query", query=promql)
        if data["resultType"] in ("scalar", "string"):
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def alerts(self, alertname: str | None = None, **labels: str) -> list[dict[str, Any]]:
        """Return pending and firing alerts with these labels (each `labels`, `annotations`, `state`, `activeAt`)."""
        wanted = labels | ({"alertname": alertname} if alertname else {})
        return [alert for alert in self._get("alerts")["alerts"] if wanted.items() <= alert["labels"].items()]

    def rules(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rules of each group, by the group's name."""
        return {group["name"]: group["rules"] for group in self._get("rules")["groups"]}

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets (`labels`, `health`, `lastError`, `scrapeUrl` and more)."""
        targets: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return targets

    def alertmanagers(self) -> list[str]:
        """Return the addresses of the Alertmanagers that alerts are sent to."""
        return [one["url"] for one in self._get("alertmanagers")["activeAlertmanagers"]]

    def _get(self, path: str, **params: str) -> dict[str, Any]:
        response = self._session.get(f"{self.url}/api/v1/{path}", params=params, timeout=self.timeout)
        if response.status_code >= 400:
            raise requests.HTTPError(f"{response.url}: {response.status_code} {response.text}", response=response)
        data: dict[str, Any] = response.json()["data"]
        return data
