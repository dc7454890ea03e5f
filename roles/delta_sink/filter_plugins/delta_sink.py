"""Work out which secrets the sink is given, and which services it waits for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

# The Connect server of the stack, as containers reach it.
STACK_SERVER = "sc://spark-connect:"


def token_secret(engine: str, remote: str, own_token: str, server_asks: bool) -> str:
    """Return the name of the secret with the token for the Connect server; empty if it asks for none.

    A token of the sink's own is for another server. The stack's server has one, if it asks for one (`server_asks`).
    """
    if engine != "spark":
        return ""
    if own_token:
        return "delta_sink_spark_token"
    return "spark_connect_token" if remote.startswith(STACK_SERVER) and server_asks else ""


def sink_secrets(
    passwords: dict[str, str], sources: list[dict[str, Any]], token: str, token_value: str, s3_secret_key: str | None
) -> dict[str, str]:
    """Return the sink's secrets by name: of `passwords` those of the sources, the token, the key to object storage."""
    mounted = {PurePosixPath(source["password_file"]).name for source in sources}
    secrets = {name: value for name, value in passwords.items() if name in mounted}
    if s3_secret_key is not None:
        secrets["minio_password"] = s3_secret_key
    if token:
        secrets[token] = token_value
    return secrets


def sink_needs(services: list[str], engine: str, on_s3: bool) -> list[str]:
    """Return the services of the stack that the sink waits for."""
    needs = {"kafka": "kafka" in services, "minio": on_s3 and "minio" in services}
    needs["spark-connect"] = engine == "spark" and "spark" in services
    return [service for service, needed in needs.items() if needed]


class FilterModule:
    """Filters of this role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"token_secret": token_secret, "sink_secrets": sink_secrets, "sink_needs": sink_needs}
