"""Reads what `stages` decides on: one table in its database, its topic, the sink and Delta. Nothing here raises."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cdc_workstation.evidence.stages import Delta, Facts, Sink, Source, Topic

if TYPE_CHECKING:
    from cdc_workstation.clients.kafka import ChangeEvent
    from cdc_workstation.clients.pipeline import CdcPipeline
    from cdc_workstation.settings import Settings

_TIMEOUT = 3.0
# A topic of more events is not read as a whole, and its rows are not counted.
_EVENTS = 2_000
_KEY_CHARACTERS = 60


def read(pipeline: CdcPipeline, settings: Settings) -> Facts:
    """Look at a captured table on all stages."""
    return Facts(
        table=f"{pipeline.table} ({pipeline.database})",
        topic_name=pipeline.topic,
        path=pipeline.path,
        has_key=bool(pipeline.key),
        source=_source(pipeline, settings),
        topic=_topic(pipeline.topic, settings),
        sink=_sink(pipeline.topic, settings),
        delta=_delta(pipeline),
        obstacle=_obstacle(pipeline),
    )


def _source(pipeline: CdcPipeline, settings: Settings) -> Source:
    from cdc_workstation.clients.source import open_source

    try:
        # Of its own: the test's connection would show what is not committed, and may be broken.
        with closing(open_source(settings, pipeline.database, timeout=_TIMEOUT)) as connection:
            [[rows]] = connection.execute(f"SELECT COUNT(*) FROM {connection.quoted(pipeline.table)}")  # noqa: S608
        return Source(int(rows), pipeline.changed)
    except Exception as error:
        return Source(None, pipeline.changed, f"cannot be read: {_line(error)}")


def _topic(topic: str, settings: Settings) -> Topic:
    from cdc_workstation.clients.kafka import ChangeEvents

    try:
        with ChangeEvents(settings.kafka_bootstrap_servers or "", topic) as reader:
            if not reader.exists():
                return Topic(exists=False)
            events = reader.backlog(_EVENTS, timeout=_TIMEOUT)
    except Exception as error:
        return Topic(problem=f"cannot be read: {_line(error)}")
    if not events:
        return Topic()
    last = events[-1]
    changes = [event for event in events if not event.is_tombstone]
    return Topic(
        end=max(event.offset for event in events if event.partition == 0) + 1 if last.partition == 0 else 0,
        events=len(events),
        keys=rows_left(events),
        last=_named(changes[-1] if changes else last),
        last_written=max(event.timestamp for event in events).timestamp(),
    )


def rows_left(events: list[ChangeEvent]) -> int | None:
    """Return how many rows the events of a whole topic leave, by their keys; `None` if it is not whole."""
    if not events or events[0].offset != 0 or any(event.partition for event in events):
        return None
    keys: set[str] = set()
    for event in events:
        key = json.dumps(event.key, sort_keys=True, default=str)
        if event.op == "t":
            keys.clear()
        elif event.op == "d" or event.is_tombstone:
            keys.discard(key)
        elif event.key is None:
            return None
        else:
            keys.add(key)
    return len(keys)


def _named(event: ChangeEvent) -> str:
    key = json.dumps(event.key, ensure_ascii=False, default=str)
    return f"{event.op or 'tombstone'} {key[:_KEY_CHARACTERS]}"


def _sink(topic: str, settings: Settings) -> Sink:
    from cdc_workstation.clients.sink import SinkClient, next_offsets

    if settings.delta_sink_url is None:
        return Sink(problem="the stack has none")
    try:
        with SinkClient(settings.delta_sink_url, timeout=_TIMEOUT) as client:
            return Sink(next_offsets(client.metrics()).get(topic), client.problem())
    except Exception as error:
        return Sink(problem=f"{settings.delta_sink_url} does not answer ({type(error).__name__})")


def _delta(pipeline: CdcPipeline) -> Delta:
    try:
        commits: list[dict[str, Any]] = pipeline.delta.history(1)
        if not commits:
            return Delta()
        return Delta(int(commits[0]["version"]), pipeline.delta.count(), commits[0]["timestamp"] / 1000)
    except Exception as error:
        return Delta(problem=f"cannot be read: {_line(error)}")


def _obstacle(pipeline: CdcPipeline) -> str:
    try:
        # A table counts as stopped at the second look.
        return pipeline.problem() or pipeline.problem()
    except Exception:
        return ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
