#!/usr/bin/python
"""Start the engine where systemd is not the init."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: docker_daemon
short_description: Start the engine where systemd is not the init
description:
  - Tries the init script and, where that fails (it may not raise limits in a container, for example), starts
    C(dockerd) directly. What happened is in O(log).
  - Then removes the bridges of networks that the engine does not know, which an engine left whose data is gone. Their
    routes would lead packets of new networks astray. Where another engine runs on the host, they stay.
options:
  timeout: {type: int, default: 60, description: Seconds until the engine answers.}
  log: {type: path, default: /var/log/dockerd.log, description: The log of an engine that is started directly.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Start the engine itself
  docker_daemon:
  become: true
"""

RETURN = """
started_by: {description: C(service) or C(dockerd)., type: str, returned: changed}
removed_bridges: {description: Bridges that an earlier engine had left., type: list, elements: str, returned: changed}
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PROXIES = {"http_proxy", "https_proxy", "no_proxy"}
PID_FILE = Path("/var/run/docker.pid")
SIOCSIFFLAGS, SIOCBRDELBR = 0x8914, 0x89A1
ENGINE_BRIDGE = re.compile(r"br-[0-9a-f]{12}")


def remove_stale_pid_file() -> None:
    """Remove the pid file of an engine that was killed: its number may belong to another process by now."""
    try:
        name = Path("/proc", PID_FILE.read_text().strip(), "comm").read_text().strip()
    except FileNotFoundError:
        name = ""
    if name != "dockerd":
        PID_FILE.unlink(missing_ok=True)


def engines_running() -> bool:
    """Tell whether any engine runs on this host, on whichever socket."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "dockerd":
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def remove_bridge(name: str) -> None:
    """Take a bridge down and delete it (netdevice(7), linux/sockios.h), with no need for iproute2 on the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
        fcntl.ioctl(control, SIOCBRDELBR, struct.pack("16s", name.encode()))


def remove_orphaned_bridges(module: AnsibleModule) -> list[str]:
    """Remove and return the bridges whose networks the engine does not know."""
    code, out, _ = module.run_command(["docker", "network", "ls", "--no-trunc", "--quiet"])
    if code != 0:
        return []
    known = {f"br-{network[:12]}" for network in out.split()}
    orphaned = sorted({path.parent.name for path in Path("/sys/class/net").glob("br-*/bridge")} - known)
    orphaned = [name for name in orphaned if ENGINE_BRIDGE.fullmatch(name)]
    for name in orphaned:
        remove_bridge(name)
    return orphaned


def answers(module: AnsibleModule) -> bool:
    """Tell whether the engine answers."""
    return bool(module.run_command(["docker", "version", "--format", "{{.Server.Version}}"])[0] == 0)


def wait(module: AnsibleModule, deadline: float, process: subprocess.Popen[bytes] | None) -> bool:
    """Wait until the engine answers; give up at the deadline or when its process ended."""
    while time.monotonic() < deadline:
        if answers(module):
            return True
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.25)
    return False


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "timeout": {"type": "int", "default": 60},
            "log": {"type": "path", "default": "/var/log/dockerd.log"},
        },
        supports_check_mode=True,
    )
    if answers(module):
        module.exit_json(changed=False)
    if module.check_mode:
        module.exit_json(changed=True)
    alone = not engines_running()

    def report(started_by: str) -> None:
        removed = remove_orphaned_bridges(module) if alone else []
        module.exit_json(changed=True, started_by=started_by, removed_bridges=removed)

    # A script that fails leaves no engine behind, and one that claims success may have none either: both are asked.
    if Path("/etc/init.d/docker").exists() and shutil.which("service", path=PATH):
        code, _, _ = module.run_command(["service", "docker", "start"])
        if code == 0 and wait(module, time.monotonic() + module.params["timeout"] / 3, None):
            report("service")
    remove_stale_pid_file()
    # The engine pulls and pushes through the same proxies as its user.
    proxies = {name: value for name, value in os.environ.items() if name.lower() in PROXIES}
    with Path(module.params["log"]).open("ab") as log:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            env={"PATH": PATH, **proxies},
        )
    if not wait(module, time.monotonic() + module.params["timeout"], process):
        tail = "\n".join(Path(module.params["log"]).read_text(errors="replace").splitlines()[-15:])
        module.fail_json(msg=f"The engine did not start. The end of {module.params['log']}:\n{tail}")
    report("dockerd")


if __name__ == "__main__":
    main()
