"""Decide which containers do not run what the stack's files say, from what the engine and services report.

Pure: plain data in, a reason out. What the last run wrote, or meant to do, plays no part: it may have failed, and
people remove networks and directories by hand.
"""

from __future__ import annotations

from typing import NamedTuple

Identity = tuple[int, int]


class Mount(NamedTuple):
    """Something of the host that a container sees.

    Attributes:
        destination: its path in the container.
        inside: device and inode that the container sees, None where nobody may look.
        outside: device and inode that are at the path on the host now, None where there is nothing.
        same: whether both have the same content; only asked for files.
        configures: whether it is the service's own rendered configuration.
        changed: when it, or anything below it, was last changed on the host: seconds since the epoch.
    """

    destination: str
    inside: Identity | None
    outside: Identity | None
    same: bool = False
    configures: bool = False
    changed: float = 0.0


class Container(NamedTuple):
    """A container of the stack.

    Attributes:
        service: the service's name in the project.
        running: whether it runs; one that does not finds everything again when it is started.
        started: when it was started: seconds since the epoch.
        reloads: whether it reads its configuration again when it is told to.
        networks: the ids of the networks that it is attached to.
        on_host: whether it has the host's network and none of the stack's.
        mounts: what it sees of the host.
    """

    service: str
    running: bool
    started: float
    reloads: bool
    networks: frozenset[str]
    on_host: bool
    mounts: tuple[Mount, ...]


def recreation(container: Container, networks: frozenset[str]) -> str:
    """Return why a container must be made again, empty where it need not be.

    Args:
        container: the container.
        networks: the ids of the networks that the stack has now.
    """
    if not container.on_host and container.networks - networks:
        return "its network was removed"
    if not container.on_host and not container.networks:
        return "it is attached to no network"
    if not container.running:
        return ""
    for mount in container.mounts:
        if mount.inside is not None and mount.inside != mount.outside and not mount.same:
            return f"{mount.destination} was replaced on the host"
    if not container.reloads and newest(container) > container.started:
        return "its configuration changed after it was started"
    return ""


def newest(container: Container) -> float:
    """Return when the container's configuration was last changed: seconds since the epoch."""
    return max((mount.changed for mount in container.mounts if mount.configures), default=0.0)


def must_reload(container: Container, loaded: float, successful: bool) -> bool:
    """Tell whether a service runs another configuration than its files have.

    Args:
        container: its container.
        loaded: when it last read them with success, as it says itself: seconds since the epoch.
        successful: whether its last attempt was one.
    """
    return container.running and container.reloads and (not successful or newest(container) > loaded)
