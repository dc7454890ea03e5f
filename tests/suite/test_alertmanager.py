"""Alertmanager and what it delivers: what users of the stack's alerting rely on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import yaml
from containers import container
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_workstation.clients.alertmanager import AlertmanagerClient, AlertmanagerError
from cdc_workstation.clients.webhook import WebhookReceiver
from cdc_workstation.settings import Settings, connection_file

pytestmark = pytest.mark.uses("alertmanager")


def eventually(check: object, timeout: float = 30.0) -> None:
    """Repeat `check` until its assertions hold."""
    Retrying(
        retry=retry_if_exception_type((AssertionError, requests.ConnectionError)),
        stop=stop_after_delay(timeout),
        wait=wait_fixed(0.1),
        reraise=True,
    )(check)


def pass_through(client: AlertmanagerClient, webhook: WebhookReceiver) -> None:
    """Send another alert through all of its life: by then whatever else was due has been delivered.

    It takes at least one `group_wait` and one `group_interval`, which every other group has had in that time too.
    """
    name = f"Marker-{uuid4()}"
    labels = client.post_alert(name)
    webhook.wait_for(lambda one: one.alertnames == {name})
    client.resolve(labels)
    webhook.wait_for(lambda one: one.alertnames == {name} and one.status == "resolved")


def test_status_shows_version_and_configuration(alertmanager_client: AlertmanagerClient) -> None:
    status = alertmanager_client.status()

    assert status.version_info.version.count(".") == 2
    assert status.cluster.status == "disabled"
    in_use = [receiver["name"] for receiver in yaml.safe_load(status.config.original)["receivers"]]
    assert in_use == alertmanager_client.receivers()


def test_web_ui_is_served(alertmanager_client: AlertmanagerClient, http: requests.Session) -> None:
    page = http.get(f"{alertmanager_client.url}/", timeout=30)
    script = http.get(f"{alertmanager_client.url}/script.js", timeout=30)

    assert "<title>Alertmanager</title>" in page.text
    assert script.ok


def test_posted_alert_is_listed_until_it_is_resolved(alertmanager_client: AlertmanagerClient) -> None:
    labels = alertmanager_client.post_alert("DiskFull", severity="info", annotations={"summary": "no space left"})

    [alert] = alertmanager_client.alerts('alertname="DiskFull"')
    assert alert.labels == labels
    assert alert.annotations == {"summary": "no space left"}
    assert alert.starts_at < alertmanager_client.now() + timedelta(seconds=1) < alert.ends_at

    alertmanager_client.resolve(labels)
    assert alertmanager_client.alerts() == []


def test_client_sees_only_the_alerts_of_its_test(alertmanager_client: AlertmanagerClient) -> None:
    with AlertmanagerClient(alertmanager_client.url, labels={"environment": "test", "test_id": f"{uuid4()}"}) as other:
        other.post_alert("DiskFull")

        assert alertmanager_client.alerts() == []
        assert [alert.name for alert in other.alerts()] == ["DiskFull"]


def test_failed_test_leaves_no_alert_and_no_silence(alertmanager_client: AlertmanagerClient) -> None:
    silences = []

    def failing_test() -> None:
        with AlertmanagerClient(alertmanager_client.url, labels=alertmanager_client.labels) as client:
            client.post_alert("DiskFull")
            silences.append(client.create_silence(alertname="DiskFull"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_test()

    assert alertmanager_client.alerts() == []
    assert alertmanager_client.silence(silences[0]).status.state == "expired"


def test_alerts_of_one_name_are_one_notification(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    disks = ["sda", "sdb", "sdc"]
    alertmanager_client.post_alerts([{"labels": {"alertname": "DiskFull", "disk": disk}} for disk in disks])
    alertmanager_client.post_alert("HostDown")

    [grouped] = webhook_receiver.wait_for(lambda one: "DiskFull" in one.alertnames)
    [single] = webhook_receiver.wait_for(lambda one: "HostDown" in one.alertnames)

    assert sorted(alert.labels["disk"] for alert in grouped.alerts) == disks
    assert grouped.group_labels["alertname"] == "DiskFull"
    assert len(single.alerts) == 1
    groups = alertmanager_client.groups()
    assert sorted((group.labels["alertname"], len(group.alerts)) for group in groups) == [
        ("DiskFull", 3),
        ("HostDown", 1),
    ]


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "test-critical"), ("warning", "test-warning"), ("info", "test")]
)
def test_severity_selects_the_receiver(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver, severity: str, receiver: str
) -> None:
    alertmanager_client.post_alert("DiskFull", severity=severity)

    [notification] = webhook_receiver.wait_for()

    assert notification.path == f"/alerts/{receiver}"
    assert notification.receiver == receiver
    [alert] = alertmanager_client.alerts()
    assert [one.name for one in alert.receivers] == [receiver]


def test_critical_alert_inhibits_its_warning_until_it_is_resolved(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    critical = alertmanager_client.post_alert("LagHigh", severity="critical", instance="a")
    alertmanager_client.post_alert("LagHigh", severity="warning", instance="a")
    alertmanager_client.post_alert("LagHigh", severity="warning", instance="b")

    [notification] = webhook_receiver.wait_for(receiver="test-warning")
    assert [alert.labels["instance"] for alert in notification.alerts] == ["b"]
    [source] = alertmanager_client.alerts('severity="critical"')
    [muted] = alertmanager_client.alerts('severity="warning"', 'instance="a"')
    assert muted.status.state == "suppressed"
    assert muted.status.inhibited_by == [source.fingerprint]

    alertmanager_client.resolve(critical)
    webhook_receiver.wait_for(
        lambda one: any(alert.labels["instance"] == "a" for alert in one.alerts), receiver="test-warning"
    )


def test_silence_is_active_until_it_is_expired(alertmanager_client: AlertmanagerClient) -> None:
    silence_id = alertmanager_client.create_silence(alertname="DiskFull", comment="being replaced")

    eventually(lambda: _assert_equal(alertmanager_client.silence(silence_id).status.state, "active"))
    [listed] = alertmanager_client.silences('alertname="DiskFull"')
    assert (listed.id, listed.comment) == (silence_id, "being replaced")

    alertmanager_client.expire_silence(silence_id)
    assert alertmanager_client.silence(silence_id).status.state == "expired"


def test_silence_that_ends_before_its_start_is_refused(alertmanager_client: AlertmanagerClient) -> None:
    with pytest.raises(AlertmanagerError, match="end time"):
        alertmanager_client.create_silence(alertname="DiskFull", duration=timedelta(seconds=-1))


def test_silenced_alert_is_not_delivered_until_the_silence_ends(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    silence_id = alertmanager_client.create_silence(alertname="DiskFull")
    alertmanager_client.post_alert("DiskFull")

    pass_through(alertmanager_client, webhook_receiver)
    assert [one for one in webhook_receiver.notifications() if "DiskFull" in one.alertnames] == []
    [alert] = alertmanager_client.alerts('alertname="DiskFull"')
    assert alert.status.silenced_by == [silence_id]

    alertmanager_client.expire_silence(silence_id)
    webhook_receiver.wait_for(lambda one: one.alertnames == {"DiskFull"})


def test_webhook_payload_has_labels_annotations_and_links(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    labels = alertmanager_client.post_alert(
        "DiskFull",
        severity="critical",
        annotations={"summary": "no space left on größe:/data"},
        generator_url="http://prometheus.example/graph",
    )

    [firing] = webhook_receiver.wait_for()
    assert (firing.version, firing.status, firing.truncated_alerts) == ("4", "firing", 0)
    assert firing.common_labels == labels
    assert firing.common_annotations == {"summary": "no space left on größe:/data"}
    assert firing.external_url == alertmanager_client.url
    [alert] = firing.alerts
    assert (alert.status, alert.labels, alert.generator_url) == ("firing", labels, "http://prometheus.example/graph")
    assert alert.fingerprint == alertmanager_client.alerts()[0].fingerprint

    alertmanager_client.resolve(labels)
    [resolved] = webhook_receiver.wait_for(lambda one: one.status == "resolved")
    assert resolved.group_key == firing.group_key
    assert resolved.alerts[0].ends_at >= alert.starts_at


def test_notification_is_retried_until_the_receiver_accepts_it(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    with webhook_receiver.fault("test-critical", times=2, status=503) as fault:
        alertmanager_client.post_alert("DiskFull", severity="critical")

        attempts = webhook_receiver.wait_for(count=3)

        assert fault.statuses() == [503, 503]
    assert {attempt.group_key for attempt in attempts} == {attempts[0].group_key}
    pass_through(alertmanager_client, webhook_receiver)
    assert len(webhook_receiver.notifications("test-critical")) == 3


def test_alert_that_is_sent_again_is_delivered_once(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver
) -> None:
    for _ in range(5):
        alertmanager_client.post_alert("DiskFull")
    webhook_receiver.wait_for()
    alertmanager_client.post_alert("DiskFull")

    pass_through(alertmanager_client, webhook_receiver)

    assert len(alertmanager_client.alerts('alertname="DiskFull"')) == 1
    assert len([one for one in webhook_receiver.notifications() if "DiskFull" in one.alertnames]) == 1


class ConfigFile:
    """The configuration that the running Alertmanager reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.original = path.read_text(encoding="utf-8")

    def write(self, text: str) -> None:
        staged = self.path.with_name(f".{self.path.name}")
        staged.write_text(text, encoding="utf-8")
        staged.replace(self.path)


