"""What the fault tests do to the stack, and who writes meanwhile."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
    """The containers of the stack, to be ill-treated."""

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
        """End all processes of a service at once (SIGKILL)."""
        self.container(service).kill("SIGKILL")

    def start(self, service: str) -> None:
        """Start a service again and wait until it is healthy."""
        self.container(service).start()
        self.wait_for(service)

    def restart(self, service: str) -> None:
        """Stop a service in order, and start it again."""
        self.container(service).restart(timeout=30)
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
    """Changes rows of a table for as long as it runs; what the database refuses meanwhile is not written."""

    def __init__(self, table: CapturedTable, connect: Callable[[], Any]) -> None:
        self._table, self._connect = table, connect
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.written = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def wait_for(self, more: int) -> None:
        """Wait until so many more changes were written."""
        target = self.written + more
        until(lambda: self.written >= target, f"{more} more changes were written", HEALTHY_SECONDS)

    def _write(self) -> None:
        connection = None
        name = self._table.source
        number = 0
        while not self._ended.wait(0.02):
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
