"""Captured tables by the names that people type: which topic, and which connector."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cdc_workstation.cli.outcome import CliError
from cdc_workstation.clients.connect import ConnectClient, ConnectError
from cdc_workstation.settings import Settings, connection_file
from cdc_workstation.verify.captured import Connector, TableName, connectors, meant, wanted
from cdc_workstation.verify.verify import owner_of


@dataclass(frozen=True)
class CapturedTopic:
    """A captured table with its topic."""

    table: TableName
    topic: str
    connector: Connector


def needed(name: str, value: str | None) -> str:
    """Return an address of the settings.

    Raises:
        CliError: neither `connection.env` nor the environment has it.
    """
    if not value:
        raise CliError(
            f"{name} is neither in {connection_file()} nor in the environment: run `make up`, or name another stack "
            "with CDC_STACK_DIR or CDC_CONNECTION_FILE."
        )
    return value


def registered(settings: Settings) -> list[Connector]:
    """Return the connectors that capture a database.

    Raises:
        CliError: Kafka Connect does not answer.
    """
    with connect(settings) as client:
        return connectors(client.configs())


@contextmanager
def connect(settings: Settings, timeout: float = 10.0) -> Iterator[ConnectClient]:
    """Give a client of Kafka Connect.

    Raises:
        CliError: (in the block as well) it does not answer, or refuses a request.
    """
    url = needed("DEBEZIUM_URL", settings.debezium_url)
    try:
        with ConnectClient.of(settings, timeout=timeout) as client:
            yield client
    except ConnectError as error:
        if not error.status:
            raise CliError(
                f"Kafka Connect at {url} does not answer; `cdc-workstation logs debezium` says why."
            ) from error
        raise CliError(f"Kafka Connect at {url} refuses: {str(error).rstrip('.')}.") from error


def find(name: str, known: Sequence[Connector], topics: Collection[str]) -> CapturedTopic:
    """Return the one captured table that a name means.

    Args:
        name: `table`, `namespace.table`, or either with a leading `mysql:` or `postgres:`; a topic's name, too.
        known: the connectors.
        topics: the topics that Kafka has.

    Raises:
        CliError: no table is meant, or several are.
    """
    owners = ((topic, owner_of(topic, known)) for topic in sorted(topics))
    all_tables = {owner[1]: CapturedTopic(owner[1], topic, owner[0]) for topic, owner in owners if owner}
    by_topic = [one for one in all_tables.values() if one.topic == name]
    found = [one.table for one in by_topic] or wanted(all_tables, [name])[0]
    if not found:
        hint = meant(name, map(str, all_tables)) or "`cdc-workstation status` lists the captured tables."
        raise CliError(f"No captured table is called {name}, or it had no change yet. {hint}")
    if len(found) > 1:
        names = ", ".join(f"{table.database}:{table}" for table in found)
        raise CliError(f"{name} means several tables: {names}. Name one of them.")
    return all_tables[found[0]]
