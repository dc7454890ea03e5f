"""The stack's containers, for tests that look into one or restart it."""

from __future__ import annotations

import docker
from docker.models.containers import Container

from cdc_workstation.settings import Settings


def container(settings: Settings, service: str) -> Container:
    """Return the running container of a service.

    Raises:
        ValueError: there is none.
    """
    labels = [
        f"com.docker.compose.project={settings.compose_project_name}",
        f"com.docker.compose.service={service}",
    ]
    [found] = docker.from_env().containers.list(filters={"label": labels})
    return found
