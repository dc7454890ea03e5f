#!/usr/bin/python
"""Repair containers that do not run what the stack's files say."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_state import Container, Identity, Mount, must_reload, newest, recreation

DOCUMENTATION = """
module: container_repair
short_description: Repair containers that do not run what the stack's files say
description:
  - Compose compares its own labels with its files. It does not see that a mounted directory or a network was removed
    and made again, or that a service never reloaded its configuration. The engine and the services tell.
options:
  project: {type: str, required: true, description: The compose project's name.}
  stack_dir: {type: path, required: true, description: The stack's directory.}
  state:
    type: str
    required: true
    choices: [removed, reloaded]
    description:
      - C(removed) stops and removes containers that must be made again, which the next C(docker compose up) does.
      - C(reloaded) tells services to read their configuration again, and waits until they say that they did.
  timeout: {type: int, default: 30, description: Seconds that a reload may take.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Remove containers that lost a network or a directory
  container_repair: {project: cdc-workstation, stack_dir: /home/me/.local/share/cdc-workstation, state: removed}
"""

RETURN = """
told:
  description: What was repaired, and why.
  type: list
  elements: str
  returned: always
"""

LABEL = "com.docker.compose"
# Directories of several services: Prometheus watches its targets, and a label has the digest of a container's secrets.
SHARED = ("secrets", "targets")
SUCCESS = re.compile(r"^\w+_config_last_reload_success_timestamp_seconds (\S+)", re.MULTILINE)
LAST = re.compile(r"^\w+_config_last_reload_successful (\S+)", re.MULTILINE)


def identity(path: Path) -> Identity | None:
    """Return device and inode of `path`, None where there is nothing or nobody may look."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def content(path: Path) -> bytes | None:
    """Return what a file holds, None where there is none or nobody may look."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def last_change(path: Path) -> float:
    """Return when `path` or anything below it was last changed: content, mode, owner, or name."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return max((found.lstat().st_ctime for found in paths if found.exists()), default=0.0)


def mounts(inspected: dict[str, Any], stack_dir: Path) -> tuple[Mount, ...]:
    """Return what the container sees of the stack's directory; it may write to nothing of that."""
    pid = inspected["State"].get("Pid") or 0
    found = []
    for mount in inspected["Mounts"]:
        source = Path(mount.get("Source", ""))
        if mount["Type"] != "bind" or mount["RW"] or not source.is_relative_to(stack_dir):
            continue
        inside = Path(f"/proc/{pid}/root{mount['Destination']}")
        seen, there = identity(inside), identity(source)
        same = seen != there and source.is_file() and content(inside) == content(source)
        configures = source.relative_to(stack_dir).parts[0] not in SHARED
        found.append(
            Mount(mount["Destination"], seen, there, same, configures, last_change(source) if configures else 0.0)
        )
    return tuple(found)


def container(inspected: dict[str, Any], stack_dir: Path) -> Container:
    """Return what the engine says of a container."""
    labels, state = inspected["Config"]["Labels"], inspected["State"]
    # Nanoseconds, which Python does not read before 3.11.
    started = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", state["StartedAt"]).replace("Z", "+00:00"))
    networks = inspected["NetworkSettings"]["Networks"] or {}
    mode = inspected["HostConfig"]["NetworkMode"]
    return Container(
        service=labels[f"{LABEL}.service"],
        running=state["Status"] == "running",
        started=started.timestamp(),
        reloads=labels.get("cdc-workstation.config-digest") == "reload",
        networks=frozenset(network["NetworkID"] for network in networks.values() if network["NetworkID"]),
        on_host=mode in ("host", "none") or mode.startswith("container:"),
        mounts=mounts(inspected, stack_dir),
    )


class Engine:
    """What the engine has of one project."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._filter = f"label={LABEL}.project={module.params['project']}"

    def run(self, *arguments: str) -> str:
        """Run the docker client and return what it printed; fail with its words."""
        code, out, err = self._module.run_command(["docker", *arguments])
        if code != 0:
            self._module.fail_json(msg=f"docker {' '.join(arguments[:2])} failed: {err.strip() or out.strip()}")
        return str(out)

    def containers(self) -> list[dict[str, Any]]:
        """Return what `docker inspect` says of the services' containers."""
        ids = self.run("ps", "--all", "--quiet", "--filter", self._filter).split()
        inspected = json.loads(self.run("inspect", *ids)) if ids else []
        return [one for one in inspected if one["Config"]["Labels"].get(f"{LABEL}.oneoff") != "True"]

    def networks(self) -> frozenset[str]:
        """Return the ids of all networks: a container may be attached to others than the stack's."""
        return frozenset(self.run("network", "ls", "--no-trunc", "--quiet").split())


def port_inside(inspected: dict[str, Any], health: str) -> str:
    """Return the container's own port for a service's address on the host."""
    address = re.match(r"https?://[^/]+:(\d+)", health)
    published: dict[str, list[dict[str, str]] | None] = inspected["NetworkSettings"]["Ports"] or {}
    for inside, outside in published.items():
        if address and any(one["HostPort"] == address[1] for one in outside or []):
            return inside.removesuffix("/tcp")
    return ""


def loaded(engine: Engine, inspected: dict[str, Any]) -> tuple[float, bool]:
    """Ask a service when it last read its configuration, and whether its last attempt was a success.

    Its container asks: the published port may be out of reach for this process, the engine is not.
    """
    port = port_inside(inspected, inspected["Config"]["Labels"]["cdc-workstation.health"])
    ask = f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    text = engine.run("exec", inspected["Id"], "bash", "-c", ask)
    when, last = SUCCESS.search(text), LAST.search(text)
    return float(when[1]) if when else 0.0, bool(last and float(last[1]) == 1)


def remove(module: AnsibleModule, engine: Engine) -> list[str]:
    """Stop and remove containers that must be made again; return why."""
    networks, told = engine.networks(), []
    for inspected in engine.containers():
        found = container(inspected, Path(module.params["stack_dir"]))
        if reason := recreation(found, networks):
            told.append(f"{found.service} is recreated: {reason}.")
            if not module.check_mode:
                engine.run("stop", inspected["Id"])
                engine.run("rm", "--force", inspected["Id"])
    return told


def reload(module: AnsibleModule, engine: Engine) -> list[str]:
    """Have services read their configuration again where theirs is another; return which."""
    told = []
    for inspected in engine.containers():
        found = container(inspected, Path(module.params["stack_dir"]))
        if not (found.reloads and found.running and inspected["Config"]["Labels"].get("cdc-workstation.health")):
            continue
        if not must_reload(found, *loaded(engine, inspected)):
            continue
        if not module.check_mode:
            # To the container's init and not through the engine, which would take a container that it was told to
            # signal for one that is not to be restarted.
            engine.run("exec", inspected["Id"], "bash", "-c", "kill -HUP 1")
            deadline = time.monotonic() + module.params["timeout"]
            while must_reload(found, *loaded(engine, inspected)):
                if time.monotonic() > deadline:
                    log = engine.run("logs", "--tail", "5", inspected["Id"])
                    module.fail_json(msg=f"{found.service} did not load its new configuration. It says:\n{log}")
                # The signal has no answer; the deadline above ends this.
                time.sleep(0.1)
        told.append(f"{found.service} has loaded the configuration of {time.ctime(newest(found))}.")
    return told


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "stack_dir": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["removed", "reloaded"]},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    # Processes of an engine elsewhere are not those of this machine.
    if module.params["state"] == "removed" and not os.environ.get("DOCKER_HOST", "unix:").startswith("unix:"):
        module.exit_json(changed=False, told=[])
    act = remove if module.params["state"] == "removed" else reload
    told = act(module, Engine(module))
    module.exit_json(changed=bool(told), told=told)


if __name__ == "__main__":
    main()
