#!/usr/bin/python
"""Collect the last log lines of the project's services that are not healthy."""

from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: last_words
short_description: Collect the last log lines of the project's services that are not healthy
description:
  - M(community.docker.docker_container_info) knows a container's state; no module reads logs or events, and after a
    restart only an event tells that the kernel ended a container for its memory.
options:
  project: {type: str, required: true, description: The compose project's name.}
  lines: {type: int, default: 15, description: How many lines a service.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Collect the last words of services that are not healthy
  last_words: {project: cdc-workstation}
"""

RETURN = """
services:
  description: Name, container, state and log of every service that is not running or not healthy.
  type: list
  elements: dict
  returned: always
"""


def killed_for_memory(module: AnsibleModule, container: str) -> bool:
    """Tell whether the kernel killed it lately: once it was started again, its state no longer says so."""
    window = ["--since", "15m", "--until", "0s"]
    _, out, _ = module.run_command(
        ["docker", "events", *window, "--filter", f"container={container}", "--filter=event=oom"]
    )
    return bool(out.strip())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"project": {"type": "str", "required": True}, "lines": {"type": "int", "default": 15}},
        supports_check_mode=True,
    )
    listing = [
        "docker",
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label=com.docker.compose.project={module.params['project']}",
    ]
    _, ids, _ = module.run_command(listing, check_rc=True)
    services = []
    containers = (
        json.loads(module.run_command(["docker", "inspect", *ids.split()], check_rc=True)[1]) if ids.split() else []
    )
    for container in containers:
        state = container["State"]
        health = state.get("Health", {}).get("Status", "healthy")
        if state["Status"] == "running" and health == "healthy":
            continue
        _, out, err = module.run_command(["docker", "logs", "--tail", str(module.params["lines"]), container["Id"]])
        described = state["Status"] if state["Status"] != "running" else health
        if state["Status"] == "exited":
            described = f"exited with code {state['ExitCode']}"
        if container.get("RestartCount"):
            described += f" after {container['RestartCount']} restart(s)"
        if state["OOMKilled"] or killed_for_memory(module, container["Id"]):
            described += ", out of memory"
        log = (out + err).strip() or "(nothing)"
        if health == "unhealthy":
            probes = [probe["Output"].strip() for probe in state["Health"]["Log"] if probe["ExitCode"] != 0]
            log += f"\nIts health check says: {probes[-1]}" if probes else ""
        services.append(
            {
                "name": container["Config"]["Labels"]["com.docker.compose.service"],
                "container": container["Id"],
                "state": described,
                "log": log,
            }
        )
    module.exit_json(changed=False, services=services)


if __name__ == "__main__":
    main()
