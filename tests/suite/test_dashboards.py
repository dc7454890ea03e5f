"""The queries of the dashboard, as Grafana sends them: Prometheus understands each, and has what it asks for.

They are read from the dashboard's file, so this needs no Grafana.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cdc_workstation.clients.prometheus import PrometheusClient

DASHBOARD = Path(__file__).parents[2] / "dashboards/pipeline.json"
JOBS = re.compile(r'job=~?"([^"]+)"')


def queries() -> list[Any]:
    """Return each query under its panel's title, with what Grafana puts in place of variables."""
    dashboard = json.loads(DASHBOARD.read_text())
    values = {"$__rate_interval": "1m"}
    values |= {f"${one['name']}": one["current"]["value"] for one in dashboard["templating"]["list"]}
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in values.items():
                expr = expr.replace(name, value)
            found.append(pytest.param(expr, id=f"{panel['title']}-{target['refId']}".replace(" ", "_")))
    return found


@pytest.mark.parametrize("expr", queries())
def test_query_has_an_answer(prometheus_client: PrometheusClient, expr: str) -> None:
    scraped = {target["labels"]["job"] for target in prometheus_client.targets() if target["health"] == "up"}
    asked = {job for jobs in JOBS.findall(expr) for job in jobs.split("|")}

    series = prometheus_client.query(expr)

    # What asks no job by name, such as for alerts, may find nothing. So may what asks a service that is not there.
    assert series or not asked & scraped, expr
