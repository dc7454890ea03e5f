"""The Docker engine as commands use it: containers of the stack, their logs, and clients from their images."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from queue import Queue
from threading import Thread
from typing import Any

from cdc_workstation.cli.outcome import CliError
from cdc_workstation.cli.status_reading import documents

_TIMEOUT = 20.0


def listed(project: str) -> list[dict[str, Any]]:
    """Return the project's containers as `docker ps` lists them, stopped ones included.

    Raises:
        CliError: there is no engine, or it does not answer.
    """
    return documents(ask("ps", "--all", "--no-trunc", "--filter", _of(project), "--format", "{{json .}}"))


def stats(containers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what running containers use, as `docker stats` says it."""
    running = [str(one["ID"]) for one in containers if one.get("State") == "running"]
    if not running:
        return []
    return documents(ask("stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *running))


def image_of(project: str, service: str) -> str:
    """Return the image of a service's container.

    Raises:
        CliError: there is no such container.
    """
    filters = ("--filter", _of(project), "--filter", f"label=com.docker.compose.service={service}")
    found = ask("ps", "--all", *filters, "--format", "{{.Image}}").split()
    if not found:
        raise CliError(f"There is no container of {service} whose image has the client: run `make up`.")
    return found[0]


def ask(*arguments: str) -> str:
    """Run the docker client and return what it printed.

    Raises:
        CliError: there is no client, or it failed.
    """
    if not shutil.which("docker"):
        raise CliError("There is no docker client here: install Docker, or run the command on the stack's machine.")
    try:
        run = subprocess.run(  # noqa: S603 -- constant arguments, and ids that docker listed
            ["docker", *arguments],  # noqa: S607 -- the client of the user's path
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CliError(f"Docker does not answer within {_TIMEOUT:.0f} s.") from error
    if run.returncode:
        raise CliError(f"Docker says: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout


def client(command: Sequence[str], image: str | None, secrets: Mapping[str, str]) -> int:
    """Run an interactive client with this terminal; return its exit code.

    Args:
        command: the program and its arguments, none of which is a secret.
        image: run it in a container of this image, which sees the addresses of this machine; here if `None`.
        secrets: environment variables for it; a container is given their names alone, so that no list of processes
            shows a value.
    """
    program = list(command)
    if image is not None:
        terminal = ["--tty"] if os.isatty(0) and os.isatty(1) else []
        names = [part for name in secrets for part in ("--env", name)]
        # As this user, who alone may reach the ports of a private stack.
        rights = ["--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL"]
        container = ["docker", "run", "--rm", "--interactive", *terminal, "--network", "host", *rights, *names]
        # The image's own entry point is the service.
        program = [*container, "--env", "TERM", "--entrypoint", command[0], image, *command[1:]]
    try:
        return subprocess.run(program, env={**os.environ, **secrets}, check=False).returncode  # noqa: S603
    except FileNotFoundError as error:
        raise CliError(f"{program[0]} is not installed.") from error


def _of(project: str) -> str:
    return f"label=com.docker.compose.project={project}"


def named(containers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return each service with the id of its container."""
    found = {}
    for one in containers:
        labels = dict(part.partition("=")[::2] for part in str(one.get("Labels", "")).split(","))
        if labels.get("com.docker.compose.oneoff") != "True" and "com.docker.compose.service" in labels:
            found[labels["com.docker.compose.service"]] = str(one["ID"])
    return found


def lines(commands: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Run programs side by side and yield what they print, line by line, each with its name.

    They end when the caller closes the generator.
    """
    printed: Queue[tuple[str, str | None]] = Queue()
    running = {
        name: subprocess.Popen(  # noqa: S603 -- ids that docker listed
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for name, command in commands.items()
    }

    def read(name: str) -> None:
        for line in running[name].stdout or ():
            printed.put((name, line.rstrip("\n")))
        printed.put((name, None))

    try:
        for name in running:
            Thread(target=read, args=(name,), daemon=True).start()
        left = len(running)
        while left:
            name, line = printed.get()
            if line is None:
                left -= 1
            else:
                yield name, line
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
