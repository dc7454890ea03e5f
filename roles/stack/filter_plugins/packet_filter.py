"""Rules for the packet filter, as `iptables-save` prints them."""

from __future__ import annotations

from typing import Any

# The kernel's match takes no more ports.
PORTS_PER_RULE = 15
REJECT = "-j REJECT --reject-with icmp-port-unreachable"


def private_rules(project: dict[str, Any], chain: str, subnet: str, user: int) -> list[str]:
    """Return the rules of a chain that let one user and root connect to a stack from its own machine.

    Args:
        project: what `docker compose config --format json` prints.
        chain: the chain's name.
        subnet: the range of the stack's network.
        user: the user's id. Root's processes are the engine's proxies, too.
    """
    published = [port for service in project["services"].values() for port in service.get("ports", [])]
    rules = ["-m conntrack ! --ctstate NEW -j RETURN"]
    rules += [f"-m owner --uid-owner {uid} -j RETURN" for uid in sorted({0, user})]
    rules.append(f"-d {subnet} {REJECT}")
    for protocol in ("tcp", "udp"):
        ports = sorted(
            {
                int(port["published"])
                for port in published
                if port.get("published") and port.get("protocol", "tcp") == protocol
            }
        )
        for first in range(0, len(ports), PORTS_PER_RULE):
            listed = ",".join(map(str, ports[first : first + PORTS_PER_RULE]))
            rules.append(f"-d 127.0.0.0/8 -p {protocol} -m multiport --dports {listed} {REJECT}")
    return [f"-A {chain} {rule}" for rule in rules]


class FilterModule:
    """The filters of the role."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"private_rules": private_rules}
