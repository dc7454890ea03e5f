#!/usr/bin/env python3
"""The VM as Vagrant knows it: an Ansible inventory of one host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# The VM is made anew with new keys, and it is reached through this machine's loopback or a network of its own.
SSH_OPTIONS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes"


def forwarded(registry: str) -> str:
    """Return the ssh arguments by which a registry on this machine's loopback is on the VM's, too."""
    port = re.match(r"(?:localhost|127\.0\.0\.1):(\d+)", registry)
    return f"-R 127.0.0.1:{port[1]}:127.0.0.1:{port[1]}" if port else ""


def setting(name: str) -> str:
    """Return a setting of one word, by the environment or by vagrant.yml: any Python can run this, without YAML."""
    told = re.search(rf"^{name}: *['\"]?([^'\"\s]*)", (ROOT / "vagrant.yml").read_text(), re.MULTILINE)
    return os.environ.get(f"CDC_VM_{name.upper()}") or (told[1] if told else "")


def inventory(ssh_config: str, registry: str = "") -> dict[str, Any]:
    """Return the inventory that `vagrant ssh-config` tells, for images that come from `registry`."""
    lines = [line.split(None, 1) for line in ssh_config.splitlines() if line.startswith("  ")]
    ssh = dict(lines)
    # Newer Vagrants know two keys.
    key, *more = [value.strip('"') for name, value in lines if name == "IdentityFile"]
    variables = {
        "ansible_host": ssh["HostName"],
        "ansible_port": int(ssh["Port"]),
        "ansible_user": ssh["User"],
        "ansible_ssh_private_key_file": key,
        "ansible_ssh_common_args": " ".join([SSH_OPTIONS, *(f"-o IdentityFile={other}" for other in more)]),
        "ansible_ssh_extra_args": forwarded(registry),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return {"workstation": {"hosts": ["vm"]}, "_meta": {"hostvars": {"vm": variables}}}


def main() -> int:
    """Print the inventory."""
    if not shutil.which("vagrant"):
        sys.stderr.write("Vagrant is not installed, see docs/vagrant.md.\n")
        return 1
    vagrant = subprocess.run(
        ["vagrant", "ssh-config"],
        cwd=ROOT,
        env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if vagrant.returncode != 0:
        sys.stderr.write(f"vagrant ssh-config: {vagrant.stderr.strip()} (is the VM up? `vagrant up`)\n")
        return 1
    found = inventory(vagrant.stdout, setting("registry"))
    if (ROOT / ".vagrant/machines/workstation/virtualbox/id").exists():
        # VirtualBox forwards to the VM's network card and not to its loopback; only this machine reaches that card.
        found["_meta"]["hostvars"]["vm"]["stack_bind_address"] = "0.0.0.0"  # noqa: S104
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
