"""Why changes of a captured table cannot arrive: its connector does not run, or the sink has stopped the table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import requests
from deltalake.exceptions import DeltaError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient, ConnectError
from cdc_workstation.clients.delta import DeltaReader
from cdc_workstation.clients.sink import SinkClient, is_stopped, total
from cdc_workstation.settings import Settings

# pytest's tracebacks end in the test.
__tracebackhide__ = True

# One look must not hold up a wait for long.
_TIMEOUT = 5.0


class CaptureHealth:
    """Looks at the way of one table's changes.

    Services that do not answer are no problem here: they may be restarting, and a wait has its own end.

    Args:
        settings: where the services are.
        connector: the name of the connector that captures the table; `None` if none does.
        table: the table as the sink names it, `database.table` or `schema.table`.
        topic: the topic of its change events.
    """

    def __init__(self, settings: Settings, connector: str | None, table: str, topic: str) -> None:
        self._settings = settings
        self._connector = connector
        self._table = table
        self._topic = topic
        self._was_stopped = False

    def problem(self) -> str:
        """Say why no change arrives, with the innermost cause last; empty if changes may arrive."""
        return self.connector_problem() or self.table_problem()

    def connector_problem(self) -> str:
        """Say why the table's connector makes no events; empty if it may make some."""
        if self._connector is None or self._settings.debezium_url is None:
            return ""
        with ConnectClient.of(self._settings, timeout=_TIMEOUT) as client:
            try:
                return client.problem(self._connector)
            except ConnectError:
                return ""

    def table_problem(self) -> str:
        """Say why the sink has stopped the table; empty if it has not, or if a snapshot may let it go on.

        A sink that stops a table may ask for a snapshot of it a moment later: a table counts as stopped at the second
        look only, and not while its first snapshot is on its way.
        """
        if self._settings.delta_sink_url is None:
            return ""
        with SinkClient(self._settings.delta_sink_url, timeout=_TIMEOUT) as sink:
            try:
                metrics = sink.metrics()
            except requests.RequestException:
                return ""
        was_stopped, self._was_stopped = self._was_stopped, is_stopped(metrics, self._table)
        snapshots = total(metrics, "snapshot_due", table=self._table)
        if not self._was_stopped or snapshots == 1 or (snapshots == 0 and not was_stopped):
            return ""
        return f"the sink has stopped {self._table}: {self.last_dead_letter() or 'its log says why'}"

    def last_dead_letter(self) -> str:
        """Return the detail of the table's last dead letter; empty if there is none.

        The sink tells first that it stopped a table and then why, so this waits a moment.
        """
        return str(
            Retrying(
                retry=retry_if_result(lambda detail: not detail),
                stop=stop_after_delay(_TIMEOUT),
                wait=wait_fixed(0.1),
                retry_error_callback=lambda _: "",
            )(self._last_dead_letter)
        )

    def _last_dead_letter(self) -> str:
        reader = DeltaReader(dead_letters(self._settings))
        # Another process may be rewriting the table at this moment.
        with suppress(DeltaError, OSError, KeyError):
            letters = reader.matching({"topic": self._topic})
            if letters:
                return str(max(letters, key=lambda letter: letter["offset"])["detail"])
        return ""


def failure(client: ConnectClient, prefix: str, namespace: str, table: str) -> str:
    """Say why the connector that captures a table has failed; empty if it has not, or if there is none.

    Args:
        client: Kafka Connect; one that does not answer is no failure.
        prefix: how the connector's topics begin.
        namespace: the table's database in MySQL, its schema in PostgreSQL.
        table: the table's own name.
    """
    from cdc_workstation.verify.captured import TableName, connectors

    try:
        found = [
            connector.name
            for connector in sorted(connectors(client.configs()), key=lambda one: one.database)
            if connector.prefix == prefix and connector.captures(TableName(connector.database, namespace, table))
        ]
        # A connector to PostgreSQL may take schemas of any name, MySQL's databases among them.
        failed = [name for name in found[:1] if client.state(name) == "FAILED"]
        return client.problem(failed[0]) if failed else ""
    except ConnectError:
        return ""


def dead_letters(settings: Settings) -> Path:
    """Return the path of the sink's dead-letter table."""
    return settings.delta_tables_dir / "_cdc" / "dead_letters"
