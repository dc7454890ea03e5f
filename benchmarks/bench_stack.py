"""How long it takes to bring the stack up from each state of a machine, and until Spark does a first job."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.bench_spark import connect_starts, in_a_fresh_process
from cdc_workstation.settings import connection_file, get_settings

REPOSITORY = Path(__file__).parents[1]
# Starts of Spark are short: the median of some.
STARTS = 5

Figure = tuple[str, float, str, str]


def timed(*command: str, cwd: Path = REPOSITORY, environment: Mapping[str, str] | None = None) -> float:
    """Run a command to its end and return its seconds."""
    began = time.perf_counter()
    run = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{(run.stdout + run.stderr)[-3000:]}")
    return time.perf_counter() - began


def nothing() -> Iterator[Figure]:
    """A bare Debian in a container of its own, with an engine and images of its own."""
    host = {"DEBIAN": "12", "SERVICES": "all"}
    molecule = ("molecule", "{}", "--scenario-name", "host")

    def step(name: str) -> float:
        return timed(*(word.format(name) for word in molecule), environment=host)

    step("destroy")
    try:
        step("prepare")
        yield "make up, machine with nothing", step("converge"), "s", "< 360"
    finally:
        step("destroy")


def containers() -> Iterator[Figure]:
    """Images and data are there, containers are not."""
    _down()
    yield "make up, images there, containers gone", timed("make", "up"), "s", "< 45"


def compose() -> Iterator[Figure]:
    """The same by compose alone."""
    _down()
    seconds = timed("docker", "compose", "up", "--detach", "--wait", cwd=connection_file().parent)
    yield "docker compose up, all services healthy", seconds, "s", "< 25"


def again() -> Iterator[Figure]:
    """Everything runs as declared."""
    timed("make", "up")
    yield "make up again, nothing to change, gate included", timed("make", "up"), "s", "< 20"


def gate() -> Iterator[Figure]:
    """The gate alone."""
    yield "make gate", timed("make", "gate"), "s", "< 6"


def driver() -> Iterator[Figure]:
    """A classic driver on this host, from the import of pyspark."""
    in_a_fresh_process()
    runs = [in_a_fresh_process() for _ in range(STARTS)]
    seconds = statistics.median(run["session"] + run["job"] for run in runs)
    yield "classic Spark driver on the host: session + first job", seconds, "s", "< 5"


def connect() -> Iterator[Figure]:
    """A session of a server that runs, in a process that has pyspark."""
    remote = get_settings().spark_remote
    if remote is not None:
        yield "Spark Connect: session + first job", statistics.median(connect_starts(remote, STARTS)), "s", "< 0.1"


FIGURES: dict[str, Callable[[], Iterator[Figure]]] = {
    "nothing": nothing,
    "again": again,
    "containers": containers,
    "compose": compose,
    "gate": gate,
    "driver": driver,
    "connect": connect,
}


def bench_stack(wanted: Sequence[str] = ()) -> Iterable[Figure]:
    """Stop and start the stack, its data kept; give `(name, value, unit, target)` of each figure.

    A machine with nothing takes a quarter of an hour and is measured only where it is asked for: `stack nothing`.
    """
    print(
        f"Compose and make: one run each. Spark: medians of {STARTS} starts after one.\n"
        "Downloads come from the package registries that this machine is configured for."
    )
    for name in wanted or [name for name in FIGURES if name != "nothing"]:
        yield from FIGURES[name]()


def _down() -> None:
    timed("docker", "compose", "down", cwd=connection_file().parent)
