"""Run every benchmark, or those named on the command line, and print a table of each."""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import signal
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

import benchmarks

# The stack's own start comes last: it stops the services that the others measure.
LAST = "stack"


def names() -> list[str]:
    """Return the benchmarks that there are."""
    found = [
        m.name.removeprefix("bench_") for m in pkgutil.iter_modules(benchmarks.__path__) if m.name.startswith("bench_")
    ]
    return sorted(found, key=lambda name: (name == LAST, name))


def met(value: float, target: str) -> str:
    """Say whether `value` keeps a target such as `< 45`."""
    if not target.startswith(("<", ">")):
        return ""
    bound = float(target[1:].split()[0])
    return "[green]yes[/]" if (value < bound if target[0] == "<" else value > bound) else "[red]no[/]"


def main(wanted: Iterable[str]) -> None:
    """Print name, value, unit and target of every figure."""
    console = Console(width=110)
    with open("/proc/meminfo", encoding="ascii") as meminfo:  # noqa: PTH123
        memory = int(meminfo.readline().split()[1]) / 2**20
    console.print(
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load before the start {os.getloadavg()[0]:.1f}"
    )
    for name in wanted:
        console.print(f"Measuring {name} ...", style="dim")
        module = importlib.import_module(f"benchmarks.bench_{name}")
        table = Table("figure", "value", "target", "met", box=None, header_style="bold")
        table.columns[1].justify = "right"
        try:
            for figure, value, unit, target in getattr(module, f"bench_{name}")():
                table.add_row(figure, f"{value:.3g} {unit}", target, met(value, target))
                # The last one can be minutes after the first.
                console.print(f"  {figure}: {value:.3g} {unit}", style="dim", highlight=False)
        finally:
            console.print(table)


if __name__ == "__main__":
    # Whoever ends it gets its tables, topics and connectors removed, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unknown = set(sys.argv[1:]) - set(names())
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}. There are: {', '.join(names())}")
    main(sys.argv[1:] or names())
