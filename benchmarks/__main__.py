"""Run every benchmark, or those named on the command line, and print a table of each.

A benchmark's name may be followed by those of its figures: `sink latency burst`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import signal
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

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


def chosen(words: Sequence[str]) -> dict[str, list[str]]:
    """Return benchmarks with the figures that are wanted of them, all if none is named."""
    found: dict[str, list[str]] = {}
    for word in words:
        figures = getattr(_module(list(found)[-1]), "FIGURES", {}) if found else {}
        if word in names():
            found[word] = []
        elif word in figures:
            found[list(found)[-1]].append(word)
        else:
            known = f"Benchmarks are: {', '.join(names())}."
            known += f" Figures of {list(found)[-1]} are: {', '.join(figures)}." if figures else ""
            sys.exit(f"There is no benchmark {word}. {known}")
    return found or {name: [] for name in names()}


def shown(value: float) -> str:
    """Return a value with three digits, and none after the point if it has more before it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.bench_{name}")


def main(wanted: Mapping[str, Sequence[str]]) -> None:
    """Print name, value, unit and target of every figure."""
    console = Console(width=130)
    with open("/proc/meminfo", encoding="ascii") as meminfo:  # noqa: PTH123
        memory = int(meminfo.readline().split()[1]) / 2**20
    console.print(
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load before the start {os.getloadavg()[0]:.1f}"
    )
    for name, figures in wanted.items():
        console.print(f"Measuring {name} {' '.join(figures)}...", style="dim")
        table = Table("figure", "value", "target", "met", box=None, header_style="bold")
        table.columns[1].justify = "right"
        run = getattr(_module(name), f"bench_{name}")
        try:
            for figure, value, unit, target in run(figures) if figures else run():
                table.add_row(figure, f"{shown(value)} {unit}", target, met(value, target))
                # The last one can be minutes after the first.
                console.print(f"  {figure}: {shown(value)} {unit}", style="dim", highlight=False)
        finally:
            console.print(table)


if __name__ == "__main__":
    # Whoever ends it gets its tables, topics and connectors removed, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(chosen(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
