"""The inventory that Vagrant's VM is found with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "inventories/vagrant/vm.py"
# What Vagrant 2.4 prints, which knows two keys.
SSH_CONFIG = """Host workstation
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


@pytest.fixture
def vm(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("inventories/vagrant/vm.py")


def test_the_vm_is_the_workstation_as_ssh_finds_it(vm: ModuleType) -> None:
    found = vm.inventory(SSH_CONFIG)

    variables = found["_meta"]["hostvars"]["vm"]
    assert found["workstation"]["hosts"] == ["vm"]
    assert (variables["ansible_host"], variables["ansible_port"]) == ("192.168.121.17", 22)
    assert variables["ansible_user"] == "vagrant"
    assert variables["ansible_ssh_private_key_file"] == "/home/me/my keys/one"
    assert "-o IdentityFile=/home/me/.vagrant.d/two" in variables["ansible_ssh_common_args"]


def test_without_vagrant_it_says_so(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, PROGRAM, "--list"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stderr) == (1, "Vagrant is not installed, see docs/vagrant.md.\n")


@pytest.mark.parametrize(
    ("registry", "arguments"),
    [
        ("", ""),
        ("localhost:5000/team", "-R 127.0.0.1:5000:127.0.0.1:5000"),
        ("registry.example:5000/team", ""),
    ],
)
def test_a_registry_on_this_machines_loopback_is_forwarded(vm: ModuleType, registry: str, arguments: str) -> None:
    found = vm.inventory(SSH_CONFIG, registry)

    assert found["_meta"]["hostvars"]["vm"]["ansible_ssh_extra_args"] == arguments


def test_settings_are_read_from_the_environment_first(vm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_VM_PROFILE", raising=False)
    monkeypatch.setenv("CDC_VM_REGISTRY", "localhost:5000/team")

    assert (vm.setting("profile"), vm.setting("registry")) == ("full", "localhost:5000/team")


def test_the_ports_of_each_profile_are_forwarded() -> None:
    def ports(role: str) -> set[int]:
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text()) or {}
        # Vagrant's way through ssh has no UDP, and a stack by itself no cluster of Alertmanagers.
        left_out = {"loki_gelf_udp_port", "alertmanager_cluster_port"}
        return {value for name, value in defaults.items() if name.endswith("_port") and name not in left_out}

    forwarded = yaml.safe_load((ROOT / "vagrant.yml").read_text())["ports"]
    profiles = yaml.safe_load((ROOT / "inventories/vagrant/group_vars/all/main.yml").read_text())["vm_profiles"]

    assert set(forwarded) == set(profiles)
    assert set(forwarded["full"]) == set().union(*(ports(path.name) for path in (ROOT / "roles").iterdir()))
    assert set(forwarded["small"]) == set().union(*(ports(role) for role in profiles["small"]["services"]))
