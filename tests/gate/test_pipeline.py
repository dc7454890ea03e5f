"""The services found each other, and Delta equals the sources.

What the user made (connectors, tables beside the sample's) is looked at, too. It is not waited for and fails nothing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from deployment import Deployment, Service

from cdc_workstation.settings import Settings
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.verify.databases import NotComparableError
from cdc_workstation.verify.stack import Stack
from cdc_workstation.verify.verdict import Verdict
from cdc_workstation.verify.verify import Verifier

# What the suite makes. One that was killed leaves tables that it had stopped; its next run removes them.
TESTS = re.compile(r"(cdcdb_)?test_[0-9a-f]{12}\.|[^.]+\.cdc_[0-9a-f]{12}$")
SAMPLES = {
    "mysql": ("products", "inventory_transactions", "suppliers"),
    "postgres": ("customers", "products", "orders", "order_items"),
}
# Tables of more rows are not compared here, and no more is compared once so many seconds are over.
MAX_ROWS = 20_000
SECONDS = 60.0
SHOWN = 5


@pytest.mark.only("spark-master")
def test_expected_spark_workers_are_alive(service: Service, other_deployments: list[Deployment]) -> None:
    workers = [
        worker
        for deployment in other_deployments
        for worker in deployment.services.values()
        if worker.name.startswith("spark-worker")
    ]
    expected = sum(worker.replicas for worker in workers)

    def problem() -> str:
        state = service.deployment.get_json(f"{service.address}/json/")
        alive = sum(worker["state"] == "ALIVE" for worker in state["workers"])
        if state["status"] != "ALIVE":
            return f"spark-master is {state['status']}"
        return (
            "" if alive == expected else f"spark-master has {alive} worker(s) ALIVE, spark-worker declares {expected}"
        )

    service.deployment.expect_none(problem)


@pytest.mark.only("debezium")
def test_connectors_and_their_tasks_are_running(service: Service, yours: Callable[[str], None]) -> None:
    wanted = registered_connectors(service.deployment)

    def problems() -> dict[str, str]:
        connectors = service.deployment.get_json(f"{service.address}/connectors?expand=status")
        absent = {
            name: f"connector {name} is not registered: run `make up`" for name in wanted if name not in connectors
        }
        found = {name: connector_problem(name, connector["status"]) for name, connector in connectors.items()}
        return absent | {name: problem for name, problem in found.items() if problem}

    def problem() -> str:
        bad = [text for name, text in problems().items() if name in wanted]
        return f"debezium: {'; '.join(bad)}" if bad else ""

    service.deployment.expect_none(problem)
    for name, text in problems().items():
        if name not in wanted:
            yours(text)


@pytest.mark.only("delta-sink")
def test_the_sink_applies_changes_to_every_table(service: Service, yours: Callable[[str], None]) -> None:
    own = set(sample_tables(service.deployment))

    def stopped() -> tuple[str, set[str]]:
        metrics = service.deployment.get(f"{service.address}/metrics")
        found = re.findall(r'^cdc_sink_table_stopped\{table="([^"]+)"\} 1', metrics, re.MULTILINE)
        return metrics, {table for table in found if not TESTS.match(table)}

    def problem() -> str:
        metrics, tables = stopped()
        if tables & own:
            return f"delta-sink has stopped {', '.join(sorted(tables & own))}: its log and the dead letters say why"
        return "" if "\ncdc_sink_ready 1" in metrics else "delta-sink is not ready: no canary row has reached Delta"

    service.deployment.expect_none(problem)
    for table in sorted(stopped()[1] - own):
        yours(f"delta-sink has stopped {table}: its log and the dead letters say why")


@pytest.mark.only("delta-sink")
def test_delta_equals_its_sources(service: Service, yours: Callable[[str], None]) -> None:
    deployment = service.deployment
    if "debezium" not in deployment.services:
        return
    if not deployment.is_here:
        yours(f"tables on {deployment.name} are not compared from here: run `make verify` with its INVENTORY")
        return
    own = set(sample_tables(deployment))
    directory = Path(deployment.directory)
    try:
        with Stack(Settings(_env_file=directory / "connection.env"), directory) as stack:
            verifier = Verifier(stack)
            tables = [table for table in verifier.tables() if not TESTS.match(str(table.name))]
            samples = [table for table in tables if str(table.name) in own]
            others = [table for table in tables if table not in samples]
            results = verifier.verify(samples, timeout=SECONDS)
            # Their changes may be on the way, which nobody waits for here.
            of_users = verifier.verify(others, timeout=0, max_rows=MAX_ROWS, budget=SECONDS)
    except NotComparableError as error:
        pytest.fail(str(error), pytrace=False)
    differing = [result.table for result in of_users if result.verdict in (Verdict.DRIFT, Verdict.NOT_COMPARED)]
    if differing:
        named = ", ".join(differing[:SHOWN]) + (f" and {len(differing) - SHOWN} more" if differing[SHOWN:] else "")
        yours(f"differ from their sources, or have changes on their way: {named}. See: make verify")
    bad = [f"{result.table}: {result.reason}" for result in results if result.verdict is not Verdict.EQUAL]
    assert not bad, f"delta-sink: {'; '.join(bad)}"


@pytest.mark.only("delta-sink")
def test_rows_of_the_sample_tables_are_in_delta(service: Service) -> None:
    deployment = service.deployment
    sink = SinkSettings.model_validate_json(
        deployment.host.file(f"{deployment.directory}/delta-sink/config/sink.json").content_string
    )
    # A stack may capture one database alone, or none, and its sink may leave tables out.
    mysql, *_ = tables = sample_tables(deployment)
    samples = {"mysql": mysql, "postgres": tables[len(SAMPLES["mysql"])]}
    debezium = deployment.services.get("debezium")
    registered = registered_connectors(deployment) if debezium else []

    def problem() -> str:
        connectors = deployment.get_json(f"{debezium.address}/connectors?expand=info") if debezium else {}
        configs = [connectors[name]["info"]["config"] for name in registered if name in connectors]
        topics = [
            f"{config['topic.prefix']}.{table}"
            for config in configs
            for host, table in samples.items()
            if config.get("database.hostname") == host
        ]
        wanted = {sink.location_of(topic).name for topic in topics if re.fullmatch(sink.topics, topic)}
        metrics = deployment.get(f"{service.address}/metrics")
        missing = wanted - set(re.findall(r'^cdc_sink_table_version\{table="([^"]+)"\} \d', metrics, re.MULTILINE))
        return f"delta-sink has not written {', '.join(sorted(missing))} below {sink.tables}" if missing else ""

    deployment.expect_none(problem)


@pytest.mark.only("prometheus")
def test_all_prometheus_targets_are_up(service: Service) -> None:
    declared = declared_targets(service.deployment)

    def problem() -> str:
        answer = service.deployment.get_json(f"{service.address}/api/v1/targets?state=active")["data"]["activeTargets"]
        bad = [
            f"{target['labels']['job']} at {target['scrapeUrl']} is {target['health']} ({target['lastError']})"
            for target in answer
            if target["health"] != "up"
        ]
        bad += [f"{target} is not scraped" for target in declared - {urlsplit(t["scrapeUrl"]).netloc for t in answer}]
        return f"prometheus: {'; '.join(bad)}" if bad or not answer else ""

    service.deployment.expect_none(problem)


@pytest.mark.only("prometheus")
def test_prometheus_has_its_alertmanager(service: Service) -> None:
    def problem() -> str:
        known = service.deployment.get_json(f"{service.address}/api/v1/alertmanagers")["data"]
        active = {urlsplit(one["url"]).hostname for one in known["activeAlertmanagers"]}
        if "alertmanager" in service.deployment.services and "alertmanager" not in active:
            return f"prometheus has no active alertmanager, only {sorted(active)}"
        return ""

    service.deployment.expect_none(problem)


def connector_problem(name: str, status: dict[str, Any]) -> str:
    """Say what keeps a connector or a task of it from running, empty if nothing does."""
    parts = [(f"connector {name}", status["connector"])]
    parts += [(f"task {task['id']} of {name}", task) for task in status["tasks"]]
    for what, part in parts:
        if part["state"] != "RUNNING":
            return f"{what} is {part['state']}: {part.get('trace', 'no trace').splitlines()[0]}"
    return "" if status["tasks"] else f"connector {name} has no task"


@functools.cache
def sample_tables(deployment: Deployment) -> list[str]:
    """Return the tables of the sample data, MySQL's first, as the sink names them."""
    addresses = deployment.host.file(f"{deployment.directory}/connection.env").content_string
    found = re.search(r"^MYSQL_DATABASE=(.*)$", addresses, re.MULTILINE)
    namespaces = {"mysql": found[1] if found else "", "postgres": "public"}
    return [f"{namespaces[database]}.{table}" for database, tables in SAMPLES.items() for table in tables]


@functools.cache
def registered_connectors(deployment: Deployment) -> list[str]:
    """Return the names of the connectors that the role registered. Connect forgets one that somebody removes."""
    written = deployment.host.file(f"{deployment.directory}/debezium/registered/connectors.json")
    assert written.exists, "the connectors of this stack were never registered: run `make up`"
    names: list[str] = json.loads(written.content_string)
    return names


def declared_targets(deployment: Deployment) -> set[str]:
    """Return what the services declared to be scraped, as host:port."""
    text = deployment.host.check_output("cat %s/targets/*.json", deployment.directory)
    found, decoder = set(), json.JSONDecoder()
    while text := text.strip():
        groups, end = decoder.raw_decode(text)
        found |= {target for group in groups for target in group["targets"]}
        text = text[end:]
    return found
