#!/usr/bin/python
"""Say what there is of an engine on this host."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: docker_state
short_description: Say what there is of an engine on this host
description:
  - M(community.docker.docker_host_info) fails if there is no engine or none that this user may talk to; which of the
    two it is, and whether the client has compose and buildx, decides what is installed, started or allowed.
options:
  programs: {type: list, elements: str, default: [], description: Other programs to look for.}
  socket: {type: path, default: /var/run/docker.sock, description: The engine's socket.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Look at what is there
  docker_state:
"""

RETURN = """
running: {description: Whether an engine answers or owns the socket., type: bool, returned: always}
usable: {description: Whether this user can talk to it., type: bool, returned: always}
cli: {description: Whether there is a client., type: bool, returned: always}
daemon: {description: Whether there is an engine to start or one that runs., type: bool, returned: always}
compose: {description: Whether the client has compose v2., type: bool, returned: always}
buildx: {description: Whether the client has buildx., type: bool, returned: always}
init: {description: C(systemd) where that is the init, else C(other)., type: str, returned: always}
missing_programs: {description: Those of O(programs) that are not there., type: list, elements: str, returned: always}
"""


def listening(path: str) -> bool:
    """Tell whether a process listens on the socket; one that may not be used by this user listens too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    cli = shutil.which("docker") is not None
    # DOCKER_HOST or a context may name another engine than the socket: what the client reaches is what is used.
    usable = cli and module.run_command(["docker", "version", "--format", "{{.Server.Version}}"])[0] == 0
    running = usable or listening(module.params["socket"])
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    module.exit_json(
        changed=False,
        running=running,
        usable=usable,
        cli=cli,
        daemon=running or shutil.which("dockerd", path=path) is not None,
        compose=cli and module.run_command(["docker", "compose", "version"])[0] == 0,
        buildx=cli and module.run_command(["docker", "buildx", "version"])[0] == 0,
        init="systemd" if Path("/run/systemd/system").is_dir() else "other",
        missing_programs=[name for name in module.params["programs"] if not shutil.which(name, path=path)],
    )


if __name__ == "__main__":
    main()
