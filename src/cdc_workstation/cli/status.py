"""The command `status`: services, connectors, tables, lag and alerts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh in place until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="How often --watch refreshes.")] = 2.0,
    all_tables: Annotated[bool, typer.Option("--all", "-a", help="List all tables that are in step, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one document a line.")] = False,
    containers: Annotated[
        Path | None,
        typer.Option(hidden=True, help="What docker ps and docker stats say on the stack's machine, as JSON lines."),
    ] = None,
    hint: Annotated[bool, typer.Option("--hint", hidden=True, help="Say what to do next.")] = False,
) -> None:
    """Show services, connectors, tables, lag and alerts; what is in trouble comes first.

    Exit code: 0 if all is well or catching up, 1 if something is in trouble, 2 if there is no stack.
    """
    from rich.live import Live

    from cdc_workstation.cli.console import output, print_json
    from cdc_workstation.cli.outcome import Exit
    from cdc_workstation.cli.status_model import Status
    from cdc_workstation.cli.status_reading import documents
    from cdc_workstation.cli.status_sources import gather
    from cdc_workstation.cli.status_view import render
    from cdc_workstation.settings import get_settings

    settings = get_settings()
    elsewhere = documents(containers.read_text(encoding="utf-8")) if containers is not None else None

    def code(found: Status) -> Exit:
        return Exit.FOUND if found.health == "bad" else Exit.OK if found.exists else Exit.NOT_DONE

    found = gather(settings, elsewhere)
    if watch and as_json:
        while True:
            print_json({"exit_code": int(code(found)), **found.as_json()}, line=True)
            time.sleep(interval)
            found = gather(settings, elsewhere)
    if watch:
        with Live(render(found, all_tables=all_tables), console=output(), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(render(gather(settings, elsewhere), all_tables=all_tables), refresh=True)
    if as_json:
        print_json({"exit_code": int(code(found)), **found.as_json()})
    else:
        output().print(render(found, all_tables=all_tables))
        if hint and found.exists and settings.mysql_host and settings.debezium_url:
            # Who types `make up` has not activated the environment.
            program = "cdc-workstation" if os.environ.get("VIRTUAL_ENV") else ".venv/bin/cdc-workstation"
            # PostgreSQL may have a table of that name, too.
            table = f"{settings.mysql_database}.load_orders"
            output().print(f"Next        {program} load, and {program} tail {table} beside it", highlight=False)
    raise typer.Exit(code(found))
