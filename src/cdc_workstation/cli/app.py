"""The program: its commands, and what becomes of errors."""

from __future__ import annotations

import os
from collections.abc import Sequence

import typer
from rich.markup import escape

from cdc_workstation.cli import (
    connectors,
    dead_letters,
    diff,
    env,
    kafka,
    load,
    logs,
    resnapshot,
    sql,
    status,
    tail,
)
from cdc_workstation.cli.console import messages, print_json
from cdc_workstation.cli.outcome import CliError, Exit

_EPILOG = (
    "Exit codes: 0 all is well; 1 something is not as it should be (drift, an unhealthy service, a dead letter); "
    "2 it could not be done, and the reason is printed; 130 interrupted. "
    "Addresses and credentials come from connection.env (CDC_CONNECTION_FILE or CDC_STACK_DIR name another one) and "
    "from the environment, which wins."
)

app = typer.Typer(
    name="cdc-workstation",
    help="Work with a CDC workstation: look at its pipeline, make traffic, find drift and repair it.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which people need them.
app.command("status")(status.status)
app.command("tail")(tail.tail)
app.command("load")(load.load)
app.command("diff")(diff.diff)
app.command("verify")(diff.verify)
app.command("resnapshot")(resnapshot.resnapshot)
app.command("dead-letters")(dead_letters.dead_letters)
app.command("connectors")(connectors.connectors)
app.command("sql")(sql.sql)
app.command("kafka", context_settings=kafka.CONTEXT)(kafka.kafka)
app.command("logs")(logs.logs)
app.command("env")(env.env)


@app.callback()
def _program() -> None:
    """Work with a CDC workstation: look at its pipeline, make traffic, find drift and repair it."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    try:
        app(list(arguments), prog_name="cdc-workstation")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.OK if ended.code is None else Exit.NOT_DONE
    except CliError as error:
        return _say(str(error), arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has enough: `cdc-workstation tail products | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.OK
    except Exception as error:
        if os.environ.get("CDC_DEBUG"):
            raise
        kind = type(error).__name__
        return _say(f"Unexpected {kind}: {error}. CDC_DEBUG=1 shows where it comes from.", arguments)
    return Exit.OK


def _say(text: str, arguments: Sequence[str]) -> int:
    """Print an error where the reader looks for it: a program that asked for JSON gets JSON."""
    if "--json" in arguments:
        print_json({"exit_code": int(Exit.NOT_DONE), "error": text})
    else:
        messages().print(f"[yellow]{escape(text)}[/]")
    return Exit.NOT_DONE
