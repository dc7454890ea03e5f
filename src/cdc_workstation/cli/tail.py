"""The command `tail`: change events of a table as they come."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_workstation.cli.table_argument import TABLE_HELP, complete


def tail(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP, autocompletion=complete)],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", "-b", help="Begin with the oldest event that Kafka keeps.")
    ] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Begin this many events before the end.")] = 0,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="CONDITION",
            help="Show matching events alone: 'price>100', 'status=paid', 'name~pro', 'op=update'. All must hold.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more; --no-follow stops at the end.")] = True,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many events.")] = None,
    all_columns: Annotated[bool, typer.Option("--all-columns", "-a", help="Show unchanged columns, too.")] = False,
    tombstones: Annotated[bool, typer.Option("--tombstones", help="Show the tombstones behind deletes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Show change events of a table as they come: operation, key, what changed, position and lag."""
    from rich.console import Console

    from cdc_workstation.cli.changes import ChangeDecoder, shown
    from cdc_workstation.cli.conditions import Condition, matches
    from cdc_workstation.cli.console import messages, print_json
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.cli.topic_reader import TopicReader
    from cdc_workstation.settings import get_settings

    try:
        conditions = [Condition.parse(one) for one in where or []]
    except ValueError as error:
        raise CliError(str(error)) from error
    # Values are shown whole: lines may be longer than the terminal is wide.
    console = Console(soft_wrap=True, highlight=False)
    decoder = ChangeDecoder()
    count = 0
    with TopicReader(get_settings(), table) as topic:
        if not as_json:
            found = topic.found
            messages().print(f"[dim]{found.table} ({found.table.database}), topic {found.topic}[/]")
        for record in topic.records(None if from_beginning else last, follow=follow):
            change = decoder.decode(record)
            if (change.kind == "tombstone" and not tombstones) or not matches(change, conditions):
                continue
            if as_json:
                print_json(change.as_json(), line=True)
            else:
                console.print(shown(change, all_columns=all_columns))
            count += 1
            if count == limit:
                return
