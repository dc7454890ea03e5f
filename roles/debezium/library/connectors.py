#!/usr/bin/python
"""Run the declared connectors on Kafka Connect."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = """
module: connectors
short_description: Run the declared connectors on Kafka Connect
description:
  - Registers, updates in place, restarts and resumes connectors until each one and all of its tasks are RUNNING, and
    removes those that this module registered before and that are no longer declared. Others are left alone.
  - Every configuration is validated first, by the connector itself (which tries to log in to its database). When
    one is refused nothing is changed. When a task fails in spite of that, the configuration that ran before is put
    back, or the new connector removed.
  - Its own connectors carry their name under the key C(cdc.workstation.managed) in their configuration.
options:
  url: {type: str, required: true, description: Address of the REST interface.}
  connectors:
    description: The connectors to run.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: The connector's name.}
      config: {type: dict, required: true, description: Its configuration; values are made strings.}
  timeout: {type: int, default: 90, description: Seconds until all of it must be done.}
  names: {type: path, description: A file to which the names of the declared connectors are written, as a JSON list.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Run the declared connectors
  connectors:
    url: http://127.0.0.1:8083
    connectors:
      - name: mysql-cdcdb
        config:
          connector.class: io.debezium.connector.mysql.MySqlConnector
"""

RETURN = """
actions:
  description: What was done, a list of sentences.
  type: list
  returned: always
"""

MARK = "cdc.workstation.managed"
# With it the MySQL driver tries a refused login again and again: right for a task whose database restarts, but who
# validates wants the answer.
PATIENCE = "driver.autoReconnect"
POLL_SECONDS = 0.25
# A task may fail right after it came up; one that ran this long has its connection.
SETTLE_SECONDS = 1.0
# A database elsewhere may be away for a moment, when its connector tries again, too.
AWAY_SECONDS = 20.0
SENSITIVE = re.compile(r"password|secret|credential|token|jaas", re.IGNORECASE)


class ConnectError(Exception):
    """What the user should read."""


class Connect:
    """The REST interface, with a deadline over all calls."""

    def __init__(self, url: str, timeout: int) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    def call(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Return status and parsed answer; wait while the worker starts (no answer, 404 or 503) or rebalances (409)."""
        while True:
            try:
                answer = open_url(
                    f"{self.url}{path}",
                    method=method,
                    data=None if body is None else json.dumps(body),
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    timeout=30,
                    use_proxy=False,
                )
                status, text = answer.status, answer.read()
            except HTTPError as error:
                status, text = error.code, error.read()
                reason = f"{status}: {_message(text)}"
                # A rebalance is a 500, too, if it comes while the request is under way.
                if status not in (409, 503) and "rebalance" not in reason:
                    return status, _parsed(text)
            except (URLError, OSError, ValueError) as error:
                reason = str(getattr(error, "reason", error))
            else:
                return status, _parsed(text)
            if self.expired():
                raise ConnectError(f"Kafka Connect at {self.url} did not answer within {self.timeout} s ({reason}).")
            time.sleep(POLL_SECONDS)

    def expired(self) -> bool:
        """Tell whether the deadline has passed."""
        return time.monotonic() > self.deadline

    def require(self, method: str, path: str, body: object = None) -> object:
        """Return the answer of a call that must succeed."""
        status, answer = self.call(method, path, body)
        if status >= 400:
            raise ConnectError(f"Kafka Connect refused {method} {path}: {_message(answer)}")
        return answer

    def validation_errors(self, name: str, config: dict[str, str]) -> list[str]:
        """Return what the connector itself says against a configuration."""
        kind = config["connector.class"]
        prompt = {key: value for key, value in config.items() if key != PATIENCE}
        status, answer = self.call("PUT", f"/connector-plugins/{quote(kind, safe='')}/config/validate", prompt)
        if status >= 400:
            installed = [plugin["class"] for plugin in self.require("GET", "/connector-plugins")]
            if kind not in installed:
                return [f"{name}: connector.class {kind} is not installed. Installed: {', '.join(sorted(installed))}."]
            return [f"{name}: {_message(answer)}"]
        return [
            f"{name}: {item['value']['name']}: {' '.join(error.split())}"
            for item in answer["configs"]
            # A key that is defined and has no value comes without one.
            if item["value"]
            for error in item["value"]["errors"]
        ]

    def state(self, name: str) -> tuple[str, str]:
        """Return a connector's state, that of its tasks included, and the reason where it is FAILED."""
        status, answer = self.call("GET", f"/connectors/{quote(name, safe='')}/status")
        if status == 404:
            return "UNASSIGNED", ""
        return summary(answer)

    def wait(self, name: str, wanted: str) -> None:
        """Wait until a connector is in the wanted state."""
        state = "unknown"
        while not self.expired():
            state, reason = self.state(name)
            if state == wanted:
                return
            # A connector that is being stopped shows the failure of before until it is.
            if state == "FAILED" and wanted != "STOPPED":
                raise ConnectError(f"{name} failed: {reason}")
            time.sleep(POLL_SECONDS)
        raise ConnectError(f"{name} is {state} and not {wanted} after {self.timeout} s.")

    def run(self, name: str, config: dict[str, str], existing: bool) -> None:
        """Give a connector a configuration and wait until it runs with it."""
        path = f"/connectors/{quote(name, safe='')}"
        if existing:
            # A stopped connector has no tasks, so that RUNNING afterwards speaks of the new ones.
            self.require("PUT", f"{path}/stop")
            self.wait(name, "STOPPED")
        self.require("PUT", f"{path}/config", config)
        if existing:
            self.require("PUT", f"{path}/resume")
        self.wait(name, "RUNNING")
        time.sleep(SETTLE_SECONDS)
        self.wait(name, "RUNNING")


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {"message": text.decode("utf-8", "replace")[:500]}


def _message(answer: object) -> str:
    if isinstance(answer, bytes):
        answer = _parsed(answer)
    return str(answer.get("message", answer)) if isinstance(answer, dict) else str(answer)


def summary(status: dict) -> tuple[str, str]:
    """Reduce a status answer to one state and the reason of a failure."""
    parts = [status["connector"], *status["tasks"]]
    for part in parts:
        if part["state"] == "FAILED":
            return "FAILED", cause(part.get("trace", ""))
    states = {part["state"] for part in parts}
    if states == {"RUNNING"} and not status["tasks"]:
        return "STARTING", ""
    return (states.pop() if len(states) == 1 else "STARTING"), ""


def cause(trace: str) -> str:
    """Return the first line of a Java stack trace, with the innermost cause where that is another one."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    if not lines:
        return "no reason given; see `docker compose logs debezium`"
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return lines[0] if not causes else f"{lines[0]} <- {causes[-1]}"


def as_text(value: object) -> str:
    """Return a configuration value as Kafka Connect keeps it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def desired(connectors: list[dict]) -> dict[str, dict[str, str]]:
    """Return name to configuration of the declared connectors, or raise with everything that is wrong with them."""
    wanted: dict[str, dict[str, str]] = {}
    problems = []
    for connector in connectors:
        name, config = connector["name"], connector["config"]
        if name in wanted:
            problems.append(f"{name} is declared twice.")
        problems += [
            f"{name}: {key} must be a single value; Kafka Connect takes lists as comma-separated text."
            for key, value in config.items()
            if isinstance(value, (dict, list))
        ]
        if not config.get("connector.class"):
            problems.append(f"{name}: connector.class is missing.")
        wanted[name] = {key: as_text(value) for key, value in config.items() if value is not None}
        wanted[name] |= {"name": name, MARK: name}
    if problems:
        raise ConnectError(listed(problems))
    return wanted


def listed(problems: list[str]) -> str:
    """Return problems as the text that the user reads."""
    return "No connector was changed:\n" + "\n".join(f"  - {problem}" for problem in problems)


def masked(config: dict[str, str]) -> dict[str, str]:
    """Return a configuration that may be shown."""
    return {
        key: "********" if SENSITIVE.search(key) and not value.startswith("${") else value
        for key, value in sorted(config.items())
    }


def apply(module: AnsibleModule, connect: Connect) -> dict:
    """Bring the worker to the declared state."""
    wanted = desired(module.params["connectors"])
    for name, config in wanted.items():
        open_secrets = [
            key
            for key, text in config.items()
            if SENSITIVE.search(key) and key.endswith("password") and text and not text.startswith("${")
        ]
        for key in open_secrets:
            module.warn(f"{name}: {key} can be read by everyone who reaches Kafka Connect; use debezium_secrets.")
    try:
        running = connect.require("GET", "/connectors?expand=info&expand=status")
    except ConnectError:
        if module.check_mode:
            # Nothing runs yet: a first start would register all of it.
            return {"changed": bool(wanted), "actions": [f"registered {name}" for name in wanted]}
        raise
    present = {name: entry["info"]["config"] for name, entry in running.items() if "info" in entry}
    states = {name: summary(entry["status"])[0] for name, entry in running.items() if "status" in entry}

    changed_ones = {name: config for name, config in wanted.items() if present.get(name) != config}
    removed = sorted(name for name, config in present.items() if config.get(MARK) == name and name not in wanted)
    healed = sorted(
        name for name in wanted.keys() - changed_ones.keys() if states.get(name) in ("FAILED", "PAUSED", "STOPPED")
    )
    actions = [f"{'updated' if name in present else 'registered'} {name}" for name in changed_ones]
    actions += [f"restarted {name}" for name in healed] + [f"removed {name}" for name in removed]
    diff = [
        {
            "before_header": name,
            "after_header": name,
            "before": masked(present.get(name, {})),
            "after": masked(wanted.get(name, {})),
        }
        for name in [*changed_ones, *removed]
    ]
    result = {"changed": bool(actions), "actions": actions, "diff": diff}

    problems = []
    for name, config in wanted.items():
        # Those that are as they were, too: the password that a configuration names may be another, and a task that
        # cannot log in tries again for ever and is called RUNNING.
        patient = name not in changed_ones and not module.check_mode
        deadline = time.monotonic() + AWAY_SECONDS if patient else 0
        while (found := connect.validation_errors(name, config)) and time.monotonic() < deadline:
            if connect.expired():
                break
            # Nothing tells that a database has come back: it is asked.
            time.sleep(POLL_SECONDS)
        problems += found
    if problems:
        raise ConnectError(listed(problems))
    if module.check_mode:
        return result

    for name in removed:
        connect.require("DELETE", f"/connectors/{quote(name, safe='')}")
    for name in healed:
        path = f"/connectors/{quote(name, safe='')}"
        if states[name] == "FAILED":
            connect.require("POST", f"{path}/restart?includeTasks=true&onlyFailed=true")
        else:
            connect.require("PUT", f"{path}/resume")
    for name, config in changed_ones.items():
        try:
            connect.run(name, config, existing=name in present)
        except ConnectError as error:
            raise ConnectError(f"{error}\n{put_back(connect, name, present.get(name))}") from error
    if healed:
        # The state before the restart is still shown for a moment.
        time.sleep(SETTLE_SECONDS)
    for name in wanted:
        connect.wait(name, "RUNNING")
    return result


def put_back(connect: Connect, name: str, previous: dict[str, str] | None) -> str:
    """Undo a change that failed; return what was done as a sentence."""
    rescue = Connect(connect.url, connect.timeout)
    path = f"/connectors/{quote(name, safe='')}"
    if previous is None:
        rescue.require("DELETE", path)
        return f"{name} was removed again."
    try:
        rescue.run(name, previous, existing=True)
    except ConnectError as error:
        return f"Its configuration of before was put back, but does not run either: {error}"
    return "Its configuration of before was put back and runs."


def written(module: AnsibleModule, path: Path, text: str) -> bool:
    """Write a file in one step where it differs; tell whether it did."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    if not module.check_mode:
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "connectors": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "config": {"type": "dict", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 90},
            "names": {"type": "path"},
        },
        supports_check_mode=True,
    )
    connect = Connect(module.params["url"], 5 if module.check_mode else module.params["timeout"])
    try:
        result = apply(module, connect)
        if module.params["names"]:
            names = json.dumps(sorted(connector["name"] for connector in module.params["connectors"]))
            result["changed"] |= written(module, Path(module.params["names"]), f"{names}\n")
        module.exit_json(**result)
    except ConnectError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
