"""Judge what the engine has already: whose stack this is, and who uses its ports and tables.

Pure: what `docker inspect` prints in, sentences out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

Container = Mapping[str, Any]
PROJECT = "com.docker.compose.project"
DIRECTORY = "com.docker.compose.project.working_dir"


def labels(container: Container) -> Mapping[str, str]:
    """Return the labels of a container."""
    return container["Config"].get("Labels") or {}


def published(containers: Iterable[Container]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return (protocol, port) to (container, project) for what running containers publish, or have on the host."""
    held = {}
    for container in containers:
        host = container["HostConfig"]
        if not container.get("State", {}).get("Running", True):
            continue
        holder = container["Name"].lstrip("/"), labels(container).get(PROJECT, "")
        # `<port>/<protocol>` inside to where it is published.
        bindings = (host.get("PortBindings") or {}).items()
        ports = [(inside, binding["HostPort"]) for inside, outside in bindings for binding in outside or []]
        if host.get("NetworkMode") == "host":
            # Nothing is published: what it listens on is what it says that it exposes.
            ports += [(inside, inside.partition("/")[0]) for inside in container["Config"].get("ExposedPorts") or {}]
        held.update({(inside.partition("/")[2] or "tcp", int(port)): holder for inside, port in ports if port})
    return held


def owner_problems(containers: Iterable[Container], project: str, stack_dir: str) -> list[str]:
    """Say when the project's containers were started from another directory: they are another stack."""
    directories = {
        labels(container)[DIRECTORY]
        for container in containers
        if labels(container).get(PROJECT) == project and labels(container).get(DIRECTORY)
    }
    others = sorted(directories - {stack_dir})
    if not others:
        return []
    return [
        f"stack_project {project!r} is running from {', '.join(others)}, and stack_dir is {stack_dir!r}; set stack_dir "
        "to that, or give this stack a stack_project (and ports and a stack_network_subnet) of its own."
    ]


def table_problems(containers: Iterable[Container], project: str, tables_dir: str) -> list[str]:
    """Say when another stack's containers use the directory of the tables: `make destroy` deletes all of it."""
    users = set()
    for container in containers:
        other = labels(container).get(PROJECT, project)
        sources = [mount.get("Source", "") for mount in container.get("Mounts") or [] if mount.get("Type") == "bind"]
        if other != project and any(lies_in(source, tables_dir) for source in sources):
            users.add(other)
    return [
        f"stack_delta_tables_dir {tables_dir!r} holds the tables of the stack {user}; use a directory of its own."
        for user in sorted(users)
    ]


def lies_in(path: str, directory: str) -> bool:
    """Tell whether `path` is `directory` or lies in it."""
    return path.startswith("/") and posixpath.commonpath([path, directory]) == directory
