"""Client of the webhook receiver (WireMock): what Alertmanager delivered, and faults on request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import requests
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.http import direct_session

# pytest's tracebacks end in the test.
__tracebackhide__ = True


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class NotifiedAlert(_Body):
    """One alert of a notification."""

    status: str
    """`firing` or `resolved`."""
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: datetime
    ends_at: datetime
    fingerprint: str
    generator_url: str = Field(default="", alias="generatorURL")


class Notification(_Body):
    """A webhook notification, version 4 of Alertmanager's format.

    `received_at` and `path` are not part of the body: the receiver's journal gives them.
    """

    version: str
    receiver: str
    status: str
    """`firing` while one of the alerts is, else `resolved`."""
    alerts: list[NotifiedAlert]
    group_key: str
    group_labels: dict[str, str]
    common_labels: dict[str, str]
    common_annotations: dict[str, str]
    external_url: str = Field(default="", alias="externalURL")
    truncated_alerts: int = 0
    received_at: datetime
    path: str

    @property
    def alertnames(self) -> set[str]:
        """The labels `alertname` of its alerts."""
        return {alert.labels["alertname"] for alert in self.alerts}


class Fault:
    """A fault in place, and which requests it has met."""

    def __init__(self, receiver: WebhookReceiver, stub_ids: list[str]) -> None:
        self._receiver = receiver
        self._stub_ids = stub_ids

    def statuses(self) -> list[int]:
        """Return the HTTP status of every answer that the fault gave so far."""
        return [
            event["response"]["status"]
            for stub_id in self._stub_ids
            for event in self._receiver.admin("GET", f"/requests?matchingStub={stub_id}").json()["requests"]
        ]


class WebhookReceiver:
    """The journal and the faults of the webhook receiver, narrowed to the alerts of one test.

    Args:
        url: base address, for example `http://127.0.0.1:5001`.
        label: name and value of the label that the test's alerts carry; None sees every notification.
        timeout: seconds that one request may take.

    Raises:
        requests.RequestException: (all methods) the receiver did not answer, or with an error.
    """

    def __init__(self, url: str, *, label: tuple[str, str] | None = None, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.label = label
        self.timeout = timeout
        self._session = direct_session()

    def is_ready(self) -> bool:
        """Tell whether the receiver takes notifications. An unreachable one is not ready; nothing is raised."""
        try:
            return self._session.get(f"{self.url}/__admin/health", timeout=self.timeout).ok
        except requests.RequestException:
            return False

    def notifications(self, receiver: str | None = None) -> list[Notification]:
        """Return what arrived so far, oldest first, failed attempts among it.

        Args:
            receiver: only what was posted to `/alerts/<receiver>`.
        """
        found = self.admin("POST", "/requests/find", json=self._pattern(receiver)).json()["requests"]
        return sorted((_notification(request) for request in found), key=lambda one: one.received_at)

    def wait_for(
        self,
        condition: Callable[[Notification], bool] = lambda _: True,
        *,
        receiver: str | None = None,
        count: int = 1,
        timeout: float = 30.0,
    ) -> list[Notification]:
        """Wait until `count` notifications fulfil the condition and return all that do, oldest first.

        Raises:
            AssertionError: they did not arrive within `timeout` seconds; the message says what did.
        """
        retrying = Retrying(
            retry=retry_if_result(lambda found: len(found) < count),
            stop=stop_after_delay(timeout),
            wait=wait_fixed(0.1),
        )
        try:
            return retrying(lambda: [one for one in self.notifications(receiver) if condition(one)])
        except RetryError:
            arrived = [(one.path, one.status, sorted(one.alertnames)) for one in self.notifications()]
            raise AssertionError(
                f"{count} such notification(s) did not arrive within {timeout:g} s. What did: {arrived or 'nothing'}"
            ) from None

    @contextmanager
    def fault(
        self, receiver: str, *, times: int = 1, status: int = 500, delay: timedelta = timedelta(0)
    ) -> Iterator[Fault]:
        """Make the receiver fail for the next notifications of this test, until the block ends.

        Args:
            receiver: whose path, `/alerts/<receiver>`, fails.
            times: how many requests fail before it recovers.
            status: the HTTP status that they get.
            delay: how long they wait for it.
        """
        # A WireMock scenario: each failure moves it on by one state, and behind the last one nothing matches but the
        # mapping that accepts everything.
        scenario = f"fault-{uuid4()}"
        states = ["Started", *(f"failed {number}" for number in range(1, times + 1))]
        stub_ids: list[str] = []
        try:
            for state, following in pairwise(states):
                stub_ids.append(str(uuid4()))
                stub = {
                    "id": stub_ids[-1],
                    "priority": 1,
                    "scenarioName": scenario,
                    "requiredScenarioState": state,
                    "newScenarioState": following,
                    "request": self._pattern(receiver),
                    "response": {"status": status, "fixedDelayMilliseconds": int(delay.total_seconds() * 1000)},
                }
                self.admin("POST", "/mappings", json=stub)
            yield Fault(self, stub_ids)
        finally:
            for stub_id in stub_ids:
                # One that was never created answers 404, which is as good.
                self._session.delete(f"{self.url}/__admin/mappings/{stub_id}", timeout=self.timeout)

    def forget(self) -> None:
        """Take this test's notifications out of the journal."""
        self.admin("POST", "/requests/remove", json=self._pattern(None))

    def admin(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Send a request to WireMock's admin API, `path` relative to `/__admin`."""
        response = self._session.request(method, f"{self.url}/__admin{path}", timeout=self.timeout, **kwargs)
        response.raise_for_status()
        return response

    def _pattern(self, receiver: str | None) -> dict[str, Any]:
        """Return the WireMock request pattern of this test's notifications."""
        pattern: dict[str, Any] = {
            "method": "POST",
            "urlPathPattern": f"/alerts/{re.escape(receiver) if receiver else '[^/]+'}",
        }
        if self.label:
            name, value = self.label
            pattern["bodyPatterns"] = [{"matchesJsonPath": f"$.alerts[?(@.labels['{name}'] == '{value}')]"}]
        return pattern


def _notification(request: dict[str, Any]) -> Notification:
    received_at = datetime.fromtimestamp(request["loggedDate"] / 1000, UTC)
    return Notification(**json.loads(request["body"]), received_at=received_at, path=request["url"])
