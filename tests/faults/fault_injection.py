"""Fault injection: what kills, pauses and restarts services of the stack, and what changes rows meanwhile."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import docker
import mysql.connector
import psycopg
from captured import CapturedTable, until
from docker.models.containers import Container

from cdc_workstation.settings import Settings, connection_file

# A JVM that starts on a busy machine.
HEALTHY_SECONDS = 240.0
LOST = (mysql.connector.Error, psycopg.Error)


class Stack:
    """The containers of the stack, for faults."""

    def __init__(self, settings: Settings) -> None:
        self._engine = docker.from_env()
        self._project = settings.compose_project_name
        self.directory = connection_file().parent

    def container(self, service: str) -> Container:
        """Return a service's container, running or not."""
        labels = [f"com.docker.compose.project={self._project}", f"com.docker.compose.service={service}"]
        [found] = self._engine.containers.list(all=True, filters={"label": labels})
        return found

    def kill(self, service: str) -> None:
        """Kill all processes of a service (SIGKILL)."""
        self.container(service).kill("SIGKILL")

    def start(self, service: str) -> None:
        """Start a service again and wait until it is healthy."""
        self.container(service).start()
        self.wait_for(service)

    def restart(self, service: str) -> None:
        """Stop a service as `docker stop` does, and start it again."""
        self.container(service).restart(timeout=30)
        self.wait_for(service)

    @contextmanager
    def paused(self, service: str) -> Iterator[None]:
        """Freeze all processes of a service (SIGSTOP) while the block runs."""
        self.container(service).pause()
        try:
            yield
        finally:
            self.container(service).unpause()
        self.wait_for(service)

    def recover(self, services: Sequence[str]) -> None:
        """Bring services back that a test left stopped or paused."""
        for service in services:
            container = self.container(service)
            if container.status == "paused":
                container.unpause()
            elif container.status != "running":
                container.start()
        for service in services:
            self.wait_for(service)

    def wait_for(self, service: str) -> None:
        """Wait until a service is healthy."""

        def health() -> str:
            state = self.container(service).attrs["State"]
            return f"{state['Status']}, {state.get('Health', {}).get('Status')}"

        until(lambda: health() == "running, healthy", lambda: f"{service} is {health()}", HEALTHY_SECONDS)

    def compose(self, *arguments: str) -> None:
        """Run `docker compose` in the stack's directory."""
        subprocess.run(["docker", "compose", *arguments], cwd=self.directory, check=True, capture_output=True)


class Writer:
    """Changes rows of a table until it is stopped; it connects again when the database goes away."""

    def __init__(self, table: CapturedTable, connect: Callable[[], Any]) -> None:
        self._table, self._connect = table, connect
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.written = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop after the change that is being written."""
        self._stopping.set()
        self._thread.join(60)

    def wait_for(self, more: int) -> None:
        """Wait until so many more changes were written."""
        target = self.written + more
        until(
            lambda: self.written >= target, lambda: f"{self.written} of {target} changes were written", HEALTHY_SECONDS
        )

    def _write(self) -> None:
        connection = None
        name = self._table.source
        number = 0
        while not self._stopping.wait(0.02):
            number += 1
            try:
                connection = connection or self._connect()
                cursor = connection.cursor()
                key = number % 40
                if number % 7 == 0:
                    cursor.execute(f"DELETE FROM {name} WHERE id = %s", (key,))
                elif number % 11 == 0:
                    cursor.execute(f"UPDATE {name} SET id = %s WHERE id = %s", (1000 + number, key))
                else:
                    cursor.execute(f"DELETE FROM {name} WHERE id = %s", (100 + key,))
                    cursor.execute(f"UPDATE {name} SET revision = %s WHERE id = %s", (number, key))
                    if cursor.rowcount == 0:
                        cursor.execute(f"INSERT INTO {name} VALUES (%s, %s, 'new')", (key, number))
                cursor.close()
                self.written += 1
            except LOST:
                with suppress(Exception):
                    if connection is not None:
                        connection.close()
                connection = None
                time.sleep(0.2)
