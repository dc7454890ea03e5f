"""The leak check of a run of the suite: what it leaves on the stack is reported, or removed if the run was cut short.

Everything that a test creates on the stack has a name of the form `NAME`. The check ignores what was there before the
run and what has another name: that is the user's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
import mysql.connector
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.alertmanager import AlertmanagerClient
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import delete_stale_topics, delete_topics
from cdc_workstation.settings import Settings, connection_file

NAME = re.compile(r"(?<![a-z0-9])(?:(?:t|cdc|test|cdcdb_test)_|test-)[0-9a-f]{12}(?![0-9a-f])|^pytest-.+-[0-9a-f]{8}$")
# How long the stack may take over things that tests have just removed: topics are deleted, silences expire.
_GRACE_SECONDS = 30.0
# After an interrupt this many looks in a row, a second apart, must find nothing: connectors and sink may still be
# working on changes from before it.
QUIET_LOOKS = 5
_TIMEOUT = 10


@dataclass(frozen=True)
class Kind:
    """One kind of things that tests create: how to list them, and how to remove one."""

    name: str
    find: Callable[[], set[str]]
    remove: Callable[[str], None]


class LeakCheck:
    """Finds what tests created since this object was made, and nobody removed.

    Args:
        settings: where the services are; absent ones are skipped.
        name: the pattern of the names that tests give.
        labels: labels of tests' alerts, and of what their silences mute.
    """

    def __init__(
        self, settings: Settings, name: re.Pattern[str] = NAME, labels: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._name = name
        self._labels = labels or {"environment": "test"}
        self._kinds = self._declare()
        if settings.kafka_bootstrap_servers:
            delete_stale_topics(settings.kafka_bootstrap_servers, name)
        self._before = self._look()

    def left(self) -> dict[str, list[str]]:
        """Return kind to names of what was left; things that are being removed get up to 30 s.

        Things that the stack recreates after a test removed them are removed here and are no leak: an event on its way,
        or a producer that still asks for a deleted topic, has the broker recreate it, and the sink may write a last
        commit into a directory that was just deleted.
        """
        return Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(_GRACE_SECONDS),
            wait=wait_fixed(1),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else {},
        )(self._new_without_late)

    def remove(self, quiet_looks: int = QUIET_LOOKS) -> dict[str, list[str]]:
        """Remove what was left, and what changes on their way recreate; return it."""
        removed: dict[str, set[str]] = {}
        looks: list[bool] = []

        def clean() -> bool:
            left = self._new()
            for kind in self._kinds:
                for name in left.get(kind.name, []):
                    kind.remove(name)
                    removed.setdefault(kind.name, set()).add(name)
            looks.append(not left)
            return all(looks[-quiet_looks:]) and len(looks) >= quiet_looks

        Retrying(
            retry=retry_if_result(lambda quiet: not quiet),
            stop=stop_after_delay(_GRACE_SECONDS),
            wait=wait_fixed(1),
            retry_error_callback=lambda _: None,
        )(clean)
        return {name: sorted(names) for name, names in removed.items()}

    def _new_without_late(self) -> dict[str, list[str]]:
        new = self._new()
        for name in new.get("Delta directories", []):
            self._delete_directory(name)
        for name in new.get("topics", []):
            self._delete_topic(name)
        new = self._new()
        written = [name for name in new.pop("topics", []) if not self._is_empty(name)]
        return new | ({"topics": written} if written else {})

    def _look(self) -> dict[str, set[str]]:
        return {kind.name: kind.find() for kind in self._kinds}

    def _new(self) -> dict[str, list[str]]:
        found = {name: sorted(now - self._before[name]) for name, now in self._look().items()}
        return {name: new for name, new in found.items() if new}

    def _declare(self) -> list[Kind]:
        """Connectors first: they would go on creating topics."""
        settings = self._settings
        kinds = []
        if settings.debezium_url:
            kinds.append(Kind("connectors", self._connectors, self._delete_connector))
        if settings.postgres_host:
            kinds += [
                Kind("replication slots", self._slots, self._drop_slot),
                Kind("PostgreSQL schemas", self._postgres_schemas, self._drop_postgres_schema),
                Kind("PostgreSQL tables", self._postgres_tables, self._drop_postgres_table),
            ]
        if settings.mysql_host:
            kinds += [
                Kind("MySQL databases", self._mysql_databases, self._drop_mysql_database),
                Kind("MySQL tables", self._mysql_tables, self._drop_mysql_table),
            ]
        if settings.kafka_bootstrap_servers:
            kinds.append(Kind("topics", self._topics, self._delete_topic))
        if settings.delta_tables_dir.is_dir():
            kinds.append(Kind("Delta directories", self._directories, self._delete_directory))
        if (self._targets / "prometheus.json").is_file():
            kinds += [
                Kind("targets of Prometheus", self._target_files, self._delete_target_file),
                Kind("containers", self._containers, self._remove_container),
            ]
        if settings.alertmanager_url:
            kinds += [
                Kind("silences", self._silences, self._expire_silence),
                Kind("alerts", self._alerts, self._resolve_alert),
            ]
        return kinds

    # Kafka and Connect

    def _connectors(self) -> set[str]:
        with ConnectClient.of(self._settings) as client:
            return {name for name in client.connectors() if self._name.search(name)}

    def _delete_connector(self, name: str) -> None:
        with ConnectClient.of(self._settings) as client:
            client.remove(name)

    def _topics(self) -> set[str]:
        admin = AdminClient({"bootstrap.servers": self._settings.kafka_bootstrap_servers or "", "log_level": 2})
        try:
            return {name for name in admin.list_topics(timeout=_TIMEOUT).topics if self._name.search(name)}
        except KafkaException as error:
            raise RuntimeError(f"Kafka does not list its topics: {error}") from error

    def _is_empty(self, name: str) -> bool:
        with closing(
            Consumer(
                {
                    "bootstrap.servers": self._settings.kafka_bootstrap_servers or "",
                    "group.id": "leak-check",
                    "allow.auto.create.topics": False,
                    "log_level": 2,
                }
            )
        ) as consumer:
            try:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=_TIMEOUT, cached=False)
            except KafkaException:
                # It was deleted meanwhile.
                return True
            return bool(low == high)

    def _delete_topic(self, name: str) -> None:
        delete_topics(self._settings.kafka_bootstrap_servers or "", name.__eq__)

    # The databases

    def _mysql(self, statement: str, *, rows: bool = True) -> set[str]:
        settings = self._settings
        with (
            closing(
                mysql.connector.connect(
                    host=settings.mysql_host,
                    port=settings.mysql_port,
                    database=settings.mysql_database,
                    user=settings.mysql_user,
                    password=settings.mysql_password.get_secret_value(),
                    connection_timeout=_TIMEOUT,
                )
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return {str(row[0]) for row in cursor.fetchall() if self._name.search(str(row[0]))} if rows else set()

    def _mysql_databases(self) -> set[str]:
        return self._mysql("SHOW DATABASES")

    def _drop_mysql_database(self, name: str) -> None:
        self._mysql(f"DROP DATABASE IF EXISTS `{name}`", rows=False)

    def _mysql_tables(self) -> set[str]:
        return self._mysql("SHOW TABLES")

    def _drop_mysql_table(self, name: str) -> None:
        self._mysql(f"DROP TABLE IF EXISTS `{name}`", rows=False)

    def _postgres(self, statement: str | sql.Composed, *parameters: str) -> set[str]:
        settings = self._settings
        with psycopg.connect(
            host=settings.postgres_host,
            port=settings.postgres_port,
            dbname=settings.postgres_database,
            user=settings.postgres_user,
            password=settings.postgres_password.get_secret_value(),
            connect_timeout=_TIMEOUT,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement, parameters or None)
            return {str(row[0]) for row in cursor if self._name.search(str(row[0]))} if cursor.description else set()

    def _slots(self) -> set[str]:
        return self._postgres(sql.Composed([sql.SQL("SELECT slot_name FROM pg_replication_slots")]))

    def _drop_slot(self, name: str) -> None:
        self._postgres(sql.Composed([sql.SQL("SELECT drop_test_slot(%s)")]), name)

    def _postgres_schemas(self) -> set[str]:
        return self._postgres(sql.Composed([sql.SQL("SELECT nspname FROM pg_namespace")]))

    def _drop_postgres_schema(self, name: str) -> None:
        self._postgres(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))

    def _postgres_tables(self) -> set[str]:
        return self._postgres(sql.Composed([sql.SQL("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]))

    def _drop_postgres_table(self, name: str) -> None:
        self._postgres(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(name)))

    # Delta

    def _directories(self) -> set[str]:
        root = self._settings.delta_tables_dir
        found = {str(path.relative_to(root)) for path in (*root.glob("*"), *root.glob("[!._]*/*"))}
        outer = {name for name in found if "/" not in name and self._name.search(name)}
        inner = {name for name in found if "/" in name and self._name.search(name.split("/")[1])}
        return outer | {name for name in inner if name.split("/")[0] not in outer}

    def _delete_directory(self, name: str) -> None:
        shutil.rmtree(self._settings.delta_tables_dir / name, ignore_errors=True)

    # What Prometheus scrapes

    @property
    def _targets(self) -> Path:
        return connection_file().parent / "targets"

    def _target_files(self) -> set[str]:
        return {path.name for path in self._targets.glob("*.json") if self._name.search(path.name)}

    def _delete_target_file(self, name: str) -> None:
        (self._targets / name).unlink(missing_ok=True)

    def _containers(self) -> set[str]:
        found = docker.from_env().containers.list(all=True, ignore_removed=True)
        return {one.name for one in found if self._name.search(one.name)}

    def _remove_container(self, name: str) -> None:
        docker.from_env().containers.get(name).remove(force=True)

    # Alertmanager

    def _silences(self) -> set[str]:
        with AlertmanagerClient(self._settings.alertmanager_url or "", labels=self._labels) as client:
            return {one.id for one in client.silences() if one.status.state != "expired"}

    def _expire_silence(self, name: str) -> None:
        with AlertmanagerClient(self._settings.alertmanager_url or "", labels=self._labels) as client:
            client.expire_silence(name)

    def _alerts(self) -> set[str]:
        with AlertmanagerClient(self._settings.alertmanager_url or "", labels=self._labels) as client:
            return {",".join(f"{name}={value}" for name, value in sorted(a.labels.items())) for a in client.alerts()}

    def _resolve_alert(self, name: str) -> None:
        labels = dict(pair.split("=", 1) for pair in name.split(","))
        with AlertmanagerClient(self._settings.alertmanager_url or "", labels=self._labels) as client:
            client.resolve(labels)
