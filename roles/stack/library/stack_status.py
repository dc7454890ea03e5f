#!/usr/bin/python
"""Say how each service of the stack is doing."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
import shutil
import time
import urllib.parse
import urllib.request
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: stack_status
short_description: Say how each service of the stack is doing
description:
  - The action plugin of the same name prints it as a table.
options:
  project: {type: str, required: true, description: The compose project.}
  connection: {type: path, description: "The stack's connection.env, for the login of Kafka Connect."}
  history_seconds: {type: int, default: 0, description: How far back Prometheus is asked; 0 leaves it out.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Show how the stack is doing
  stack_status: {project: cdc-workstation}
"""

RETURN = """
services:
  description: Name, state, memory, limit, url and version of each service.
  type: list
  elements: dict
  returned: always
connectors:
  description: Name, state, task states and lag in seconds of each connector.
  type: list
  elements: dict
  returned: always
tables:
  description: >-
    Of each table that the Delta sink applies changes to: name, whether it takes changes, what else keeps it from being
    equal to its source, changes applied and dead letters since the sink started, lag in seconds and in offsets, version
    of the last commit.
  type: list
  elements: dict
  returned: always
history:
  description: >-
    What Prometheus knows of the last O(history_seconds), as lists of time and value, and the alerts of now; empty where
    it is not asked, `answers` is false where it does not answer.
  type: dict
  returned: always
"""

# The JMX exporter of the role debezium names its labels: the plugin, for example mysql, and the topic prefix.
LAG_QUERY = 'max by (plugin, name) (debezium_metrics_MilliSecondsBehindSource{context="streaming"} >= 0)'

# Over time, in seconds. Debezium and the sink keep the lag of the last change for as long as no other comes: only that
# of a recent one says something.
HISTORY_STEP_SECONDS = 15
CONNECTOR_LAG_HISTORY = (
    'max by (plugin, name) (debezium_metrics_MilliSecondsBehindSource{context="streaming"} / 1000 >= 0'
    ' and debezium_metrics_MilliSecondsSinceLastEvent{context="streaming"} < 60000)'
)
TABLE_LAG_HISTORY = (
    "max by (table) (cdc_sink_lag_seconds and (cdc_sink_lag_offsets > 0 or changes(cdc_sink_table_version[1m]) > 0))"
)
TABLE_RATE_HISTORY = "sum by (table) (rate(cdc_sink_rows_applied_total[1m]))"
ALERT_HISTORY = "ALERTS"

# A line of Prometheus' text format, of a metric that the Delta sink has for each table.
SAMPLE = re.compile(r'^cdc_(?:sink_)?(\w+)\{(?=[^}]*table="([^"]+)")[^}]*\} (\S+)$', re.MULTILINE)
# The sink's own row, which shows that it works.
CANARY = "_cdc.canary"

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def login_header(connection):
    """Return the header that logs in to Kafka Connect, empty where `connection.env` has no login."""
    try:
        lines = Path(connection).read_text(encoding="utf-8").splitlines() if connection else []
    except OSError:
        return {}
    found = dict(pair.split("=", 1) for line in lines for pair in shlex.split(line, comments=True))
    if not found.get("DEBEZIUM_PASSWORD"):
        return {}
    login = f"{found['DEBEZIUM_USER']}:{found['DEBEZIUM_PASSWORD']}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def fetch_text(url, headers=None):
    """Return what is at `url`, or None where nobody answers."""
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 -- loopback, from the stack's own settings
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 -- as above
            return answer.read().decode()
    except (OSError, ValueError):
        return None


def fetch(url, headers=None):
    """Return the JSON at `url`, or None where nobody answers."""
    try:
        return json.loads(fetch_text(url, headers) or "null")
    except ValueError:
        return None


def root_of(url):
    """Return the scheme and host of the page that people open, under which the service's interface lies, too."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def size(text):
    """Return the bytes of a size as `docker stats` prints it, for example `36.1MiB`."""
    for unit in sorted(UNITS, key=len, reverse=True):
        if text.endswith(unit):
            return int(float(text[: -len(unit)]) * UNITS[unit])
    return 0


def services(module):
    """Return the project's containers with what they use."""
    if not shutil.which("docker"):
        return []
    listing = [
        "docker",
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label=com.docker.compose.project={module.params['project']}",
    ]
    code, ids, err = module.run_command(listing)
    if code != 0:
        module.fail_json(msg=f"The engine does not answer: {err.strip()}")
    if not ids.split():
        return []
    _, inspected, _ = module.run_command(["docker", "inspect", *ids.split()], check_rc=True)
    form = "{{.ID}} {{.MemUsage}}"
    _, stats, _ = module.run_command(["docker", "stats", "--no-stream", "--no-trunc", "--format", form, *ids.split()])
    used = {line.split()[0]: size(line.split()[1]) for line in stats.splitlines()}
    found = []
    for container in json.loads(inspected):
        labels, state = container["Config"]["Labels"], container["State"]
        if labels.get("com.docker.compose.oneoff") == "True":
            continue
        found.append(
            {
                "name": labels["com.docker.compose.service"],
                "state": state.get("Health", {}).get("Status", "running")
                if state["Status"] == "running"
                else state["Status"],
                "memory": used.get(container["Id"], 0),
                "limit": container["HostConfig"]["Memory"],
                "url": labels.get("cdc-workstation.url", ""),
                "version": labels.get("cdc-workstation.version", ""),
            }
        )
    return sorted(found, key=lambda service: service["name"])


