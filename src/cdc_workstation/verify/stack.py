"""Where the parts of a stack are that a comparison needs: databases, connectors, Kafka, the sink and its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from cdc_workstation.clients.connect import ConnectClient, ConnectError
from cdc_workstation.clients.sink import SinkClient, is_stopped, next_offsets
from cdc_workstation.settings import Settings, connection_file
from cdc_workstation.sink.settings import SinkSettings
from cdc_workstation.verify.captured import Connector, connectors
from cdc_workstation.verify.databases import NotComparableError, SourceDatabase
from cdc_workstation.verify.lake import LakeTable
from cdc_workstation.verify.log import ChangeLog, Ends

# One answer of a service.
_TIMEOUT = 10.0


@dataclass(frozen=True)
class SinkView:
    """What the sink says at one moment.

    Attributes:
        metrics: its metrics; `None` if it does not answer.
    """

    metrics: str | None

    def has_stopped(self, table: str) -> bool:
        """Tell whether it applies no more changes to a table."""
        return self.metrics is not None and is_stopped(self.metrics, table)

    def applied(self, topic: str) -> int:
        """Return the offset that comes next in the topic's first partition, 0 if it does not say."""
        return int(next_offsets(self.metrics or "").get(topic, 0))


class Stack:
    """Connections to a stack, opened when they are needed; a context manager.

    Args:
        settings: where the services are.
        directory: the stack's directory, where it is not that of `connection_file()`.

    Raises:
        NotComparableError: (all methods) a service is not part of the stack, or does not answer.
    """

    def __init__(self, settings: Settings, directory: Path | None = None) -> None:
        self._settings = settings
        self._databases: dict[tuple[str, str], SourceDatabase] = {}
        _needed("DEBEZIUM_URL", settings.debezium_url)
        self.connect = ConnectClient.of(settings, timeout=_TIMEOUT)
        self.sink = SinkClient(_needed("DELTA_SINK_URL", settings.delta_sink_url), timeout=_TIMEOUT)
        self.servers = _needed("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
        self.log = ChangeLog(self.servers)
        self.sink_settings = _sink_settings(settings, directory or connection_file().parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for database in self._databases.values():
            database.close()
        self.log.close()
        self.connect.__exit__()
        self.sink.close()

    def connectors(self) -> list[Connector]:
        """Return the registered connectors that capture a database."""
        try:
            return connectors(self.connect.configs())
        except ConnectError as error:
            raise NotComparableError(
                f"Kafka Connect at {self._settings.debezium_url} does not say what is captured: {error}. Is it up "
                "(`make status`)?"
            ) from error

    def connector_problem(self, connector: Connector) -> str:
        """Say why a connector makes no events; empty if it may make some, or if Kafka Connect does not answer now."""
        try:
            return self.connect.problem(connector.name)
        except ConnectError:
            return ""

    def offset(self, connector: Connector) -> Mapping[str, Any]:
        """Return the offset that a connector has committed: everything before it is in Kafka."""
        try:
            found = self.connect.offsets(connector.name)
        except ConnectError:
            return {}
        return dict(found[0].get("offset") or {}) if found else {}

    def database(self, connector: Connector) -> SourceDatabase:
        """Return a connection to a connector's database."""
        place = (connector.database, connector.dbname)
        if place not in self._databases:
            self._databases[place] = self._open(connector)
        return self._databases[place]

    def lake(self, topic: str) -> LakeTable | None:
        """Open a topic's Delta table; `None` if there is none."""
        location = self.sink_settings.location_of(topic)
        options = self._settings.s3_storage_options() if "://" in str(location) else {}
        return LakeTable.open(str(location).replace("s3a://", "s3://", 1), options)

    def label(self, topic: str) -> str:
        """Return what the sink calls a topic's table."""
        return self.sink_settings.location_of(topic).name

    def sink_view(self) -> SinkView:
        """Ask the sink how it is."""
        try:
            return SinkView(self.sink.metrics())
        except requests.RequestException:
            return SinkView(None)

    def applied(self, topic: str, view: SinkView | None = None) -> Ends:
        """Return how far a topic is applied: as the table's own log says, or further as the sink says.

        A change that changes no row makes no commit, so the log may not say it.
        """
        lake = self.lake(topic)
        by_log = lake.state().applied if lake else {}
        return by_log | {0: max(by_log.get(0, 0), (view or self.sink_view()).applied(topic))}

    def _open(self, connector: Connector) -> SourceDatabase:
        settings, is_mysql = self._settings, connector.database == "mysql"
        host = settings.mysql_host if is_mysql else settings.postgres_host
        if host is None or connector.host not in (connector.database, host):
            raise NotComparableError(
                f"Connector {connector.name} reads {connector.database} at {connector.host}, and connection.env has no "
                "user for that server."
            )
        # Here, so that one database is enough to have.
        if is_mysql:
            from cdc_workstation.verify.mysql import MySQLDatabase

            return MySQLDatabase(
                {
                    "host": host,
                    "port": settings.mysql_port,
                    "user": settings.mysql_user,
                    "password": settings.mysql_password.get_secret_value(),
                }
            )
        from cdc_workstation.verify.postgres import PostgreSQLDatabase

        return PostgreSQLDatabase(
            {
                "host": host,
                "port": settings.postgres_port,
                "user": settings.postgres_user,
                "password": settings.postgres_password.get_secret_value(),
                "dbname": connector.dbname,
            }
        )


def _needed(name: str, value: str | None) -> str:
    if value is None:
        raise NotComparableError(
            f"{name} is neither in {connection_file()} nor in the environment: is there a stack with a sink?"
        )
    return value


def _sink_settings(settings: Settings, directory: Path) -> SinkSettings:
    """Return where the sink writes: what its role rendered, if that is at hand, and what `connection.env` says."""
    rendered = directory / "delta-sink" / "config" / "sink.json"
    try:
        found = json.loads(rendered.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    # The sink that runs may be of another version than this package.
    known = {name: found[name] for name in ("topics", "table_path", "table_paths", "state_dir") if name in found}
    return SinkSettings(**known, tables=settings.delta_sink_tables or str(settings.delta_tables_dir))
