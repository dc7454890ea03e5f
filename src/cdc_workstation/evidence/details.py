"""Details of a failed test: what the stack's services say about the topics, tables and connectors that it used."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdc_workstation.redaction import redacted
from cdc_workstation.settings import Settings, get_settings

if TYPE_CHECKING:
    from cdc_workstation.clients.kafka import ChangeEvent
    from cdc_workstation.evidence import Used

# Bounds of one section, of one failed test, and of the seconds that collecting may take.
_SECTION_CHARACTERS = 20_000
_TEST_CHARACTERS = 200_000
_SECONDS = 20.0
# How much of each thing is shown.
_EVENTS = 20
_EVENT_CHARACTERS = 600
_LOG_READ = 500
_LOG_LINES = 100
_COMMITS = 10
_DEAD_LETTERS = 5
_THINGS = 8
# How long one question may take.
_TIMEOUT = 5.0

# A line of a Java stack trace that names a method; what remains are the exceptions.
_FRAME = re.compile(r"(\d\S*Z )?\s+(at |\.\.\. \d+ )")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def collect(used: Used, *, since: float) -> list[tuple[str, str]]:
    """Return sections, each a title and a text; none where no service was used. Never raises.

    Args:
        used: what to look at.
        since: when the test began, in seconds since the epoch.
    """
    if not used.services:
        return []
    deadline = time.monotonic() + _SECONDS
    sections: list[tuple[str, str]] = []
    room = _TEST_CHARACTERS
    try:
        settings = get_settings()
        for title, keep_end, read in _plan(used, settings, since):
            if time.monotonic() > deadline or room <= 0:
                sections.append(("more", "The rest was left out: it would have taken too long or too much."))
                break
            text = _cut(clean(_attempt(read)), min(_SECTION_CHARACTERS, room), keep_end=keep_end)
            if text:
                room -= len(text)
                sections.append((title, text))
    except (Exception, pytest.fail.Exception) as error:
        sections.append(("evidence", f"could not be collected: {type(error).__name__}"))
    return sections


Section = tuple[str, bool, Callable[[], str]]


def _plan(used: Used, settings: Settings, since: float) -> Iterator[Section]:
    """Yield what to collect, each a title, whether the end of the text is what matters, and how to get it."""
    if "debezium" in used.services and settings.debezium_url:
        yield "connectors", False, partial(_connectors, settings, used.connectors)
    if settings.kafka_bootstrap_servers:
        for topic in used.topics[:_THINGS]:
            yield f"last events of {topic}", True, partial(_events, settings, topic)
    for path in used.tables[:_THINGS]:
        yield f"history of {path}", False, partial(_history, path)
    if "delta-sink" in used.services:
        yield "delta-sink", False, partial(_sink, settings, used)
        yield "dead letters", False, partial(_dead_letters, settings, used.topics)
    containers = _containers(settings.compose_project_name)
    for service in sorted(used.services):
        identity = containers.get(service)
        state = f" ({identity[1]})" if identity else ""
        yield f"log of {service}{state} since {_clock(since)}", True, partial(_log, identity, since)


def _attempt(read: Callable[[], str]) -> str:
    try:
        return read()
    except (Exception, pytest.fail.Exception) as error:
        return f"could not be collected: {type(error).__name__}: {error}"


def clean(text: str) -> str:
    """Return a text without secrets and control characters."""
    return _CONTROL.sub("", redacted(text)).strip("\n")


def _cut(text: str, limit: int, *, keep_end: bool) -> str:
    if len(text) <= limit:
        return text
    return f"[...]\n{text[-limit:]}" if keep_end else f"{text[:limit]}\n[...]"


def _short(text: str) -> str:
    # Half of a secret is not known as one: it goes before the text is cut.
    text = redacted(text)
    return text if len(text) <= _EVENT_CHARACTERS else f"{text[:_EVENT_CHARACTERS]}..."


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%H:%M:%S UTC")


def _connectors(settings: Settings, wanted: list[str]) -> str:
    from cdc_workstation.clients.connect import ConnectClient

    lines = []
    with ConnectClient.of(settings, timeout=_TIMEOUT) as client:
        statuses = client.statuses()
        lines += [f"{name}: not registered" for name in wanted if name not in statuses]
        for name, status in statuses.items():
            parts = [("connector", status["connector"])]
            parts += [(f"task {task['id']}", task) for task in status["tasks"]]
            lines.append(f"{name}: " + ", ".join(f"{part} {found['state']}" for part, found in parts))
            for part, found in parts:
                if found.get("trace"):
                    lines += [f"  {part}: {line}" for line in _causes(found["trace"])]
    return "\n".join(lines) or "none is registered"


def _causes(trace: str) -> list[str]:
    """Return a Java stack trace without its frames."""
    return [line for line in trace.splitlines() if not _FRAME.match(line)][:12]


def _events(settings: Settings, topic: str) -> str:
    from cdc_workstation.clients.kafka import ChangeEvents

    with ChangeEvents(settings.kafka_bootstrap_servers or "", topic) as reader:
        if not reader.exists():
            return "there is no such topic"
        events = reader.backlog(_EVENTS, timeout=_TIMEOUT)
    return "\n".join(map(_event, events)) or "the topic is empty"


def _event(event: ChangeEvent) -> str:
    """Return an event in a line: its place, key, kind, rows and origin."""
    start = f"{event.partition}:{event.offset} {event.timestamp:%H:%M:%S.%f} {json.dumps(event.key, default=str)}"
    if event.is_tombstone:
        return f"{start} tombstone"
    names = ("gtid", "file", "pos", "lsn", "txId", "ts_ms")
    place = {name: event.source[name] for name in names if event.source.get(name)}
    rows = {"op": event.op, "before": event.before, "after": event.after, "source": place}
    return _short(f"{start} {json.dumps(rows, ensure_ascii=False, default=float)}")


def _history(path: Path) -> str:
    from cdc_workstation.clients.delta import DeltaReader

    reader = DeltaReader(path)
    commits = reader.history(_COMMITS)
    if not commits:
        return "there is no table at that path"
    lines = [f"rows: {reader.count()}"]
    for commit in commits:
        at = datetime.fromtimestamp(commit["timestamp"] / 1000, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
        metrics = commit.get("operationMetrics") or {}
        counts = {name: value for name, value in metrics.items() if "Rows" in name and str(value) != "0"}
        lines.append(f"{commit['version']:>4} {at} {commit['operation']} {counts or ''}")
    return "\n".join(lines)


def _sink(settings: Settings, used: Used) -> str:
    from cdc_workstation.clients.sink import SinkClient

    with SinkClient(settings.delta_sink_url or "", timeout=_TIMEOUT) as sink:
        problem = sink.problem()
        metrics = sink.metrics()
    names = [f'table="{".".join(path.parts[-2:])}"' for path in used.tables]
    lines = [
        line
        for line in metrics.splitlines()
        if not line.startswith("#") and "_bucket" not in line and any(name in line for name in names)
    ]
    return "\n".join([f"not ready: {problem}" if problem else "ready", *lines])


def _dead_letters(settings: Settings, topics: list[str]) -> str:
    from cdc_workstation.clients.capture import dead_letters
    from cdc_workstation.clients.delta import DeltaReader

    reader = DeltaReader(dead_letters(settings))
    rows = [row for topic in topics for row in reader.matching({"topic": topic})]
    rows.sort(key=lambda row: (row["topic"], row["partition"], row["offset"]))
    return "\n".join(
        f"{row['topic']} {row['partition']}:{row['offset']} {row['reason']}: {_short(row['detail'])}"
        for row in rows[-_DEAD_LETTERS:]
    )


def service_states(project: str) -> dict[str, str]:
    """Return the services of a compose project with the states of their containers, as Docker puts them."""
    return {service: state for service, (_, state) in _containers(project).items()}


def _containers(project: str) -> dict[str, tuple[str, str]]:
    """Return the containers of a compose project: service to id and state; none where there is no engine."""
    try:
        listed = _docker(
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            f"label=com.docker.compose.project={project}",
            "--format",
            '{{.ID}}\t{{.Label "com.docker.compose.service"}}\t{{.Status}}',
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = (line.split("\t") for line in listed.splitlines())
    return {parts[1]: (parts[0], parts[2]) for parts in lines if len(parts) == 3}


def _log(container: tuple[str, str] | None, since: float) -> str:
    if container is None:
        return "there is no such container on this machine"
    start = datetime.fromtimestamp(since, tz=UTC).isoformat()
    text = _docker("logs", "--since", start, "--tail", str(_LOG_READ), "--timestamps", container[0])
    lines = [line for line in text.splitlines() if not _FRAME.match(line)]
    return "\n".join(lines[-_LOG_LINES:]) or "no line"


def _docker(*arguments: str) -> str:
    """Run the docker client and return what it printed, to either stream.

    Raises:
        OSError: there is no docker client.
        subprocess.SubprocessError: it failed or took too long.
    """
    run = subprocess.run(  # noqa: S603 -- constant arguments and ids that docker listed
        ["docker", *arguments],  # noqa: S607 -- the client of the user's path
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_TIMEOUT,
        check=True,
    )
    return run.stdout