@pytest.fixture
def config_file(alertmanager_client: AlertmanagerClient) -> Iterator[ConfigFile]:
    """Alertmanager's configuration file, restored and in use again after the test."""
    file = ConfigFile(connection_file().parent / "alertmanager" / "config" / "alertmanager.yml")
    yield file
    file.write(file.original)
    alertmanager_client.reload()


@pytest.mark.exclusive("alertmanager")
def test_reload_applies_a_changed_configuration_without_a_restart(
    alertmanager_client: AlertmanagerClient, config_file: ConfigFile
) -> None:
    started = alertmanager_client.status().uptime
    alertmanager_client.post_alert("DiskFull")
    config = yaml.safe_load(config_file.original)
    config["receivers"].append({"name": "on-call"})
    config_file.write(yaml.safe_dump(config))

    alertmanager_client.reload()

    assert "on-call" in alertmanager_client.receivers()
    assert alertmanager_client.status().uptime == started
    assert [alert.name for alert in alertmanager_client.alerts()] == ["DiskFull"]


@pytest.mark.exclusive("alertmanager")
def test_broken_configuration_is_refused_and_the_current_one_stays(
    alertmanager_client: AlertmanagerClient, config_file: ConfigFile
) -> None:
    before = alertmanager_client.receivers()
    config = yaml.safe_load(config_file.original)
    config["route"]["receiver"] = "nobody"
    config_file.write(yaml.safe_dump(config))

    with pytest.raises(AlertmanagerError, match='undefined receiver "nobody"'):
        alertmanager_client.reload()

    assert alertmanager_client.receivers() == before


@pytest.mark.exclusive("alertmanager")
def test_silences_and_notification_log_survive_a_restart(
    alertmanager_client: AlertmanagerClient, webhook_receiver: WebhookReceiver, stack_settings: Settings
) -> None:
    silence_id = alertmanager_client.create_silence(alertname="Muted")
    alertmanager_client.post_alert("DiskFull")
    webhook_receiver.wait_for()

    container(stack_settings, "alertmanager").restart()
    eventually(lambda: _assert_equal(alertmanager_client.is_ready(), True))

    assert alertmanager_client.silence(silence_id).status.state == "active"
    # Its sender goes on sending it; that it was delivered is remembered.
    alertmanager_client.post_alert("DiskFull")
    pass_through(alertmanager_client, webhook_receiver)
    assert len([one for one in webhook_receiver.notifications() if "DiskFull" in one.alertnames]) == 1


def _assert_equal(found: object, expected: object) -> None:
    assert found == expected
