"""Write the dashboards, or with `--check` say which file is not what the code gives."""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import logs, pipeline

TARGET = Path(__file__).parent


def encoded(dashboard: Dashboard) -> str:
    """Return a dashboard as Grafana reads it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def main() -> int:
    """Write each dashboard beside its code."""
    stale = []
    for module in (pipeline, logs):
        name = module.__name__.rpartition(".")[2]
        path, text = TARGET / f"{name}.json", encoded(module.dashboard())
        if "--check" in sys.argv[1:]:
            stale += [path] if not path.exists() or path.read_text(encoding="utf-8") != text else []
        else:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        sys.stderr.write(f"{path.name} is not what the code gives: run `python -m dashboards`.\n")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
