"""The services found each other: workers their master, connectors their sources, Prometheus its targets."""

from __future__ import annotations

import functools
import json
import re
from urllib.parse import urlsplit

import pytest
from deployment import Deployment, Service

from cdc_workstation.sink.settings import SinkSettings

# Databases that the suite makes. One that was killed leaves tables that it had stopped; its next run removes them.
TESTS = re.compile(r"(cdcdb_)?test_[0-9a-f]{12}\.")


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
def test_connectors_and_their_tasks_are_running(service: Service) -> None:
    wanted = registered_connectors(service.deployment)

    def problem() -> str:
        connectors = service.deployment.get_json(f"{service.address}/connectors?expand=status")
        states = {
            f"{kind} {name}": part
            for name, connector in connectors.items()
            for kind, part in [
                ("connector", connector["status"]["connector"]),
                *((f"task {task['id']} of", task) for task in connector["status"]["tasks"]),
            ]
        }
        idle = [name for name, connector in connectors.items() if not connector["status"]["tasks"]]
        bad = [
            f"{what} is {part['state']}: {part.get('trace', 'no trace').splitlines()[0]}"
            for what, part in states.items()
            if part["state"] != "RUNNING"
        ]
        bad += [f"connector {name} has no task" for name in idle]
        bad += [f"connector {name} is not registered: run `make up`" for name in wanted if name not in connectors]
        return f"debezium: {'; '.join(bad)}" if bad else ""

    service.deployment.expect_none(problem)


@pytest.mark.only("delta-sink")
def test_the_sink_applies_changes_to_every_table(service: Service) -> None:
    def problem() -> str:
        metrics = service.deployment.get(f"{service.address}/metrics")
        stopped = re.findall(r'^cdc_sink_table_stopped\{table="([^"]+)"\} 1', metrics, re.MULTILINE)
        stopped = [table for table in stopped if not TESTS.match(table)]
        if stopped:
            return f"delta-sink takes no more changes of {', '.join(stopped)}: its log and the dead letters say why"
        return "" if "\ncdc_sink_ready 1" in metrics else "delta-sink is not ready: no canary row has reached Delta"

    service.deployment.expect_none(problem)


@pytest.mark.only("delta-sink")
def test_rows_of_the_sample_tables_are_in_delta(service: Service) -> None:
    deployment = service.deployment
    sink = SinkSettings.model_validate_json(
        deployment.host.file(f"{deployment.directory}/delta-sink/config/sink.json").content_string
    )
    # A stack may capture one database alone, or none, and its sink may leave tables out.
    addresses = deployment.host.file(f"{deployment.directory}/connection.env").content_string
    database = re.search(r"^MYSQL_DATABASE=(.*)$", addresses, re.MULTILINE)
    samples = {"mysql": f"{database[1] if database else ''}.products", "postgres": "public.customers"}
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
