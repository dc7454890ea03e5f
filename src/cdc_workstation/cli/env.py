"""The command `env`: addresses and credentials, for a shell and for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated

import typer

MEANINGS = {
    "MYSQL_HOST": "MySQL, the first source database",
    "MYSQL_PORT": "its port",
    "MYSQL_DATABASE": "the sample database in it",
    "MYSQL_USER": "the application's user, who reads and writes that database",
    "MYSQL_PASSWORD": "that user's password",
    "POSTGRES_HOST": "PostgreSQL, the second source database",
    "POSTGRES_PORT": "its port",
    "POSTGRES_DATABASE": "the sample database in it",
    "POSTGRES_USER": "the application's user, who reads and writes that database",
    "POSTGRES_PASSWORD": "that user's password",
    "KAFKA_BOOTSTRAP_SERVERS": "Kafka: change events are in the topics debezium.<database or schema>.<table>",
    "DEBEZIUM_URL": "Kafka Connect's REST interface, which runs the Debezium connectors",
    "DEBEZIUM_USER": "user of that interface",
    "DEBEZIUM_PASSWORD": "that user's password",
    "SPARK_MASTER_URL": "Spark's master, for a classic driver; it needs SPARK_CONF_DIR, too",
    "SPARK_REMOTE": "Spark Connect, with its token: SparkSession.builder.remote(...)",
    "SPARK_CONF_DIR": "the settings with which a driver on this machine joins the cluster",
    "DELTA_TABLES_DIR": "Delta tables, at the same path here and in the containers",
    "DELTA_SINK_URL": "the Delta sink: /ready and /metrics",
    "DELTA_SINK_TABLES": "where the sink writes: a directory, or a URI in object storage",
    "S3_ENDPOINT_URL": "object storage",
    "S3_REGION": "its region, which clients want to know",
    "S3_BUCKET": "the bucket for Delta tables",
    "S3_ACCESS_KEY_ID": "who writes there",
    "S3_SECRET_ACCESS_KEY": "that user's secret",
    "PROMETHEUS_URL": "Prometheus; the live page is below it, at /consoles/status.html",
    "ALERTMANAGER_URL": "Alertmanager, API v2",
    "WEBHOOK_URL": "the webhook receiver, which keeps what Alertmanager sent",
    "WEBHOOK_INTERNAL_URL": "the same as containers of the stack reach it",
    "COMPOSE_PROJECT_NAME": "what Docker Compose calls the stack",
}
"""What each variable of `connection.env` is for."""


def env(
    explain: Annotated[bool, typer.Option("--explain", help="Say what each is for; secrets are masked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, secrets included.")] = False,
) -> None:
    """Print addresses and credentials as exports for the shell: eval "$(cdc-workstation env)"."""
    from rich.table import Table

    from cdc_workstation.cli.console import output, print_json
    from cdc_workstation.cli.outcome import CliError
    from cdc_workstation.settings import connection_file, get_settings

    found = variables(get_settings().model_dump())
    if not connection_file().is_file() and not ({"MYSQL_HOST", "POSTGRES_HOST", "DEBEZIUM_URL"} & set(found)):
        raise CliError(f"There is no {connection_file()}: run `make up`, or set CDC_STACK_DIR or CDC_CONNECTION_FILE.")
    if as_json:
        print_json(found)
    elif explain:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("variable", "value", "what it is"):
            table.add_column(column, overflow="fold", no_wrap=column == "variable")
        for name, value in shown(found).items():
            table.add_row(name, value, MEANINGS.get(name, ""))
        output().print(table, markup=False)
    else:
        typer.echo(exports(found))


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the variables of settings that are set, with secrets in plain text."""
    found = {}
    for name, value in settings.items():
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        if plain not in (None, ""):
            found[name.upper()] = str(plain)
    # The defaults of a service's other fields say nothing where its address is not known.
    absent = [kind for kind, host in _HOSTS.items() if host not in found]
    return {name: value for name, value in found.items() if not name.startswith(tuple(absent))}


_HOSTS = {"MYSQL_": "MYSQL_HOST", "POSTGRES_": "POSTGRES_HOST", "S3_": "S3_ENDPOINT_URL", "DEBEZIUM_": "DEBEZIUM_URL"}


def exports(found: Mapping[str, str]) -> str:
    """Return assignments as a shell reads them."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in found.items())


def shown(found: Mapping[str, str]) -> dict[str, str]:
    """Return variables for people: without secrets."""
    from cdc_workstation.redaction import MASK, is_secret_name, redacted

    return {name: MASK if is_secret_name(name) else redacted(value) for name, value in found.items()}
