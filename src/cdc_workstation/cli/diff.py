"""The commands `diff` and `verify`: compare captured tables with their sources, and say where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cdc_workstation.cli.table_argument import TABLE_HELP, complete

if TYPE_CHECKING:
    from cdc_workstation.verify.verdict import TableResult

_TIMEOUT = 120.0

TimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=1, help="How long changes may take until they are in Delta.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def diff(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP, autocompletion=complete)],
    timeout: TimeoutOption = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Compare one table with its source: counts, checksums, and the rows that differ.

    Exit code: 0 if it is equal, 1 if it differs (drift), 2 if it could not be compared.
    """
    _compare([table], timeout, None, as_json=as_json)


def verify(
    tables: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE]...", help=f"{TABLE_HELP}; all if none is named.", autocompletion=complete),
    ] = None,
    timeout: TimeoutOption = _TIMEOUT,
    max_rows: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Leave out tables that have more rows.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare captured tables with their sources by count and checksum, while both go on.

    Exit code: 0 if all are equal, 1 if one differs (drift), 2 if one could not be compared.
    """
    _compare(tables or [], timeout, max_rows, as_json=as_json)


def _compare(names: list[str], timeout: float, max_rows: int | None, *, as_json: bool) -> None:
    from cdc_workstation.cli.console import messages
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings
    from cdc_workstation.verify.databases import NotComparableError
    from cdc_workstation.verify.selection import compare
    from cdc_workstation.verify.stack import Stack
    from cdc_workstation.verify.verify import Verifier

    try:
        with Stack(get_settings()) as stack, messages().status("Looking for captured tables") as waiting:
            results = compare(Verifier(stack, waiting.update), names, timeout=timeout, max_rows=max_rows)
    except NotComparableError as error:
        raise CliError(str(error)) from error
    finish(results, as_json=as_json)


def finish(results: Sequence[TableResult], *, as_json: bool) -> NoReturn:
    """Print what a comparison found, and end the command with the exit code that says it."""
    from cdc_workstation.cli.console import output, print_json
    from cdc_workstation.cli.diff_view import render
    from cdc_workstation.verify.verdict import exit_code

    code = exit_code(results)
    if as_json:
        print_json({"exit_code": code, "tables": [result.as_json() for result in results]})
    else:
        output().print(render(results), soft_wrap=True)
    raise typer.Exit(code)
