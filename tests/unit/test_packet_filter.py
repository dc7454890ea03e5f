"""Rules that close the stack to other users of the machine."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def private_rules(load: Callable[[str], ModuleType]) -> Callable[..., list[str]]:
    return load("roles/stack/filter_plugins/packet_filter.py").private_rules


def project(*ports: int, protocol: str = "tcp") -> dict[str, object]:
    """Return a project as compose prints it."""
    published = [{"target": 1, "published": str(port), "protocol": protocol} for port in ports]
    return {"services": {"one": {"ports": published}, "inside": {}}}


def test_the_owner_and_root_come_first(private_rules: Callable[..., list[str]]) -> None:
    assert private_rules(project(9092), "c", "10.0.0.0/24", 1000) == [
        "-A c -m conntrack ! --ctstate NEW -j RETURN",
        "-A c -m owner --uid-owner 0 -j RETURN",
        "-A c -m owner --uid-owner 1000 -j RETURN",
        "-A c -d 10.0.0.0/24 -j REJECT --reject-with icmp-port-unreachable",
        "-A c -d 127.0.0.0/8 -p tcp -m multiport --dports 9092 -j REJECT --reject-with icmp-port-unreachable",
    ]


def test_root_alone_is_named_once(private_rules: Callable[..., list[str]]) -> None:
    assert len([rule for rule in private_rules(project(), "c", "10.0.0.0/24", 0) if "--uid-owner" in rule]) == 1


def test_each_rule_has_as_many_ports_as_the_kernel_takes(private_rules: Callable[..., list[str]]) -> None:
    rules = [rule.split() for rule in private_rules(project(*range(100, 131)), "c", "10.0.0.0/24", 0)]
    ports = [rule[rule.index("--dports") + 1].split(",") for rule in rules if "--dports" in rule]

    assert [len(some) for some in ports] == [15, 15, 1]
    assert [int(port) for some in ports for port in some] == list(range(100, 131))


def test_datagrams_have_rules_of_their_own(private_rules: Callable[..., list[str]]) -> None:
    assert (
        "-p udp -m multiport --dports 12201 "
        in private_rules(project(12201, protocol="udp"), "c", "10.0.0.0/24", 0)[-1]
    )
