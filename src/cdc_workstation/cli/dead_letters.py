"""The command `dead-letters`: change events that could not be applied, and another try."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_workstation.cli.table_argument import complete


def dead_letters(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE]", help="products or cdcdb.products; all if not given.", autocompletion=complete
        ),
    ] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="Show this many, the newest first.")] = 10,
    replay: Annotated[
        bool, typer.Option("--replay", help="Send them to their topics again, once the cause is removed.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long the sink may take for what is replayed.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the events that could not be applied, with the reason; --replay tries them again.

    A replayed event that is applied, or is older than what Delta has, leaves the table of dead letters.

    Exit code: 0 if there are none (any more), 1 if there are some, 2 if they cannot be read.
    """
    from rich.console import Console

    from cdc_workstation.cli.console import messages, print_json
    from cdc_workstation.cli.dead_letter_store import REPLAYED, DeadLetterStore
    from cdc_workstation.cli.dead_letter_view import again, render
    from cdc_workstation.cli.outcome import Exit
    from cdc_workstation.settings import get_settings

    # An event is shown whole: lines may be longer than the terminal is wide.
    console = Console(soft_wrap=True, highlight=False)
    store = DeadLetterStore(get_settings())
    reasons = store.reasons(table)
    total = sum(one.count for one in reasons)
    if not replay:
        letters = store.newest(table, last)
        code = Exit.FOUND if total else Exit.OK
        if as_json:
            listed = [letter.as_json() for letter in letters]
            print_json({"exit_code": int(code), "total": total, "dead_letters": listed})
        else:
            console.print(render(letters, reasons, table))
        raise typer.Exit(code)
    letters = store.oldest(table)
    with messages().status(f"Replaying {len(letters):,} events") as waiting:
        failed = store.replay(letters, timeout, waiting.update)
    left = total - len(letters)
    code = Exit.FOUND if failed or left else Exit.OK
    if as_json:
        listed = [letter.as_json() for letter in failed]
        print_json({"exit_code": int(code), "replayed": len(letters), "left": left, "dead_letters": listed})
        raise typer.Exit(code)
    console.print(f"{len(letters):,} events replayed, {len(letters) - len(failed):,} taken by the sink.")
    if failed:
        console.print(again(failed[:last]))
    if left:
        console.print(f"{left:,} are left: {REPLAYED:,} are replayed at a time, the oldest first.")
    raise typer.Exit(code)
