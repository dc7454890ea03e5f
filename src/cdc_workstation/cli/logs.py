"""The command `logs`: what the services say."""

from __future__ import annotations

from typing import Annotated

import typer


def _services(incomplete: str) -> list[str]:
    """Return the services that begin so, for the shell."""
    from cdc_workstation.cli.engine import listed
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.cli.status_reading import services_of
    from cdc_workstation.settings import get_settings

    try:
        names = [one.name for one in services_of(listed(get_settings().compose_project_name), [])]
    except CliError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def logs(
    services: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SERVICE]...", help="debezium, delta-sink, ...; all if none is named.", autocompletion=_services
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Begin this many lines before the end.")] = 100,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin then: 10m, 2h, or 2026-11-27T20:00:00Z.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", "-g", metavar="PATTERN", help="Show lines that match a regular expression.")
    ] = None,
) -> None:
    """Show what the services say, one after another, or together with --follow."""
    import difflib
    import re

    from cdc_workstation.cli import engine
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings

    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise CliError(f"--grep {grep!r} is not a regular expression: {error}.") from error
    project = get_settings().compose_project_name
    containers = engine.named(engine.listed(project))
    if not containers:
        raise CliError(f"There is no container of the stack {project}: run `make up`.")
    for name in services or []:
        if name not in containers:
            near = difflib.get_close_matches(name, containers, 2, 0.4)
            hint = f"Is it {' or '.join(near)}?" if near else f"There are {', '.join(sorted(containers))}."
            raise CliError(f"The stack has no service {name}. {hint}")
    wanted = services or sorted(containers)
    options = ["--tail", str(last), *(["--since", since] if since else []), *(["--follow"] if follow else [])]
    commands = {name: ["docker", "logs", *options, containers[name]] for name in wanted}
    # Side by side where there is no end to wait for.
    for group in [commands] if follow else [{name: command} for name, command in commands.items()]:
        for name, line in engine.lines(group):
            if pattern is None or pattern.search(line):
                typer.echo(f"{name} | {line}" if len(wanted) > 1 else line)
