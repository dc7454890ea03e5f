"""Where commands print: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich.console import Console

# What is piped is not cut to a terminal's width, unless the caller says how wide it shows it.
_PIPE_WIDTH = 160


def output() -> Console:
    """Return the console for results."""
    console = Console()
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(width=_PIPE_WIDTH)


def messages() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def print_json(document: Any, *, line: bool = False) -> None:
    """Print a document as JSON, on one line where a program reads one document a line."""
    json.dump(document, sys.stdout, indent=None if line else 2, default=str, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
