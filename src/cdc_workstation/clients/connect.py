"""Client of Kafka Connect's REST interface: connectors, their state and their offsets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import requests
from tenacity import Retrying, retry_if_exception, retry_if_result, stop_after_delay, wait_fixed

_REBALANCING = 409
# States in which a connector makes no events until somebody does something about it.
_IDLE = {"FAILED", "PAUSED", "STOPPED"}
# Lines of a Java stack trace: a method, and a package before an exception's name.
_FRAME = re.compile(r"\s+(at |\.\.\. \d+ )")
_PACKAGE = re.compile(r"^(?:\w+\.)+(?=[A-Z]\w*(?:\$\w+)*(?::|$))")
_CAUSE = "Caused by: "


class ConnectError(Exception):
    """Kafka Connect refused a request.

    Attributes:
        status: the HTTP status.
        message: the reason as Kafka Connect gave it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class ConnectorFailedError(Exception):
    """A connector or one of its tasks is FAILED; the text is the reason that it gave."""


class ConnectClient:
    """The REST interface of one Kafka Connect cluster.

    A call that meets a rebalance (409) is repeated until it is through.

    Args:
        url: base address, for example `http://127.0.0.1:8083`.
        timeout: seconds that one request, or the wait for the end of a rebalance, may take.

    Raises:
        ConnectError: (all methods) Kafka Connect answered with an error.
        requests.RequestException: (all methods) it did not answer.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = requests.Session()
        # The stack is on this machine or its network: a proxy for the world outside has no part in it.
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def is_ready(self) -> bool:
        """Tell whether the worker serves requests (KIP-1017). An unreachable one is not ready; nothing is raised."""
        try:
            return self._session.get(f"{self.url}/health", timeout=self.timeout).ok
        except requests.RequestException:
            return False

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
            if error.status != requests.codes.not_found:
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

        `FAILED` where any part failed, the common state where all agree, `STARTING` otherwise or where there is no
        task yet, `ABSENT` where there is no such connector.
        """
        try:
            status = self.status(name)
        except ConnectError as error:
            if error.status == requests.codes.not_found:
                return "ABSENT"
            raise
        states = {part["state"] for part in (status["connector"], *status["tasks"])}
        if "FAILED" in states:
            return "FAILED"
        if len(states) > 1 or (states == {"RUNNING"} and not status["tasks"]):
            return "STARTING"
        return str(states.pop())

    def wait_for(self, name: str, state: str = "RUNNING", timeout: float = 60.0) -> None:
        """Wait until a connector and all of its tasks are in `state`.

        Raises:
            ConnectorFailedError: it failed; not where `state` is `STOPPED`, which one that failed comes to as well.
            TimeoutError: it is in another state after `timeout` seconds.
        """
        ends = {state} if state == "STOPPED" else {state, "FAILED"}
        last = Retrying(
            retry=retry_if_result(lambda found: found not in ends),
            stop=stop_after_delay(timeout),
            wait=wait_fixed(0.1),
            retry_error_callback=lambda attempt: attempt.outcome.result() if attempt.outcome else None,
        )(self.state, name)
        if last == state:
            return
        if last in ends:
            raise ConnectorFailedError(f"{name}: {self.failure(name)}")
        raise TimeoutError(f"{name} is {last} and not {state} after {timeout:.0f} s")

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
        return Retrying(
            retry=retry_if_exception(_is_rebalancing),
            stop=stop_after_delay(self.timeout),
            wait=wait_fixed(0.1),
            reraise=True,
        )(self._call_once, method, path, body)

    def _call_once(self, method: str, path: str, body: object) -> Any:
        response = self._session.request(method, f"{self.url}{path}", json=body, timeout=self.timeout)
        if response.status_code >= requests.codes.bad_request:
            try:
                message = str(response.json().get("message", response.text))
            except ValueError:
                message = response.text
            raise ConnectError(response.status_code, message)
        return response.json() if response.content else None


def root_cause(trace: str) -> str:
    """Return the innermost cause of a Java stack trace, its exception without the package; empty if there is none."""
    lines = [line.rstrip() for line in trace.splitlines() if line.strip() and not _FRAME.match(line)]
    starts = [number for number, line in enumerate(lines) if line.startswith(_CAUSE)]
    cause = "\n".join(lines[starts[-1] if starts else 0 :])
    return _PACKAGE.sub("", cause.removeprefix(_CAUSE))


def _is_rebalancing(error: BaseException) -> bool:
    """Tell whether the worker refuses a request for as long as connectors are distributed; not always with 409."""
    return isinstance(error, ConnectError) and (error.status == _REBALANCING or "rebalance" in str(error))


def _path(name: str, *rest: str) -> str:
    return "/".join(["/connectors", quote(name, safe=""), *rest])
