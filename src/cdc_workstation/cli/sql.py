"""The command `sql`: the right client of a database, with the right credentials."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from cdc_workstation.settings import Settings


def sql(
    database: Annotated[Literal["mysql", "postgres", "spark"], typer.Argument(help="Which one.")],
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="A statement; a prompt, or standard input, if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of QUERY as JSON.")] = False,
) -> None:
    """Open a prompt of MySQL, PostgreSQL or Spark, or run one query.

    The client is this machine's, or the one in the service's image. Exit code: the client's own.
    """
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings

    if as_json and query is None:
        raise CliError("--json needs a query: cdc-workstation sql mysql --json 'SELECT 1 AS one'.")
    settings = get_settings()
    if database == "spark":
        from cdc_workstation.cli.spark_prompt import run

        raise typer.Exit(run(settings, query, as_json=as_json))
    if as_json:
        raise typer.Exit(_rows(settings, database, query or ""))
    client = _mysql if database == "mysql" else _postgres
    raise typer.Exit(client(settings, query))


def _mysql(settings: Settings, query: str | None) -> int:
    from cdc_workstation.cli.captured import needed
    from cdc_workstation.cli.engine import client, image_of

    host = needed("MYSQL_HOST", settings.mysql_host)
    address = ["--host", host, "--port", str(settings.mysql_port), "--protocol", "tcp", "--user", settings.mysql_user]
    more = ["--database", settings.mysql_database, *(["--table", "--execute", query] if query else [])]
    password = settings.mysql_password.get_secret_value()
    if shutil.which("mysql"):
        with _option_file(password) as path:
            return client(["mysql", f"--defaults-file={path}", *address, *more], None, {})
    image = image_of(settings.compose_project_name, "mysql")
    return client(["mysql", "--no-defaults", *address, *more], image, {"MYSQL_PWD": password})


@contextmanager
def _option_file(password: str) -> Iterator[Path]:
    """Provide an option file that only this user reads: one of the user's own may have another password."""
    import tempfile

    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    # MariaDB's client wants to be told to encrypt, and not to verify a test bed's certificate; MySQL's does both.
    mariadb = "[client-mariadb]\nssl\ndisable-ssl-verify-server-cert\n"
    with tempfile.TemporaryDirectory(prefix="cdc-workstation-") as directory:
        path = Path(directory) / "client.cnf"
        path.touch(mode=0o600)
        path.write_text(f'[client]\npassword="{quoted}"\n\n[mysql]\ndefault-character-set=utf8mb4\n\n{mariadb}')
        yield path


def _postgres(settings: Settings, query: str | None) -> int:
    from cdc_workstation.cli.captured import needed
    from cdc_workstation.cli.engine import client, image_of

    host = needed("POSTGRES_HOST", settings.postgres_host)
    address = ["--host", host, "--port", str(settings.postgres_port), "--username", settings.postgres_user]
    more = ["--dbname", settings.postgres_database, *(["--command", query] if query else [])]
    image = None if shutil.which("psql") else image_of(settings.compose_project_name, "postgres")
    secrets = {"PGPASSWORD": settings.postgres_password.get_secret_value()}
    return client(["psql", *address, *more], image, secrets)


def _rows(settings: Settings, database: Literal["mysql", "postgres"], query: str) -> int:
    """Print the rows of a query as JSON, by the driver: clients' own JSON differs."""
    from contextlib import closing

    import mysql.connector
    import psycopg

    from cdc_workstation.cli.changes import plain
    from cdc_workstation.cli.console import print_json
    from cdc_workstation.cli.load import connected
    from cdc_workstation.cli.outcome import CliError, Exit

    try:
        with closing(connected(settings, database)) as connection:
            found = connection.select(query)
    except (mysql.connector.Error, psycopg.Error) as error:
        raise CliError(f"{database} says: {' '.join(str(error).split())}") from error
    except TypeError:
        # A statement without a result has no columns.
        found = []
    print_json([{name: plain(value) for name, value in row.items()} for row in found])
    return Exit.OK
