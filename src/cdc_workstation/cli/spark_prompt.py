"""Spark SQL over Spark Connect: one query, or a prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cdc_workstation.cli.captured import needed
from cdc_workstation.cli.changes import plain, text
from cdc_workstation.cli.console import messages, output, print_json
from cdc_workstation.cli.outcome import CliError, Exit

if TYPE_CHECKING:
    from cdc_workstation.settings import Settings

# Rows that are shown of a result; JSON has all.
_ROWS = 1_000
_HINT = "End a statement with ; or an empty line, and the prompt with Ctrl-D. Delta tables: delta.`/path/of/the/table`."


def run(settings: Settings, query: str | None, *, as_json: bool) -> int:
    """Run a query, or those that standard input has; return the exit code.

    Raises:
        CliError: Spark does not answer, or refuses a query that is the only one.
    """
    remote = needed("SPARK_REMOTE", settings.spark_remote)
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise CliError("Spark SQL needs the Connect client: pip install 'cdc-workstation[spark]'.") from error
    with messages().status("Connecting to Spark"):
        try:
            session = SparkSession.builder.remote(remote).getOrCreate()
        except Exception as error:
            raise CliError(
                f"Spark Connect does not answer: {_first_line(error)} `cdc-workstation status` shows it."
            ) from error
    try:
        if query is not None:
            try:
                _execute(session, query, as_json=as_json)
            except PySparkException as error:
                raise CliError(f"Spark says: {_first_line(error)}") from error
            return Exit.OK
        code = Exit.OK
        for statement in _statements():
            try:
                _execute(session, statement, as_json=False)
            except PySparkException as error:
                messages().print(f"[red]{escape(_first_line(error))}[/]")
                code = Exit.NOT_DONE
        return code if not sys.stdin.isatty() else Exit.OK
    finally:
        session.stop()


def split(lines: Iterator[str]) -> Iterator[str]:
    """Yield the statements of lines: each ends with a semicolon at a line's end, an empty line, or the last line."""
    pending: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped:
            pending.append(stripped)
        if pending and (not stripped or stripped.endswith(";")):
            yield "\n".join(pending).rstrip(";").rstrip()
            pending = []
    if pending:
        yield "\n".join(pending)


def _statements() -> Iterator[str]:
    if not sys.stdin.isatty():
        return split(iter(sys.stdin))
    messages().print(f"[dim]{_HINT}[/]")
    return split(_typed())


def _typed() -> Iterator[str]:
    # Gives the prompt a history and editing.
    import readline  # noqa: F401

    while True:
        try:
            yield input("spark> ")
        except EOFError:
            return


def _execute(session: Any, statement: str, *, as_json: bool) -> None:
    frame = session.sql(statement)
    if as_json:
        print_json(
            [{name: plain(value) for name, value in row.asDict(recursive=True).items()} for row in frame.collect()]
        )
        return
    rows = frame.limit(_ROWS + 1).collect()
    if not frame.columns:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in frame.columns:
        table.add_column(escape(name), overflow="fold")
    for row in rows[:_ROWS]:
        table.add_row(*(escape(text(value)) for value in row))
    output().print(table)
    more = " (more are left out; --json has all)" if len(rows) > _ROWS else ""
    messages().print(f"[dim]{min(len(rows), _ROWS):,} rows{more}[/]")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
