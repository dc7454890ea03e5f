"""The sink's dead-letter table, and the way back to Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import requests
from confluent_kafka import KafkaException, Producer
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_workstation.cli.captured import needed
from cdc_workstation.cli.dead_letter_view import Letter, Reason
from cdc_workstation.cli.outcome import CliError
from cdc_workstation.clients.sink import SinkClient, next_offsets
from cdc_workstation.settings import Settings
from cdc_workstation.verify.databases import NotComparableError
from cdc_workstation.verify.stack import Stack

_INTERVAL = 0.2
_COLUMNS = ("topic", "partition", "offset", "table", "reason", "detail", "written_at", "key", "value")
REPLAYED = 10_000
"""Events that are replayed at a time."""

Place = tuple[str, int, int]
"""Topic, partition and offset."""


class DeadLetterStore:
    """Reads dead letters, and replays them.

    Args:
        settings: where the services are.

    Raises:
        CliError: (all methods) a service does not answer, or the table cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            with Stack(settings) as stack:
                self._uri = str(stack.sink_settings.dead_letters).replace("s3a://", "s3://", 1)
        except NotComparableError as error:
            raise CliError(str(error)) from error
        self._options = settings.s3_storage_options() if "://" in self._uri else {}

    def reasons(self, table: str | None) -> list[Reason]:
        """Return how many there are by table and reason, the most first.

        Args:
            table: of which table, `table` or `namespace.table`; all if `None`.
        """
        rows = self._query(
            'SELECT "table", reason, count(*) AS n, max(written_at) AS newest FROM letters'  # noqa: S608 -- quoted
            f' {_condition(table)} GROUP BY "table", reason ORDER BY n DESC'
        )
        return [Reason(row["table"], row["reason"], int(row["n"]), row["newest"]) for row in rows]

    def newest(self, table: str | None, count: int) -> list[Letter]:
        """Return the newest of a table, newest first."""
        return self._letters(f'{_condition(table)} ORDER BY written_at DESC, "offset" DESC LIMIT {count}')

    def oldest(self, table: str | None) -> list[Letter]:
        """Return the oldest of a table, as many as are replayed at a time."""
        return self._letters(f'{_condition(table)} ORDER BY written_at, "offset" LIMIT {REPLAYED}')

    def replay(self, letters: Sequence[Letter], timeout: float, say: Callable[[str], None]) -> list[Letter]:
        """Send events to their topics again, wait for the sink, and forget those that it took.

        Args:
            letters: the events; each goes to the partition that it came from, in the old order.
            timeout: seconds that the sink may take.
            say: called with what is being done.

        Returns:
            Those that are dead letters again, with their new place.
        """
        if not letters:
            return []
        sent = self._send(sorted(letters, key=lambda letter: letter.place))
        say(f"Waiting until the sink has read {len(sent)} events")
        self._wait(sent, timeout)
        again = [letter for letter in self._letters(_condition_of(list(sent))) if letter.place in sent]
        # One that is a dead letter again is in the table with its new place.
        self._forget([letter.place for letter in sent.values()])
        return again

    def _send(self, letters: Sequence[Letter]) -> dict[Place, Letter]:
        """Return the place that each event has now."""
        servers = needed("KAFKA_BOOTSTRAP_SERVERS", self._settings.kafka_bootstrap_servers)
        placed: dict[Place, Letter] = {}
        failures: list[str] = []
        producer = Producer({"bootstrap.servers": servers, "message.timeout.ms": 10_000, "log_level": 0})

        def delivered(letter: Letter) -> Callable[[Any, Any], None]:
            def keep(error: Any, message: Any) -> None:
                if error is not None:
                    failures.append(str(error))
                else:
                    placed[message.topic(), message.partition(), message.offset()] = letter

            return keep

        try:
            for letter in letters:
                producer.produce(
                    letter.topic, letter.value, letter.key, partition=letter.partition, on_delivery=delivered(letter)
                )
                producer.poll(0)
            left = producer.flush(15)
        except (KafkaException, BufferError) as error:
            raise CliError(f"Kafka at {servers} does not take the events: {error}.") from error
        if left or failures:
            raise CliError(f"Kafka at {servers} did not take {left + len(failures)} events; try again. {failures[:1]}")
        return placed

    def _wait(self, sent: dict[Place, Letter], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        url = needed("DELTA_SINK_URL", self._settings.delta_sink_url)
        left = set(sent)
        with SinkClient(url) as sink:
            while left:
                try:
                    metrics = sink.metrics()
                except requests.RequestException as error:
                    raise CliError(
                        f"The sink at {url} does not answer; it reads the events when it is back."
                    ) from error
                for partition in {place[1] for place in left}:
                    following = next_offsets(metrics, partition)
                    left -= {place for place in left if place[1] == partition and following.get(place[0], 0) > place[2]}
                if left and time.monotonic() > deadline:
                    raise CliError(
                        f"The sink has not read {len(left)} of {len(sent)} events after {timeout:.0f} s: it is behind, "
                        "or has stopped the table (`cdc-workstation status`). They stay dead letters until then."
                    )
                time.sleep(_INTERVAL if left else 0)

    def _forget(self, places: Sequence[Place]) -> None:
        source = self._open()
        if source is None:
            return
        try:
            source.delete(_condition_of(places).removeprefix("WHERE "))
        except (DeltaError, OSError) as error:
            raise CliError(f"The events were replayed, and stay in {self._uri}: {error}.") from error

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(self._uri, storage_options=self._options or None)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise CliError(f"The dead letters at {self._uri} cannot be read: {error}.") from error

    def _letters(self, condition: str) -> list[Letter]:
        columns = ", ".join(f'"{name}"' for name in _COLUMNS)
        rows = self._query(f"SELECT {columns} FROM letters {condition}")  # noqa: S608 -- quoted
        return [Letter(*(row[name] for name in _COLUMNS)) for row in rows]

    def _query(self, statement: str) -> list[dict[str, Any]]:
        source = self._open()
        if source is None:
            return []
        try:
            found = QueryBuilder().register("letters", source).execute(statement)
            return pa.RecordBatchReader.from_stream(found).read_all().to_pylist()  # type: ignore[no-any-return]
        except (DeltaError, OSError) as error:
            raise CliError(f"The dead letters at {self._uri} cannot be read: {error}.") from error


def _condition(table: str | None) -> str:
    if table is None:
        return ""
    name = table.rpartition(":")[2].replace("'", "''")
    return f"WHERE (\"table\" = '{name}' OR right(\"table\", {len(name) + 1}) = '.{name}')"


def _condition_of(places: Sequence[Place]) -> str:
    """Return the condition that a record is at one of these places."""
    offsets: dict[tuple[str, int], list[str]] = {}
    for topic, partition, offset in places:
        offsets.setdefault((topic, partition), []).append(str(offset))
    parts = [
        f'(topic = \'{topic}\' AND "partition" = {partition} AND "offset" IN ({", ".join(listed)}))'
        for (topic, partition), listed in offsets.items()
    ]
    return f"WHERE {' OR '.join(parts)}"
