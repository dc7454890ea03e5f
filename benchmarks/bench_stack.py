"""How long the stack takes from nothing running to all healthy, by compose alone and by `make up`."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from cdc_workstation.settings import connection_file

REPOSITORY = Path(__file__).parents[1]


def timed(*command: str, cwd: Path) -> float:
    """Run a command to its end and return its seconds."""
    began = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - began


def bench_stack() -> list[tuple[str, float, str, str]]:
    """Stop and start the stack, its data kept; return `(name, value, unit, target)` of each figure."""
    stack = connection_file().parent
    down = ("docker", "compose", "down")
    timed(*down, cwd=stack)
    compose = timed("docker", "compose", "up", "--detach", "--wait", cwd=stack)
    timed(*down, cwd=stack)
    make = timed("make", "up", cwd=REPOSITORY)
    again = timed("make", "up", cwd=REPOSITORY)
    return [
        ("docker compose up, all healthy", compose, "s", "< 45"),
        ("make up, images present", make, "s", ""),
        ("make up / docker compose up", make / compose, "", "< 1.5"),
        ("make up again, nothing changed", again, "s", "< 30"),
    ]
