"""Nobody ends a service, or a job, over HTTP."""

from __future__ import annotations

import pytest
import requests

from cdc_workstation.clients.http import direct_session
from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.clients.webhook import WebhookReceiver
from cdc_workstation.settings import Settings


def post(url: str) -> int:
    """Return the status that an ordinary user gets."""
    with direct_session() as session:
        return session.post(url, timeout=10).status_code


@pytest.mark.parametrize("path", ["/-/quit", "/-/reload"])
def test_prometheus_has_no_life_cycle_over_http(
    prometheus_client: PrometheusClient, stack_settings: Settings, path: str
) -> None:
    assert post(f"{stack_settings.prometheus_url}{path}") == requests.codes.forbidden
    assert prometheus_client.is_ready()


@pytest.mark.parametrize("path", ["/__admin/shutdown", "//__admin//shutdown"])
def test_webhook_receiver_is_not_shut_down_over_http(
    webhook_receiver: WebhookReceiver, stack_settings: Settings, path: str
) -> None:
    assert post(f"{stack_settings.webhook_url}{path}") in {requests.codes.forbidden, requests.codes.not_found}
    assert webhook_receiver.is_ready()
