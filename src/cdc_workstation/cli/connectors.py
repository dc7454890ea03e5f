"""The command `connectors`: what captures the databases, and what to do with it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cdc_workstation.clients.connect import ConnectClient

# How long a connector may take to come to the state that was asked for.
_TIMEOUT = 60.0


class Action(StrEnum):
    """What can be done with a connector."""

    SHOW = "show"
    CONFIG = "config"
    OFFSETS = "offsets"
    RESTART = "restart"
    PAUSE = "pause"
    STOP = "stop"
    RESUME = "resume"
    PUT = "put"
    REMOVE = "remove"


_ENDS = {Action.RESTART: "RUNNING", Action.PAUSE: "PAUSED", Action.STOP: "STOPPED", Action.RESUME: "RUNNING"}


def _names(incomplete: str) -> list[str]:
    """Return the connectors that begin so, for the shell."""
    from cdc_workstation.cli.captured import registered
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings

    try:
        return [one.name for one in registered(get_settings()) if one.name.startswith(incomplete)]
    except CliError:
        return []


def connectors(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="mysql-cdcdb, ...; all if not given.", autocompletion=_names)
    ] = None,
    action: Annotated[Action, typer.Argument(metavar="[ACTION]", help=", ".join(Action))] = Action.SHOW,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", exists=True, dir_okay=False, help="The configuration to put, as JSON."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show connectors with their whole errors, or do something with one: restart, pause, stop, resume, put, remove.

    Exit code: 0 if they run, 1 if one does not, 2 if Kafka Connect does not answer.
    """
    from cdc_workstation.cli.captured import connect
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.clients.connect import ConnectorFailedError
    from cdc_workstation.settings import get_settings

    try:
        with connect(get_settings(), _TIMEOUT) as client:
            if name is not None and action is not Action.PUT:
                _check(client.connectors(), name)
            if name is None or action is Action.SHOW:
                _show(client, name, as_json=as_json)
            elif action in (Action.CONFIG, Action.OFFSETS):
                _print(client, name, action)
            else:
                _act(client, name, action, file)
    except (ConnectorFailedError, TimeoutError) as error:
        raise CliError(str(error)) from error


def _check(known: list[str], name: str) -> None:
    from cdc_workstation.cli.outcome import CliError

    if name not in known:
        raise CliError(f"No connector is called {name}; there are {', '.join(sorted(known)) or 'none'}.")


def _show(client: ConnectClient, name: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from cdc_workstation.cli.console import output, print_json
    from cdc_workstation.cli.outcome import Exit
    from cdc_workstation.cli.status_reading import connectors_of
    from cdc_workstation.cli.status_sources import connector_lags
    from cdc_workstation.cli.status_view import connectors_table
    from cdc_workstation.settings import get_settings

    states = connectors_of(client.statuses(), client.configs(), connector_lags(get_settings()))
    found = [one for one in states if name in (None, one.name)]
    code = Exit.FOUND if any(one.health == "bad" for one in found) else Exit.OK
    if as_json:
        print_json({"exit_code": int(code), "connectors": [{**asdict(one), "health": one.health} for one in found]})
    elif found:
        output().print(connectors_table(found))
    else:
        output().print("No connector is registered. `make up` registers those of the stack.")
    raise typer.Exit(code)


def _print(client: ConnectClient, name: str, action: Action) -> None:
    """Print a configuration, without passwords, or offsets: both are JSON anyway."""
    from cdc_workstation.cli.console import print_json

    if action is Action.OFFSETS:
        print_json(client.offsets(name))
    else:
        print_json(masked(client.config(name)))


def _act(client: ConnectClient, name: str, action: Action, file: Path | None) -> None:
    from cdc_workstation.cli.console import output

    if action is Action.PUT:
        _put(client, name, file)
    elif action is Action.REMOVE:
        client.remove(name)
    elif action is Action.RESTART:
        client.restart(name)
    elif action is Action.PAUSE:
        client.pause(name)
    elif action is Action.STOP:
        client.stop(name)
    else:
        client.resume(name)
    if action in _ENDS or action is Action.PUT:
        client.wait_for(name, _ENDS.get(action, "RUNNING"), _TIMEOUT)
    output().print(f"{name} is {client.state(name)}", highlight=False)


def _put(client: ConnectClient, name: str, file: Path | None) -> None:
    """Register a configuration that the connector's own check accepts."""
    import json

    from cdc_workstation.cli.outcome import CliError

    if file is None:
        raise CliError("Name the file of the configuration: --file connector.json.")
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CliError(f"{file} is not JSON: {error}.") from error
    config = document.get("config", document) if isinstance(document, dict) else None
    if not isinstance(config, dict) or "connector.class" not in config:
        raise CliError(f"{file} is no connector's configuration: it has no connector.class.")
    config = {**{key: str(value) for key, value in config.items()}, "name": name}
    errors = client.validate(config)
    if errors:
        listed = "; ".join(f"{key}: {' '.join(texts)}" for key, texts in sorted(errors.items()))
        raise CliError(f"The configuration is not valid. {listed}")
    client.put(name, config)


def masked(config: dict[str, str]) -> dict[str, str]:
    """Return a configuration without the secrets in it."""
    from cdc_workstation.redaction import MASK, is_secret_name

    return {
        key: MASK if is_secret_name(key) and not value.startswith("${") else value
        for key, value in sorted(config.items())
    }