def plugin_of(config):
    """Return the plugin of a connector's configuration as the exporter calls it: `mysql`, `postgres`."""
    # io.debezium.connector.postgresql.PostgresConnector registers its beans as debezium.postgres.
    return config.get("connector.class", "").rsplit(".", 1)[-1].removesuffix("Connector").lower()


def connectors(debezium, prometheus, login):
    """Return the connectors with the states of their tasks and, where Prometheus runs, their lag in seconds."""
    answer = fetch(f"{debezium}/connectors?expand=status&expand=info", login) if debezium else None
    lags = {}
    if prometheus:
        query = urllib.parse.urlencode({"query": LAG_QUERY})
        result = fetch(f"{prometheus}/api/v1/query?{query}") or {}
        for sample in result.get("data", {}).get("result", []):
            lags[sample["metric"]["plugin"], sample["metric"]["name"]] = float(sample["value"][1]) / 1000
    found = []
    for name, entry in sorted((answer or {}).items()):
        # A connector that was registered a moment ago has no status yet.
        config = entry.get("info", {}).get("config", {})
        plugin = plugin_of(config)
        status = entry.get("status", {"connector": {"state": "UNASSIGNED"}, "tasks": []})
        found.append(
            {
                "name": name,
                "state": status["connector"]["state"],
                "tasks": [task["state"] for task in status["tasks"]],
                "trace": next((task["trace"] for task in status["tasks"] if "trace" in task), ""),
                "plugin": plugin,
                "prefix": config.get("topic.prefix", ""),
                "lag": lags.get((plugin, config.get("topic.prefix"))),
            }
        )
    return found


def trouble(samples):
    """Return in a word what keeps a table from being equal to its source, beside having stopped."""
    if samples.get("table_not_captured"):
        return "not captured"
    if samples.get("snapshot_due"):
        return "waits for a snapshot"
    drift = int(samples.get("drift_rows", 0))
    return f"drift: {drift:+d} rows" if drift else ""


def tables(metrics):
    """Return what the Delta sink's metrics, a text, say of each table."""
    found = {}
    for metric, table, value in SAMPLE.findall(metrics or ""):
        if table != CANARY:
            samples = found.setdefault(table, {})
            # Changes are counted by their kind.
            samples[metric] = samples.get(metric, 0) + float(value)
    return [
        {
            "name": name,
            "stopped": bool(samples.get("table_stopped")),
            "trouble": trouble(samples),
            "applied": int(samples.get("rows_applied_total", 0)),
            "dead": int(samples.get("dead_lettered_rows_total", 0)),
            "lag": samples.get("lag_seconds"),
            "behind": int(samples.get("lag_offsets", 0)),
            "version": int(samples.get("table_version", -1)),
        }
        for name, samples in sorted(found.items())
    ]


def series(prometheus, query, start, end):
    """Return the labels and the `[time, value]` of each series of a range query, or None where nobody answers."""
    parameters = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": HISTORY_STEP_SECONDS})
    answer = fetch(f"{prometheus}/api/v1/query_range?{parameters}")
    if answer is None:
        return None
    return [
        (found["metric"], [[at, float(value)] for at, value in found["values"] if math.isfinite(float(value))])
        for found in answer.get("data", {}).get("result", [])
    ]


def history(prometheus, seconds):
    """Return what Prometheus knows of the last `seconds`: lag, changes and alerts over time, and the alerts of now."""
    end = time.time()
    start = end - seconds
    queries = (CONNECTOR_LAG_HISTORY, TABLE_LAG_HISTORY, TABLE_RATE_HISTORY, ALERT_HISTORY)
    found = [series(prometheus, query, start, end) for query in queries] if prometheus else [None]
    alerts = fetch(f"{prometheus}/api/v1/alerts") if prometheus else None
    if None in found or alerts is None:
        return {"answers": False, "start": start, "end": end, "step": HISTORY_STEP_SECONDS}
    connector_lag, table_lag, table_rate, alert_states = found
    return {
        "answers": True,
        "start": start,
        "end": end,
        "step": HISTORY_STEP_SECONDS,
        "connector_lag": [
            {"plugin": labels["plugin"], "prefix": labels["name"], "points": points} for labels, points in connector_lag
        ],
        "table_lag": {labels["table"]: points for labels, points in table_lag},
        "table_rate": {labels["table"]: points for labels, points in table_rate},
        "alert_states": [{"labels": labels, "points": points} for labels, points in alert_states],
        "alerts": alerts["data"]["alerts"],
    }


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "connection": {"type": "path"},
            "history_seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    found = services(module)
    urls = {service["name"]: root_of(service["url"]) for service in found}
    sink = urls.get("delta-sink")
    module.exit_json(
        changed=False,
        services=found,
        connectors=connectors(urls.get("debezium"), urls.get("prometheus"), login_header(module.params["connection"])),
        tables=tables(fetch_text(f"{sink}/metrics") if sink else None),
        history=history(urls.get("prometheus"), module.params["history_seconds"])
        if module.params["history_seconds"]
        else {},
    )


if __name__ == "__main__":
    main()
