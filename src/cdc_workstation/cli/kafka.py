"""The command `kafka`: Kafka's own tools, connected to the stack."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

# What follows the tool's name is the tool's.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}

TOOLS = {
    "topics": "list, describe, create and delete topics: topics --list",
    "console-consumer": "read a topic: console-consumer --topic debezium.cdcdb.products --from-beginning",
    "console-producer": "write to a topic: console-producer --topic mine",
    "consumer-groups": "groups and their lag: consumer-groups --all-groups --describe",
    "get-offsets": "where topics end: get-offsets --topic debezium.cdcdb.products",
    "configs": "settings of topics and brokers: configs --entity-type topics --entity-name mine --describe",
    "metadata-quorum": "the controllers: metadata-quorum describe --status",
    "broker-api-versions": "what the broker speaks",
}
"""The tools of the image, with what each is for."""


def kafka(
    context: typer.Context,
    tool: Annotated[
        str | None,
        typer.Argument(metavar="TOOL [ARGUMENTS]...", help=", ".join(TOOLS), autocompletion=lambda: [*TOOLS]),
    ] = None,
) -> None:
    """Run one of Kafka's tools against the stack: cdc-workstation kafka topics --list.

    The tool is this machine's, or the one in Kafka's image; `--bootstrap-server` is added. Exit code: the tool's own.
    """
    import difflib

    from cdc_workstation.cli.captured import needed
    from cdc_workstation.cli.engine import client, image_of
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import get_settings

    if tool is None:
        for name, meaning in TOOLS.items():
            typer.echo(f"  {name:<20} {meaning}")
        return
    plain = tool.removeprefix("kafka-").removesuffix(".sh")
    if plain not in TOOLS:
        near = difflib.get_close_matches(plain, TOOLS, 1, 0.4)
        hint = f"Is it {near[0]}?" if near else f"There are {', '.join(TOOLS)}."
        raise CliError(f"Kafka has no tool {tool} here. {hint}")
    settings = get_settings()
    servers = needed("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    program = f"kafka-{plain}.sh"
    image = None if shutil.which(program) else image_of(settings.compose_project_name, "kafka")
    # A tool needs no more memory than this, and the image's own setting is the broker's.
    memory = {"KAFKA_HEAP_OPTS": "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"}
    raise typer.Exit(client([program, "--bootstrap-server", servers, *context.args], image, memory))
