"""Client of Kafka Connect's REST interface: connectors, their state and their offsets.

The role debezium's Ansible module uses this file as well (`roles/debezium/module_utils/kafka_connect.py` is a link to
it) and runs where this package is not installed: it imports nothing but the standard library.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from cdc_workstation.settings import Settings

# pytest's tracebacks end in the test.
__tracebackhide__ = True

_POLL_SECONDS = 0.1
# States in which a connector makes no events until somebody does something about it.
_IDLE = {"FAILED", "PAUSED", "STOPPED"}
# Lines of a Java stack trace: a method, and a package before an exception's name.
_FRAME = re.compile(r"\s+(at |\.\.\. \d+ )")
_PACKAGE = re.compile(r"^(?:\w+\.)+(?=[A-Z]\w*(?:\$\w+)*(?::|$))")
_CAUSE = "Caused by: "


class ConnectError(Exception):
    """Kafka Connect refused a request, or did not answer.

    Attributes:
        status: the HTTP status, 0 where there was no answer.
        message: the reason as Kafka Connect gave it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class ConnectorFailedError(Exception):
    """A connector or one of its tasks is FAILED; the text is the reason that it gave."""


class ConnectClient:
    """The REST interface of one Kafka Connect cluster.

    A call that meets a rebalance (409) is repeated until it is through.

    Args:
        url: base address, for example `http://127.0.0.1:8083`.
        login: user and password; `None` where the interface asks for none.
        timeout: seconds that one request, or the wait for the end of a rebalance, may take.
        patience: seconds for which a call is repeated that a worker does not answer yet.

    Raises:
        ConnectError: (all methods) Kafka Connect answered with an error, or not at all.
    """

    def __init__(
        self, url: str, *, login: tuple[str, str] | None = None, timeout: float = 30.0, patience: float = 0.0
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.patience = patience
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if login is not None:
            # RFC 7617.
            self._headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        # The stack is on this machine or its network: a proxy for the world outside has no part in it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def of(cls, settings: Settings, *, timeout: float = 30.0) -> Self:
        """Return a client of the stack's own Kafka Connect."""
        password = settings.debezium_password.get_secret_value()
        login = (settings.debezium_user, password) if password else None
        return cls(settings.debezium_url or "", login=login, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opener.close()

    def is_ready(self) -> bool:
        """Tell whether the worker serves requests (KIP-1017). An unreachable one is not ready; nothing is raised."""
        return not self.unready()

    def unready(self) -> str:
        """Say why the worker serves no requests; empty if it does. Nothing is raised."""
        try:
            self._call_once("GET", "/health", None)
        except ConnectError as error:
            return str(error)
        return ""

    def connectors(self) -> list[str]:
        """Return the connectors' names."""
        names: list[str] = self._call("GET", "/connectors")
        return names

    def configs(self) -> dict[str, dict[str, str]]:
        """Return the configurations of all connectors by name: one answer, so that none can be gone meanwhile."""
        found = self._call("GET", "/connectors?expand=info")
        return {name: connector["info"]["config"] for name, connector in found.items() if "info" in connector}

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Return the status of all connectors by name, each as `status` does."""
        found = self._call("GET", "/connectors?expand=status")
        return {name: connector["status"] for name, connector in found.items() if "status" in connector}

    def plugins(self) -> dict[str, str]:
        """Return the class names of the installed connectors with their versions."""
        return {plugin["class"]: plugin.get("version", "") for plugin in self._call("GET", "/connector-plugins")}

    def config(self, name: str) -> dict[str, str]:
        """Return a connector's configuration."""
        config: dict[str, str] = self._call("GET", _path(name, "config"))
        return config

    def validate(self, config: Mapping[str, str]) -> dict[str, list[str]]:
        """Let the connector check a configuration; return the errors by key, empty where there are none.

        Debezium's connectors log in to their database to do so.
        """
        kind = quote(config["connector.class"], safe="")
        answer = self._call("PUT", f"/connector-plugins/{kind}/config/validate", dict(config))
        values = [item["value"] for item in answer["configs"] if item["value"]]
        return {value["name"]: value["errors"] for value in values if value["errors"]}

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Register a connector, or give it a new configuration."""
        self._call("PUT", _path(name, "config"), dict(config))

    def create(self, name: str, config: Mapping[str, str], *, state: str = "RUNNING") -> None:
        """Register a new connector, `STOPPED` or `PAUSED` from the beginning where that is wanted (KIP-980)."""
        self._call("POST", "/connectors", {"name": name, "config": dict(config), "initial_state": state})

    def delete(self, name: str) -> None:
        """Remove a connector; one that does not exist is no error."""
        try:
            self._call("DELETE", _path(name))
        except ConnectError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def remove(self, name: str) -> None:
        """Stop a connector, wait until its tasks have ended, and remove it; one that does not exist is no error.

        A connector that is deleted while it runs has a task for a moment still, which may recreate a slot or a topic.

        Raises:
            TimeoutError: its tasks do not end.
        """
        if name in self.connectors():
            self.stop(name)
            self.wait_for(name, "STOPPED")
            self.delete(name)

    def status(self, name: str) -> dict[str, Any]:
        """Return a connector's status: `connector` and `tasks`, each with `state` and, where FAILED, `trace`."""
        status: dict[str, Any] = self._call("GET", _path(name, "status"))
        return status

    def state(self, name: str) -> str:
        """Return one state for a connector with its tasks.

        That of `combined_state`, or `ABSENT` where there is no such connector.
        """
        try:
            status = self.status(name)
        except ConnectError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return "ABSENT"
            raise
        return combined_state(status)

    def wait_for(self, name: str, state: str = "RUNNING", timeout: float = 60.0) -> None:
        """Wait until a connector and all of its tasks are in `state`.

        Raises:
            ConnectorFailedError: it failed; not where `state` is `STOPPED`, which one that failed comes to as well.
            TimeoutError: it is in another state after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (last := self.state(name)) != state:
            if last == "FAILED" and state != "STOPPED":
                raise ConnectorFailedError(f"{name}: {self.failure(name)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is {last} and not {state} after {timeout:.0f} s")
            time.sleep(_POLL_SECONDS)

    def failure(self, name: str) -> str:
        """Return the first trace of a FAILED connector or task, empty where nothing failed."""
        status = self.status(name)
        traces = [
            part.get("trace", "") for part in (status["connector"], *status["tasks"]) if part["state"] == "FAILED"
        ]
        return str(traces[0]) if traces else ""

    def problem(self, name: str) -> str:
        """Say why a connector makes no events, the innermost cause last; empty if it may make some."""
        state = self.state(name)
        if state == "ABSENT":
            return f"connector {name} is not registered; run `make up`"
        if state not in _IDLE:
            return ""
        cause = root_cause(self.failure(name))
        return f"connector {name} is {state}; `make up` starts it again" + (f". {cause}" if cause else "")

    def restart(self, name: str, *, only_failed: bool = False) -> None:
        """Restart a connector with its tasks."""
        flags = f"includeTasks=true&onlyFailed={str(only_failed).lower()}"
        self._call("POST", f"{_path(name, 'restart')}?{flags}")

    def pause(self, name: str) -> None:
        """Pause a connector: its tasks stay, and stop producing."""
        self._call("PUT", _path(name, "pause"))

    def stop(self, name: str) -> None:
        """Stop a connector: its tasks are shut down, its offsets stay (KIP-875)."""
        self._call("PUT", _path(name, "stop"))

    def resume(self, name: str) -> None:
        """Let a paused or stopped connector go on."""
        self._call("PUT", _path(name, "resume"))

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """Return the committed offsets, each with `partition` and `offset`."""
        offsets: list[dict[str, Any]] = self._call("GET", _path(name, "offsets"))["offsets"]
        return offsets

    def reset_offsets(self, name: str) -> None:
        """Forget the offsets of a stopped connector: it takes a new snapshot when it is resumed."""
        self._call("DELETE", _path(name, "offsets"))

    def _call(self, method: str, path: str, body: object = None) -> Any:
        start = time.monotonic()
        while True:
            try:
                return self._call_once(method, path, body)
            except ConnectError as error:
                waited = time.monotonic() - start
                if not (
                    (_is_rebalancing(error) and waited < self.timeout)
                    or (error.status in (0, HTTPStatus.SERVICE_UNAVAILABLE) and waited < self.patience)
                ):
                    raise
            time.sleep(_POLL_SECONDS)

    def _call_once(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(  # noqa: S310 -- the address of the stack's settings
                f"{self.url}{path}", data=data, headers=self._headers, method=method
            )
            with self._opener.open(request, timeout=self.timeout) as answer:
                return _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ConnectError(error.code, self._refusal(error)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ConnectError(0, f"Kafka Connect at {self.url} does not answer ({reason})") from error

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return f"Kafka Connect at {self.url} refuses the login: see DEBEZIUM_USER and DEBEZIUM_PASSWORD"
        text = error.read()
        try:
            return str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            return text.decode(errors="replace")[:500]


def combined_state(status: Mapping[str, Any]) -> str:
    """Return one state for a status of a connector with its tasks.

    `FAILED` where any part failed, the common state where all agree, `STARTING` otherwise or without a task.
    """
    states = {part["state"] for part in (status["connector"], *status["tasks"])}
    if "FAILED" in states:
        return "FAILED"
    if len(states) > 1 or (states == {"RUNNING"} and not status["tasks"]):
        return "STARTING"
    return str(states.pop())


def root_cause(trace: str) -> str:
    """Return the innermost cause of a Java stack trace, its exception without the package; empty if there is none."""
    lines = [line.rstrip() for line in trace.splitlines() if line.strip() and not _FRAME.match(line)]
    starts = [number for number, line in enumerate(lines) if line.startswith(_CAUSE)]
    cause = "\n".join(lines[starts[-1] if starts else 0 :])
    return _PACKAGE.sub("", cause.removeprefix(_CAUSE))


def _parsed(text: bytes) -> Any:
    return json.loads(text) if text else None


def _is_rebalancing(error: ConnectError) -> bool:
    """Tell whether the worker refuses a request for as long as connectors are distributed; not always with 409."""
    return error.status == HTTPStatus.CONFLICT or (error.status > 0 and "rebalance" in error.message)


def _path(name: str, *rest: str) -> str:
    return "/".join(["/connectors", quote(name, safe=""), *rest])
