"""The inventory that Vagrant's VM is found with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSWER = """Host workstation
  HostName 192.168.121.17
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/me/my keys/one"
  IdentityFile /home/me/.vagrant.d/two
  IdentitiesOnly yes
  LogLevel FATAL
"""


def inventory(root: Path, vagrant: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "inventories/vagrant/vm.py", "--list"],
        env={**os.environ, "PATH": f"{vagrant.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def vagrant(tmp_path: Path) -> Path:
    (tmp_path / "answer").write_text(ANSWER)
    program = tmp_path / "vagrant"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    program.chmod(0o755)
    return program


def test_the_vm_is_the_workstation_as_ssh_finds_it(root: Path, vagrant: Path) -> None:
    answer = json.loads(inventory(root, vagrant).stdout)

    vm = answer["_meta"]["hostvars"]["vm"]
    assert answer["workstation"]["hosts"] == ["vm"]
    assert (vm["ansible_host"], vm["ansible_port"], vm["ansible_user"]) == ("192.168.121.17", 22, "vagrant")
    assert vm["ansible_ssh_private_key_file"] == "/home/me/my keys/one"
    assert "-o IdentityFile=/home/me/.vagrant.d/two" in vm["ansible_ssh_common_args"]


def test_without_a_vm_it_says_what_to_do(root: Path, vagrant: Path) -> None:
    vagrant.write_text("#!/bin/sh\necho 'The VM is not created.' >&2\nexit 1\n")

    run = inventory(root, vagrant)

    assert run.returncode == 1
    assert "The VM is not created. (is the VM up? `vagrant up`)" in run.stderr
