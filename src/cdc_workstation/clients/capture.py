"""Why changes of a captured table cannot arrive: its connector does not run, or the sink has stopped the table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import requests
from deltalake.exceptions import DeltaError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient, ConnectError
from cdc_workstation.clients.delta import DeltaReader
from cdc_workstation.clients.sink import SinkClient, is_stopped
from cdc_workstation.settings import Settings

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

    def problem(self) -> str:
        """Say why no change arrives, with the innermost cause last; empty if changes may arrive."""
        return self.connector_problem() or self.table_problem()

    def connector_problem(self) -> str:
        """Say why the table's connector makes no events; empty if it may make some."""
        if self._connector is None or self._settings.debezium_url is None:
            return ""
        with ConnectClient(self._settings.debezium_url, timeout=_TIMEOUT) as client:
            try:
                return client.problem(self._connector)
            except (requests.RequestException, ConnectError):
                return ""

    def table_problem(self) -> str:
        """Say why the sink has stopped the table; empty if it has not."""
        if self._settings.delta_sink_url is None:
            return ""
        with SinkClient(self._settings.delta_sink_url, timeout=_TIMEOUT) as sink:
            try:
                stopped = is_stopped(sink.metrics(), self._table)
            except requests.RequestException:
                return ""
        if not stopped:
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


def dead_letters(settings: Settings) -> Path:
    """Return the path of the sink's dead-letter table."""
    return settings.delta_tables_dir / "_cdc" / "dead_letters"
