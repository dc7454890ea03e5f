"""The command `verify`: compares captured tables with their sources and says where they differ."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from cdc_workstation.settings import get_settings
from cdc_workstation.verify.captured import wanted
from cdc_workstation.verify.databases import NotComparableError
from cdc_workstation.verify.stack import Stack
from cdc_workstation.verify.verdict import TableResult, Verdict, exit_code, show
from cdc_workstation.verify.verify import TIMEOUT, CapturedTable, Verifier

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_PIPE_WIDTH = 160
_DESCRIPTION = """\
Compare captured tables with their sources by count and checksum, while both go on.

Exit code: 0 if all are equal, 1 if one differs (drift), 2 if one could not be compared."""


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "verify",
        help="compare captured tables with their sources",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help="cdcdb.products, mysql:cdcdb.products or products; all if none is named",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long changes may take until they are in Delta [%(default)g]",
    )
    parser.add_argument("--max-rows", type=int, metavar="ROWS", help="leave out tables that have more rows")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify; return the exit code."""
    errors = Console(stderr=True)
    try:
        with Stack(get_settings()) as stack, errors.status("Looking for captured tables") as status:
            results = verify(stack, options, status.update)
    except NotComparableError as error:
        if options.json:
            print(json.dumps({"exit_code": 2, "error": str(error), "tables": []}, indent=2))  # noqa: T201 -- the output
        else:
            errors.print(str(error), style="yellow", soft_wrap=True)
        return 2
    code = exit_code(results)
    if options.json:
        document = {"exit_code": code, "tables": [result.as_json() for result in results]}
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        show(results, output())
    return code


def output() -> Console:
    """Return the console for results; what is piped is not cut to a terminal's width."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def verify(stack: Stack, options: argparse.Namespace, say: Callable[[str], None]) -> list[TableResult]:
    """Compare the tables that the options name, all if they name none."""
    verifier = Verifier(stack, say)
    tables, unknown = chosen(verifier, options.tables)
    results = verifier.verify(tables, timeout=options.timeout, max_rows=options.max_rows, named=bool(options.tables))
    return results + unknown + ([] if options.tables else verifier.unreadable)


def chosen(verifier: Verifier, names: Sequence[str]) -> tuple[list[CapturedTable], list[TableResult]]:
    """Return the captured tables with these names, all if there are none; and a result for each name that fits none."""
    tables = verifier.tables()
    if not names:
        return tables, []
    known = [str(table.name) for table in tables]
    found, unknown = wanted([table.name for table in tables], names)
    missing = []
    for name in unknown:
        near = difflib.get_close_matches(name.rpartition(":")[2], known, 3, 0.5)
        hint = f"Is it {' or '.join(near)}?" if near else f"Captured are {len(known)} tables; `make verify` lists them."
        reasons = [result.reason for result in verifier.unreadable if result.verdict is Verdict.NOT_COMPARED]
        reason = " ".join([f"no connector captures it, or the sink takes no changes of it. {hint}", *reasons])
        missing.append(TableResult(name, "", "", Verdict.NOT_COMPARED, reason))
    return [table for table in tables if table.name in found], missing
