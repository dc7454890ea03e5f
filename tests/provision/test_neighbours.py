"""A machine beside this one, which has a route to the stack's network: a network namespace."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import SmallStack, docker

NAMESPACE = "cdc-neighbour"
# For documentation (RFC 5737): nobody's network.
HERE, THERE = "198.51.100.1", "198.51.100.2"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
PLAYBOOK = """
- hosts: workstation
  gather_facts: true
  gather_subset: ["!all", "!min", user]
  tasks:
    - ansible.builtin.include_role:
        name: stack
        tasks_from: firewall
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command; what it printed is part of the result."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rules(stack: SmallStack) -> list[str]:
    """Return the rules that carry the stack's name."""
    listed = run("iptables", "--table", "raw", "--list-rules", "PREROUTING")
    assert listed.returncode == 0, listed.stderr
    return [line for line in listed.stdout.splitlines() if f"stack-{stack.variables['stack_project']} " in line]


def addresses(stack: SmallStack) -> list[tuple[str, int]]:
    """Return address and port inside of everything that is published."""
    found = json.loads(docker("inspect", *(identity for identity, _ in stack.containers().values())))
    return [
        (network["IPAddress"], int(port.partition("/")[0]))
        for container in found
        for network in container["NetworkSettings"]["Networks"].values()
        for port, bindings in container["NetworkSettings"]["Ports"].items()
        if bindings
    ]


@pytest.fixture
def neighbour(small_stack: SmallStack) -> Iterator[tuple[str, ...]]:
    """The beginning of a command that runs on the other machine."""
    subnet = small_stack.variables["stack_network_subnet"]
    steps = [
        f"ip netns add {NAMESPACE}",
        f"ip link add {NAMESPACE} type veth peer name eth0 netns {NAMESPACE}",
        f"ip address add {HERE}/30 dev {NAMESPACE}",
        f"ip link set {NAMESPACE} up",
        f"ip -n {NAMESPACE} address add {THERE}/30 dev eth0",
        f"ip -n {NAMESPACE} link set eth0 up",
        f"ip -n {NAMESPACE} route add {subnet} via {HERE}",
    ]
    try:
        for step in steps:
            done = run(*step.split())
            assert done.returncode == 0, done.stderr
        yield ("ip", "netns", "exec", NAMESPACE)
    finally:
        run("ip", "link", "delete", NAMESPACE)
        run("ip", "netns", "delete", NAMESPACE)


def test_a_neighbour_reaches_no_container(small_stack: SmallStack, neighbour: tuple[str, ...]) -> None:
    published = addresses(small_stack)

    assert published
    for address, port in published:
        socket.create_connection((address, port), 5).close()
        tried = run(*neighbour, "python3", "-c", CONNECT, address, str(port))
        assert "TimeoutError" in tried.stderr, f"{address}:{port} {tried.stderr or 'is open'}"


def test_the_rule_is_there_once_and_goes_with_the_stack(small_stack: SmallStack, tmp_path: Path) -> None:
    assert small_stack.converge().changed == 0
    [rule] = rules(small_stack)
    playbook = tmp_path / "firewall.yml"
    playbook.write_text(PLAYBOOK)

    # As `make destroy` does.
    forgotten = small_stack.converge(str(playbook), __stack_firewall="removed")
    assert forgotten.code == 0, forgotten.output
    assert rules(small_stack) == []

    # The network of before and that of now.
    moved = {"__stack_firewall": "kept", "stack_network_subnet": "172.30.252.0/24"}
    assert small_stack.converge(str(playbook), **moved).code == 0
    assert small_stack.converge(str(playbook), __stack_firewall="kept").code == 0
    assert rules(small_stack) == [rule]


def test_a_packet_filter_that_cannot_be_changed_is_no_failure(small_stack: SmallStack) -> None:
    powerless = replace(small_stack, wrapper=("setpriv", "--bounding-set=-net_admin"))

    outcome = powerless.converge()

    assert outcome.code == 0, outcome.output
    assert "packet filter of this machine cannot be changed" in " ".join(outcome.output.split())


def test_a_private_stack_is_closed_to_other_users(small_stack: SmallStack) -> None:
    # A shell, since this Python may be out of another user's reach.
    stranger = ("setpriv", "--reuid=65534", "--clear-groups", "bash", "-c", 'exec 3<>"/dev/tcp/$0/$1"')
    doors = [("127.0.0.1", small_stack.variables[name]) for name in ("webhook_receiver_port", "alertmanager_port")]
    doors += addresses(small_stack)

    try:
        private = small_stack.converge(stack_private=True)
        assert private.code == 0, private.output
        for address, port in doors:
            socket.create_connection((address, port), 5).close()
            tried = run(*stranger, address, str(port))
            assert "Connection refused" in tried.stderr, f"{address}:{port} {tried.stderr or 'is open'}"
        assert small_stack.converge(stack_private=True).changed == 0
    finally:
        assert small_stack.converge().code == 0

    assert [run(*stranger, address, str(port)).returncode for address, port in doors] == [0] * len(doors)


def test_tables_of_a_private_stack_are_closed_to_other_users(small_stack: SmallStack, tmp_path: Path) -> None:
    tables, playbook = tmp_path / "tables", tmp_path / "tables.yml"
    playbook.write_text(PLAYBOOK.replace("firewall", "shared"))
    directories = {"__stack_shared": [str(tables)], "stack_delta_tables_dir": str(tables)}

    modes = []
    for private in (False, True, False):
        outcome = small_stack.converge(str(playbook), stack_private=private, **directories)
        assert outcome.code == 0, outcome.output
        modes.append(tables.stat().st_mode & 0o007)

    assert modes == [0o005, 0, 0o005]
