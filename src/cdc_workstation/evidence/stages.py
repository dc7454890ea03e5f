"""Decides which stage of the pipeline has a table's last change: source, topic, sink, Delta. Facts in, lines out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Source:
    """The table in its database."""

    rows: int | None = None
    """How many it has; `None` if that cannot be read."""
    changed: float | None = None
    """When the test changed it last, in seconds since the epoch, as far as that is known."""
    problem: str = ""
    """Why it cannot be read."""


@dataclass(frozen=True)
class Topic:
    """The table's topic."""

    end: int = 0
    """The offset that the next event will have."""
    events: int = 0
    """How many there are."""
    keys: int | None = None
    """How many rows its events leave; `None` if that is not known."""
    last: str = ""
    """The last event in a few words."""
    last_written: float | None = None
    """When it was written."""
    exists: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Sink:
    """The sink's place in the topic."""

    next: int | None = None
    """The offset of the next event that it will apply; `None` if it has not applied any."""
    problem: str = ""
    """Why it does not answer or is not ready."""


@dataclass(frozen=True)
class Delta:
    """The Delta table."""

    version: int | None = None
    """Its version; `None` where there is no table."""
    rows: int = 0
    committed: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of one captured table."""

    table: str
    """Its name, and of which database."""
    topic_name: str
    path: str
    has_key: bool
    source: Source
    topic: Topic
    sink: Sink
    delta: Delta
    obstacle: str = ""
    """Why no change can arrive."""


_MARKS = {True: "yes", False: "NO", None: "?"}


def summary(facts: Facts) -> list[str]:
    """Return lines that say of each stage whether it has the last change, and a sentence about the first without it."""
    source, topic, sink, delta = facts.source, facts.topic, facts.sink, facts.delta
    in_topic, topic_text = _topic(facts)
    in_sink: bool | None = None
    if sink.problem:
        in_sink, sink_text = False, sink.problem
    elif topic.end == 0:
        in_sink, sink_text = (None if topic.problem else in_topic), "no event to apply"
    else:
        behind = topic.end - (sink.next or 0)
        in_sink = behind <= 0
        sink_text = "applied all events" if in_sink else f"applied up to offset {sink.next or 0}, {behind} behind"
    in_delta, delta_text = _delta(facts, in_sink)
    lines = [
        f"{facts.table}: which stage has its last change?",
        _line("source", None if source.rows is None else True, _source(source)),
        _line("topic", in_topic, topic_text),
        _line("sink", in_sink, sink_text),
        _line("Delta", in_delta, delta_text),
    ]
    stages = {"topic": in_topic, "sink": in_sink, "Delta": in_delta}
    missing = next((stage for stage, has in stages.items() if has is False), None)
    return [*lines, f"  {_conclusion(missing, facts, delta)}"]


def _line(stage: str, has: bool | None, text: str) -> str:
    return f"  {stage:<6}  {_MARKS[has]:<3}  {text}"


def _source(source: Source) -> str:
    if source.rows is None:
        return source.problem or "cannot be read"
    changed = f", last changed by the test at {_clock(source.changed)}" if source.changed else ""
    return f"{_count(source.rows, 'row')}{changed}"


def _topic(facts: Facts) -> tuple[bool | None, str]:
    source, topic = facts.source, facts.topic
    if topic.problem:
        return None, topic.problem
    if not topic.exists or not topic.events:
        text = f"{facts.topic_name} {'is empty' if topic.exists else 'does not exist'}"
        if source.rows is None:
            return None, text
        return source.rows == 0 and source.changed is None, text
    text = f"{facts.topic_name}: {_count(topic.events, 'event')}, last {topic.last} at {_clock(topic.last_written)}"
    if source.changed and topic.last_written and topic.last_written < source.changed:
        return False, f"{text}, before the test's last change"
    if facts.has_key and topic.keys is not None and source.rows is not None and topic.keys != source.rows:
        return False, f"{text}; they leave {_count(topic.keys, 'row')}"
    return True, text


def _delta(facts: Facts, in_sink: bool | None) -> tuple[bool | None, str]:
    source, delta = facts.source, facts.delta
    if delta.problem:
        return None, delta.problem
    if delta.version is None:
        has = None if source.rows is None else source.rows == 0 and not source.changed
        return has, f"there is no table at {facts.path}"
    text = f"{facts.path}: version {delta.version}, {_count(delta.rows, 'row')}, committed at {_clock(delta.committed)}"
    if facts.has_key and source.rows is not None and delta.rows != source.rows:
        return False, text
    return in_sink, text


def _conclusion(missing: str | None, facts: Facts, delta: Delta) -> str:
    if missing is None:
        if None in (facts.source.rows, delta.version) or facts.topic.problem:
            return "Not all stages could be looked at."
        return "All stages have it: what the test missed is not on its way."
    if facts.obstacle:
        return f"Cause: {facts.obstacle}"
    return {
        "topic": "The connector has not sent it: it lags, does not capture the table, or the change was not committed.",
        "sink": "The sink has not applied it.",
        "Delta": "The sink has applied it, and the table has not as many rows as its source.",
    }[missing]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _clock(moment: float | None) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%H:%M:%S.%f")[:-3] if moment else "an unknown time"
