"""Prometheus, and an alert's way from it through Alertmanager to the webhook."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest
import requests
from containers import container
from docker.models.containers import Container
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.clients.webhook import Notification, WebhookReceiver
from cdc_workstation.settings import Settings, connection_file

ALERTS = {
    "ServiceDown",
    "ConnectorFailed",
    "ConnectorTaskFailed",
    "ConnectorDisconnected",
    "CdcLagHigh",
    "SinkTableStopped",
    "SnapshotOverdue",
    "TableNotCaptured",
    "ConnectorLeftOut",
    "TableDrift",
    "DriftUnknown",
    "UnrepresentableValues",
    "SlotWalGrowing",
    "ErrorRateHigh",
    "DataIntegrityFailure",
}
TEST_TARGETS = "test-"
# A scrape, a rule and a notification on a machine with other things to do.
TIMEOUT = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds, or fail and say what did not happen."""
    Retrying(
        retry=retry_if_result(lambda held: not held),
        stop=stop_after_delay(TIMEOUT),
        wait=wait_fixed(0.1),
        retry_error_callback=lambda _: pytest.fail(f"{what} did not happen within {TIMEOUT:g} s", pytrace=False),
    )(condition)


def test_rules_of_the_cdc_group_are_loaded(prometheus_client: PrometheusClient) -> None:
    rules = prometheus_client.rules()["cdc_alerts"]

    assert {rule["name"] for rule in rules} >= ALERTS
    assert {rule["health"] for rule in rules} == {"ok"}


def test_every_declared_target_is_scraped(prometheus_client: PrometheusClient) -> None:
    declared = {
        target
        for path in (connection_file().parent / "targets").glob("*.json")
        # Those of this module's own services come and go.
        if not path.name.startswith(TEST_TARGETS)
        for group in json.loads(path.read_text())
        for target in group["targets"]
    }
    assert {"prometheus:9090", "alertmanager:9093"} <= declared

    def up() -> set[str]:
        return {target["labels"]["instance"] for target in prometheus_client.targets() if target["health"] == "up"}

    # A service that another test has just restarted is missed by one scrape.
    until(lambda: declared <= up(), "a scrape of every declared target")


def test_alerts_go_to_the_alertmanager_of_the_stack(prometheus_client: PrometheusClient) -> None:
    assert prometheus_client.alertmanagers() == ["http://alertmanager:9093/api/v2/alerts"]


def test_classic_ui_is_served(prometheus_client: PrometheusClient, http: requests.Session) -> None:
    for page in ("graph", "alerts", "targets"):
        answer = http.get(f"{prometheus_client.url}/classic/{page}", timeout=30)

        assert answer.ok
        assert "cdc-workstation" in answer.text

    # Where links from alerts lead to: it goes on to the classic page.
    assert "/classic/" in http.get(f"{prometheus_client.url}/graph?g0.expr=up", timeout=30).text


class Service:
    """A service beside the stack that declares its metrics as the stack's own services do."""

    def __init__(self, container: Container, target: Path) -> None:
        self.container = container
        self.job: str = container.name
        self._target = target

    def declare(self) -> None:
        """Tell Prometheus to scrape it, each second so that the test is quick."""
        labels = {"job": self.job, "__metrics_path__": "/metrics", "__scrape_interval__": "1s"}
        text = json.dumps([{"targets": [f"{self.job}:9090"], "labels": labels | {"__scrape_timeout__": "1s"}}])
        staged = self._target.with_suffix(".new")
        staged.write_text(text)
        staged.replace(self._target)

    def remove(self) -> None:
        self._target.unlink(missing_ok=True)
        self.container.remove(force=True)


@pytest.fixture
def service(prometheus_client: PrometheusClient, stack_settings: Settings) -> Iterator[Service]:
    """A running service with metrics (a second Prometheus), unknown to the stack's Prometheus so far."""
    engine = docker.from_env()
    prometheus = container(stack_settings, "prometheus")
    targets = connection_file().parent / "targets"
    for leftover in targets.glob(f"{TEST_TARGETS}*.json"):
        # Of a run that was killed.
        if time.time() - leftover.stat().st_mtime > 600:
            leftover.unlink(missing_ok=True)
    name = f"{TEST_TARGETS}{uuid4().hex[:12]}"
    second = engine.containers.run(
        prometheus.image,
        ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/data"],
        name=name,
        detach=True,
        network=next(iter(prometheus.attrs["NetworkSettings"]["Networks"])),
        mem_limit="96m",
        user=prometheus.attrs["Config"]["User"],
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
    )
    service = Service(second, targets / f"{name}.json")
    yield service
    service.remove()


def test_service_down_is_reported_to_the_webhook_until_it_is_back(
    prometheus_client: PrometheusClient, stack_settings: Settings, service: Service
) -> None:
    assert stack_settings.webhook_url is not None
    webhook = WebhookReceiver(stack_settings.webhook_url, label=("job", service.job))

    def told(status: str) -> Callable[[Notification], bool]:
        return lambda one: one.status == status and one.alertnames == {"ServiceDown"}

    service.declare()
    query = f'up{{job="{service.job}"}}'
    until(lambda: [value for _, value in prometheus_client.query(query)] == [1.0], "a scrape of the new service")
    assert prometheus_client.alerts("ServiceDown", job=service.job) == []

    service.container.kill()

    [down] = webhook.wait_for(told("firing"), timeout=TIMEOUT)
    assert down.path == "/alerts/critical"
    [alert] = down.alerts
    assert alert.labels["severity"] == "critical"
    assert alert.annotations["summary"] == f"{service.job} is down"
    assert alert.generator_url.startswith(prometheus_client.url)

    service.container.start()

    webhook.wait_for(told("resolved"), timeout=TIMEOUT)
    webhook.forget()


def test_failed_connector_task_is_reported_to_the_webhook(
    stack_settings: Settings, prometheus_client: PrometheusClient, failing_connector: str
) -> None:
    assert stack_settings.webhook_url is not None
    webhook = WebhookReceiver(stack_settings.webhook_url, label=("connector", failing_connector))

    # Another worker's connector may fail in the same moment, and is in the same group.
    failed, *_ = webhook.wait_for(lambda one: one.alertnames == {"ConnectorTaskFailed"}, timeout=TIMEOUT)

    assert failed.path == "/alerts/critical"
    [alert] = [one for one in failed.alerts if one.labels["connector"] == failing_connector]
    assert alert.annotations["summary"] == f"1 task(s) of connector {failing_connector} failed"
    webhook.forget()
