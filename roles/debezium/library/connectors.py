#!/usr/bin/python
"""Run the declared connectors on Kafka Connect."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kafka_connect import (
    ConnectClient,
    ConnectError,
    ConnectorFailedError,
    combined_state,
    root_cause,
)

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
  user: {type: str, default: "", description: Whom to log in as; nobody where it is empty.}
  password_file: {type: path, description: The file that holds the user's password.}
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


class RefusedError(Exception):
    """What the user should read."""


class Worker:
    """The Connect worker, with a deadline over all waits."""

    def __init__(self, client: ConnectClient, timeout: int) -> None:
        self.client = client
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    def expired(self) -> bool:
        """Tell whether the deadline has passed."""
        return time.monotonic() > self.deadline

    def validation_errors(self, name: str, config: dict[str, str]) -> list[str]:
        """Return what the connector itself says against a configuration."""
        kind = config["connector.class"]
        try:
            found = self.client.validate({key: value for key, value in config.items() if key != PATIENCE})
        except ConnectError as error:
            installed = self.client.plugins()
            if kind not in installed:
                return [f"{name}: connector.class {kind} is not installed. Installed: {', '.join(sorted(installed))}."]
            return [f"{name}: {error.message}"]
        return [f"{name}: {key}: {' '.join(error.split())}" for key, errors in found.items() for error in errors]

    def wait(self, name: str, wanted: str) -> None:
        """Wait until a connector and its tasks are in the wanted state."""
        try:
            self.client.wait_for(name, wanted, max(self.deadline - time.monotonic(), 0))
        except ConnectorFailedError as error:
            reason = root_cause(self.client.failure(name)) or "it gives no reason; see `docker compose logs debezium`"
            raise RefusedError(f"{name} failed: {reason}") from error
        except TimeoutError as error:
            raise RefusedError(f"{error}; all connectors together have {self.timeout} s.") from error

    def run(self, name: str, config: dict[str, str], existing: bool) -> None:
        """Give a connector a configuration and wait until it runs with it."""
        if existing:
            # A stopped connector has no tasks, so that RUNNING afterwards speaks of the new ones.
            self.client.stop(name)
            self.wait(name, "STOPPED")
        self.client.put(name, config)
        if existing:
            self.client.resume(name)
        self.wait(name, "RUNNING")
        time.sleep(SETTLE_SECONDS)
        self.wait(name, "RUNNING")


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
        raise RefusedError(listed(problems))
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


def apply(module: AnsibleModule, worker: Worker) -> dict:
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
        present = worker.client.configs()
        statuses = worker.client.statuses()
    except ConnectError:
        if module.check_mode:
            # Nothing runs yet: a first start would register all of it.
            return {"changed": bool(wanted), "actions": [f"registered {name}" for name in wanted]}
        raise
    states = {name: combined_state(status) for name, status in statuses.items()}

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
        while (found := worker.validation_errors(name, config)) and time.monotonic() < deadline:
            if worker.expired():
                break
            # Nothing tells that a database has come back: it is asked.
            time.sleep(POLL_SECONDS)
        problems += found
    if problems:
        raise RefusedError(listed(problems))
    if module.check_mode:
        return result

    for name in removed:
        worker.client.delete(name)
    for name in healed:
        if states[name] == "FAILED":
            worker.client.restart(name, only_failed=True)
        else:
            worker.client.resume(name)
    for name, config in changed_ones.items():
        try:
            worker.run(name, config, existing=name in present)
        except (ConnectError, RefusedError) as error:
            raise RefusedError(f"{error}\n{put_back(worker, name, present.get(name))}") from error
    if healed:
        # The state before the restart is still shown for a moment.
        time.sleep(SETTLE_SECONDS)
    for name in wanted:
        worker.wait(name, "RUNNING")
    return result


def put_back(worker: Worker, name: str, previous: dict[str, str] | None) -> str:
    """Undo a change that failed; return what was done as a sentence."""
    if previous is None:
        worker.client.delete(name)
        return f"{name} was removed again."
    try:
        Worker(worker.client, worker.timeout).run(name, previous, existing=True)
    except (ConnectError, RefusedError) as error:
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
            "user": {"type": "str", "default": ""},
            "password_file": {"type": "path"},
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
        required_by={"user": ["password_file"]},
        supports_check_mode=True,
    )
    login = None
    if module.params["user"]:
        login = (module.params["user"], Path(module.params["password_file"]).read_text(encoding="utf-8"))
    timeout = 5 if module.check_mode else module.params["timeout"]
    # A worker that was started a moment ago does not answer yet.
    worker = Worker(ConnectClient(module.params["url"], login=login, patience=timeout), timeout)
    try:
        result = apply(module, worker)
        if module.params["names"]:
            names = json.dumps(sorted(connector["name"] for connector in module.params["connectors"]))
            result["changed"] |= written(module, Path(module.params["names"]), f"{names}\n")
        module.exit_json(**result)
    except (ConnectError, RefusedError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
