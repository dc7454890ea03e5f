"""Client of Alertmanager's API v2 (v1 is gone since Alertmanager 0.27)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

import requests
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from cdc_workstation.clients.http import direct_session

# pytest's tracebacks end in the test.
__tracebackhide__ = True


class _ApiModel(BaseModel):
    """A body of API v2: camel case on the wire, snake case here."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class AlertStatus(_ApiModel):
    """Whether an alert notifies, and what keeps it from doing so."""

    state: str
    """`active`, `suppressed` or `unprocessed`."""
    silenced_by: list[str] = []
    inhibited_by: list[str] = []
    muted_by: list[str] = []


class Receiver(_ApiModel):
    """A receiver that an alert is routed to."""

    name: str


class Alert(_ApiModel):
    """An alert as Alertmanager holds it (`gettableAlert`)."""

    labels: dict[str, str]
    annotations: dict[str, str] = {}
    fingerprint: str
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    generator_url: str = Field(default="", alias="generatorURL")
    receivers: list[Receiver] = []
    status: AlertStatus

    @property
    def name(self) -> str:
        """The label `alertname`."""
        return self.labels["alertname"]


class AlertGroup(_ApiModel):
    """Alerts that are notified together: one group of one receiver."""

    labels: dict[str, str]
    receiver: Receiver
    alerts: list[Alert]


class Matcher(_ApiModel):
    """One condition of a silence on a label."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class SilenceStatus(_ApiModel):
    """Where a silence is in its life."""

    state: str
    """`pending`, `active` or `expired`."""


class Silence(_ApiModel):
    """A silence (`gettableSilence`)."""

    id: str
    status: SilenceStatus
    matchers: list[Matcher]
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    created_by: str
    comment: str


class ClusterStatus(_ApiModel):
    """The gossip cluster of this instance."""

    status: str
    """`ready`, `settling` or `disabled`."""
    name: str = ""


class VersionInfo(_ApiModel):
    """What is running."""

    version: str


class ConfigSource(_ApiModel):
    """The configuration in use."""

    original: str
    """The YAML that was loaded; secrets are masked."""


class Status(_ApiModel):
    """The state of one Alertmanager (`alertmanagerStatus`)."""

    cluster: ClusterStatus
    config: ConfigSource
    uptime: datetime
    version_info: VersionInfo


class AlertmanagerError(RuntimeError):
    """Alertmanager refused a request.

    Attributes:
        status_code: the HTTP status.
        reason: what Alertmanager said.
    """

    def __init__(self, method: str, url: str, status_code: int, reason: str) -> None:
        super().__init__(f"{method} {url}: {status_code} {reason}")
        self.status_code = status_code
        self.reason = reason


def _rfc3339(moment: datetime) -> str:
    """Write a moment as the API wants it; one without a time zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


