"""The command line `cdc-workstation`: what a data engineer does all day with a stack.

Each command is a module with `add`, which declares its arguments, and `run`, which returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cdc_workstation.verify import command as verify
from cdc_workstation.verify import resnapshot

_COMMANDS = (verify, resnapshot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = argparse.ArgumentParser(prog="cdc-workstation", description="Work with a CDC workstation.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
