"""The command `load`: realistic changes at a rate, for people who need traffic to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from cdc_workstation.clients.source import Connection
    from cdc_workstation.settings import Settings


def load(
    rate: Annotated[float, typer.Option("--rate", "-r", min=0.01, help="Changes per second.")] = 10.0,
    seconds: Annotated[
        float | None, typer.Option("--seconds", "-s", min=0.1, help="For how long; until Ctrl-C if not given.")
    ] = None,
    mix: Annotated[
        str, typer.Option(metavar="KIND=PARTS,...", help="Parts of each kind.")
    ] = "insert=5,update=4,delete=1",
    database: Annotated[Literal["mysql", "postgres"], typer.Option("--database", "-d", help="Where.")] = "mysql",
    table: Annotated[str, typer.Option(help="The table; it is created where there is none.")] = "load_orders",
    seed: Annotated[int, typer.Option(help="The same seed makes the same choices.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Make realistic changes at a rate: orders come in, move on, and are deleted now and then.

    They go through a table of their own, so that no sample data changes. Watch them with `cdc-workstation tail
    cdcdb.load_orders`, and drop the table when you are done.
    """
    from contextlib import closing
    from dataclasses import asdict

    import mysql.connector
    import psycopg

    from cdc_workstation.cli.console import messages, output, print_json
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.load import Mix, Progress, run_load
    from cdc_workstation.settings import get_settings

    done = Progress()
    is_interrupted = False

    def progress(now: Progress) -> None:
        nonlocal done
        done = now
        waiting.update(_sentence(now))

    try:
        with (
            closing(connected(get_settings(), database)) as connection,
            messages().status(f"{database}: changes begin") as waiting,
        ):
            run_load(
                connection,
                database,
                table=table,
                rate=rate,
                seconds=seconds,
                mix=Mix.parse(mix),
                seed=seed,
                on_progress=progress,
            )
    except ValueError as error:
        raise CliError(str(error)) from error
    except (mysql.connector.Error, psycopg.Error) as error:
        raise CliError(f"{database} refuses: {' '.join(str(error).split())}") from error
    except KeyboardInterrupt:
        # Without --seconds this is the end that people mean.
        is_interrupted = True
    if as_json:
        changes = {**asdict(done), "changes": done.changes, "rate": round(done.rate, 1)}
        print_json({"exit_code": 0, "database": database, "table": table, **changes})
    else:
        output().print(_sentence(done), highlight=False)
    raise typer.Exit(130 if is_interrupted and seconds is not None else 0)


def connected(settings: Settings, database: Literal["mysql", "postgres"]) -> Connection:
    """Connect to a source database as the application's user.

    Raises:
        CliError: it is not part of the stack, or refuses the connection.
    """
    import mysql.connector
    import psycopg

    from cdc_workstation.cli.captured import needed
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.clients.source import open_source

    try:
        if database == "mysql":
            host, port = needed("MYSQL_HOST", settings.mysql_host), settings.mysql_port
        else:
            host, port = needed("POSTGRES_HOST", settings.postgres_host), settings.postgres_port
        return open_source(settings, database)
    except (mysql.connector.Error, psycopg.Error) as error:
        raise CliError(
            f"{database} at {host}:{port} cannot be reached: {' '.join(str(error).split())}. `cdc-workstation status` "
            "shows whether it runs."
        ) from error


def _sentence(done: object) -> str:
    from cdc_workstation.load import Progress

    assert isinstance(done, Progress)
    return (
        f"{done.changes:,} changes in {done.seconds:.0f} s ({done.rate:,.0f} per second): {done.inserts:,} inserted, "
        f"{done.updates:,} updated, {done.deletes:,} deleted"
    )