class AlertmanagerClient:
    """API v2 of one Alertmanager, narrowed to the alerts that carry certain labels.

    With `labels`, every alert posted carries them, every query is narrowed to them, and every silence matches them.
    Clients with different labels therefore do not see or disturb one another. The client remembers what it made:
    `cleanup` resolves its alerts and expires its silences, and so does leaving the `with` block.

    Args:
        url: base address, for example `http://127.0.0.1:9093`.
        labels: labels of everything that this client sends and sees.
        timeout: seconds that one request may take.

    Raises:
        AlertmanagerError: (all methods) Alertmanager answered with an error.
        requests.RequestException: (all methods) it did not answer.
    """

    def __init__(self, url: str, *, labels: Mapping[str, str] | None = None, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.labels = dict(labels or {})
        self.timeout = timeout
        self._session = direct_session()
        self._posted: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
        self._silences: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.cleanup()
        finally:
            self._session.close()

    # -- the instance ------------------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Tell whether Alertmanager serves requests. An unreachable one is not ready; nothing is raised."""
        try:
            return self._session.get(f"{self.url}/-/ready", timeout=self.timeout).ok
        except requests.RequestException:
            return False

    def status(self) -> Status:
        """Return version, cluster state and the configuration in use."""
        return Status.model_validate(self._call("GET", "/api/v2/status").json())

    def now(self) -> datetime:
        """Return the time by Alertmanager's own clock, in whole seconds that have passed there.

        By a clock that is ahead, as ours may be of a VM's, what ends now would stay active for as long.
        """
        return parsedate_to_datetime(self._call("GET", "/-/ready").headers["Date"])

    def receivers(self) -> list[str]:
        """Return the names of all receivers of the configuration."""
        answer = self._call("GET", "/api/v2/receivers").json()
        return [receiver.name for receiver in TypeAdapter(list[Receiver]).validate_python(answer)]

    def reload(self) -> None:
        """Make Alertmanager read its configuration again.

        Raises:
            AlertmanagerError: the configuration is broken; the previous one stays in use.
        """
        self._call("POST", "/-/reload")

    # -- alerts ------------------------------------------------------------------------------------------------

    def post_alert(
        self,
        alertname: str,
        *,
        severity: str | None = None,
        annotations: Mapping[str, str] | None = None,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
        generator_url: str | None = None,
        **labels: str,
    ) -> dict[str, str]:
        """Post one alert and return its full set of labels.

        Args:
            alertname: the label `alertname`.
            severity: the label `severity`, left out if None.
            annotations: what a person reads.
            starts_at: when it started; Alertmanager takes the time of arrival if None.
            ends_at: when it ends; `resolve_timeout` from now if None.
            generator_url: what caused it.
            labels: further labels.
        """
        full = self._full_labels({"alertname": alertname, **({"severity": severity} if severity else {}), **labels})
        self.post_alerts(
            [
                {
                    "labels": full,
                    "annotations": dict(annotations or {}),
                    **({"startsAt": _rfc3339(starts_at)} if starts_at else {}),
                    **({"endsAt": _rfc3339(ends_at)} if ends_at else {}),
                    **({"generatorURL": generator_url} if generator_url else {}),
                }
            ]
        )
        return full

    def post_alerts(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Post alerts in one request, each a `postableAlert` as the API defines it (`labels` is required)."""
        body = [{**alert, "labels": self._full_labels(alert["labels"])} for alert in alerts]
        # Remembered first: a request that timed out may have arrived.
        for alert in body:
            self._posted[frozenset(alert["labels"].items())] = alert["labels"]
        self._call("POST", "/api/v2/alerts", json=body)

    def resolve(self, *labels: Mapping[str, str]) -> None:
        """End the alerts with exactly these labels (as `post_alert` returns them) now."""
        started = {frozenset(alert.labels.items()): alert.starts_at for alert in self.alerts()}
        now = self.now()
        body = []
        for one in labels:
            full = self._full_labels(one)
            # `now` has whole seconds, and the alert may have started within this one; its start has milliseconds. Both
            # are cut off, not rounded.
            start = started.get(frozenset(full.items()), now)
            end = start + timedelta(milliseconds=1) if now <= start < now + timedelta(seconds=1) else now
            body.append({"labels": full, "endsAt": _rfc3339(end)})
        self._call("POST", "/api/v2/alerts", json=body)

    def alerts(
        self,
        *filters: str,
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        unprocessed: bool = True,
        receiver: str | None = None,
    ) -> list[Alert]:
        """Return the alerts that have not been resolved.

        Args:
            filters: matchers such as `severity="critical"` or `job=~"kafka.*"`, all of which must hold.
            active: include alerts that notify.
            silenced: include alerts that a silence mutes.
            inhibited: include alerts that another alert mutes.
            unprocessed: include alerts that have just arrived.
            receiver: regular expression for the receivers' names.
        """
        params: dict[str, Any] = {
            "filter": [*self._own_filters(), *filters],
            "active": _flag(active),
            "silenced": _flag(silenced),
            "inhibited": _flag(inhibited),
            "unprocessed": _flag(unprocessed),
        }
        if receiver:
            params["receiver"] = receiver
        return TypeAdapter(list[Alert]).validate_python(self._call("GET", "/api/v2/alerts", params=params).json())

    def groups(self, *filters: str, receiver: str | None = None) -> list[AlertGroup]:
        """Return the groups that alerts form, one entry for each group and receiver. Arguments as in `alerts`."""
        params: dict[str, Any] = {"filter": [*self._own_filters(), *filters]}
        if receiver:
            params["receiver"] = receiver
        answer = self._call("GET", "/api/v2/alerts/groups", params=params).json()
        return TypeAdapter(list[AlertGroup]).validate_python(answer)

    # -- silences ----------------------------------------------------------------------------------------------

    def create_silence(
        self,
        *matchers: Matcher,
        duration: timedelta = timedelta(minutes=5),
        comment: str = "created by a test",
        created_by: str = "cdc-workstation",
        starts_at: datetime | None = None,
        **labels: str,
    ) -> str:
        """Create a silence and return its id.

        Args:
            matchers: conditions, all of which must hold.
            duration: how long it lasts.
            comment: why it is there.
            created_by: whose it is.
            starts_at: when it starts, now if None.
            labels: further conditions, each an equality.
        """
        wanted = [*matchers, *(Matcher(name=name, value=value) for name, value in (self.labels | labels).items())]
        start = starts_at or self.now()
        body = {
            "matchers": [matcher.model_dump(by_alias=True) for matcher in wanted],
            "startsAt": _rfc3339(start),
            "endsAt": _rfc3339(start + duration),
            "createdBy": created_by,
            "comment": comment,
        }
        silence_id: str = self._call("POST", "/api/v2/silences", json=body).json()["silenceID"]
        self._silences.add(silence_id)
        return silence_id

    def silence(self, silence_id: str) -> Silence:
        """Return one silence, also when it has expired."""
        return Silence.model_validate(self._call("GET", f"/api/v2/silence/{silence_id}").json())

    def silences(self, *filters: str) -> list[Silence]:
        """Return the silences with such matchers, expired ones among them."""
        params = {"filter": [*self._own_filters(), *filters]}
        return TypeAdapter(list[Silence]).validate_python(self._call("GET", "/api/v2/silences", params=params).json())

    def expire_silence(self, silence_id: str) -> None:
        """End a silence now. One that has ended already is left as it is."""
        try:
            self._call("DELETE", f"/api/v2/silence/{silence_id}")
        except AlertmanagerError as error:
            if "already expired" not in error.reason:
                raise
        self._silences.discard(silence_id)

    # -- the end -----------------------------------------------------------------------------------------------

    def cleanup(self) -> None:
        """Resolve the alerts and expire the silences that this client made."""
        if self._posted:
            self.resolve(*self._posted.values())
            self._posted.clear()
        for silence_id in list(self._silences):
            try:
                self.expire_silence(silence_id)
            except AlertmanagerError as error:
                # Ended and past its retention, or lost with Alertmanager's data: gone either way.
                if error.status_code != requests.codes.not_found:
                    raise

    def _full_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {**labels, **self.labels}

    def _own_filters(self) -> list[str]:
        return [f'{name}="{value}"' for name, value in self.labels.items()]

    def _call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        url = f"{self.url}{path}"
        response = self._session.request(method, url, timeout=self.timeout, **kwargs)
        if not response.ok:
            raise AlertmanagerError(method, url, response.status_code, response.text.strip())
        return response


def _flag(value: bool) -> str:
    return "true" if value else "false"
