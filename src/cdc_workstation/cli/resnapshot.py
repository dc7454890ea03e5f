"""The command `resnapshot`: reads one table again from its source, until Delta equals it."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_workstation.cli.diff import finish
from cdc_workstation.cli.table_argument import TABLE_HELP, complete

_TIMEOUT = 600.0


def resnapshot(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP, autocompletion=complete)],
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How long it may take.")] = _TIMEOUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison at the end as JSON.")] = False,
) -> None:
    """Read one table again from its source, and wait until Delta equals it. It repairs drift of any cause.

    Exit code: 0 if the table is equal, 1 if it still differs, 2 if it could not be done; the reason is printed.
    """
    import time

    from cdc_workstation.cli.console import messages
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings
    from cdc_workstation.verify import resnapshot as work
    from cdc_workstation.verify.databases import NotComparableError
    from cdc_workstation.verify.stack import Stack
    from cdc_workstation.verify.verify import Verifier

    deadline = time.monotonic() + timeout
    console = messages()
    try:
        with Stack(get_settings()) as stack, console.status("Looking for captured tables") as waiting:

            def progress(stage: str, done: int, rows: int) -> None:
                # The number of rows is the database's estimate while the table is read.
                doing = "The connector reads" if stage == "read" else "The sink applies"
                waiting.update(f"{doing} {named.name}: {done:,} of {max(rows, done):,} rows")

            verifier = Verifier(stack, waiting.update)
            named = work.table_named(verifier, table)
            work.resnapshot(stack, named, lambda text: console.print(text), deadline, progress)
            waiting.update(f"Comparing {named.name} with its source")
            results = verifier.verify([named], timeout=max(deadline - time.monotonic(), 1), named=True)
    except (work.ResnapshotError, NotComparableError) as error:
        raise CliError(str(error)) from error
    finish(results, as_json=as_json)
