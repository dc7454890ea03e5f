"""The command line `cdc-workstation`: what a data engineer does all day with a stack.

Each command is a module. What it shows is decided in pure functions (`status_model`, `changes`, `conditions`,
`traffic`); the rest asks services and prints.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `cdc_workstation.cli.outcome` for what the codes mean."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.stderr.write(
            f"The command line needs the package {error.name}: install it with pip install 'cdc-workstation[cli]'.\n"
        )
        return 2
    from cdc_workstation.cli.app import run

    return run(sys.argv[1:] if arguments is None else arguments)
