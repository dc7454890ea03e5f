"""Evidence of a failed test: what the stack's services say about the topics, tables and connectors that it used.

It becomes part of pytest's report, before the fixtures clean up. Collecting it never fails a test, takes a bounded time
and yields a bounded text without secrets.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cdc_workstation.settings import Settings

EVIDENCE_INI = "cdc_workstation_evidence"
_TITLE = "cdc-workstation"

# Bounds of one section, of one failed test, and of the seconds that collecting may take.
_SECTION_CHARACTERS = 6_000
_TEST_CHARACTERS = 60_000
_SECONDS = 60.0
# How much of each thing is shown.
_EVENTS = 8
_EVENT_CHARACTERS = 600
_LOG_READ = 500
_LOG_LINES = 40
_COMMITS = 10
_DEAD_LETTERS = 5
_THINGS = 8
# How long one question may take.
_TIMEOUT = 10.0

# The fixtures that tell which services a test used; a fixture stands for those that it is made of as well.
_SERVICES = {
    "mysql_parameters": {"mysql"},
    "postgres_parameters": {"postgres"},
    "kafka_bootstrap_servers": {"kafka"},
    "connect_client": {"debezium"},
    "spark_session": {"spark-master", "spark-worker"},
    "spark_connect_session": {"spark-connect"},
    "alertmanager_client": {"alertmanager"},
    "webhook_receiver": {"webhook-receiver"},
    "prometheus_client": {"prometheus"},
}
# A line of a Java stack trace that names a method; what remains are the exceptions.
_FRAME = re.compile(r"(\d\S*Z )?\s+(at |\.\.\. \d+ )")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass
class Used:
    """What a test, or a fixture of a wider scope, used of the stack."""

    topics: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    connectors: list[str] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def add(self, other: Used) -> None:
        """Add what another one has."""
        self.topics += [one for one in other.topics if one not in self.topics]
        self.tables += [one for one in other.tables if one not in self.tables]
        self.connectors += [one for one in other.connectors if one not in self.connectors]
        self.services |= other.services


_used = pytest.StashKey[Used]()
_started = pytest.StashKey[float]()
_collected = pytest.StashKey[bool]()


def uses(
    request: pytest.FixtureRequest,
    *,
    topic: str | None = None,
    table: str | Path | None = None,
    connector: str | None = None,
    services: Iterable[str] = (),
) -> None:
    """Note what a fixture gives to a test, so that the evidence is about that.

    Args:
        request: the fixture's request.
        topic: the name of a topic.
        table: the path of a Delta table.
        connector: the name of a connector.
        services: services of the stack, by their names in compose.
    """
    used = request.node.stash.setdefault(_used, Used())
    used.add(
        Used(
            topics=[topic] if topic else [],
            tables=[Path(table)] if table else [],
            connectors=[connector] if connector else [],
            services=set(services),
        )
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the ini option that turns the evidence off."""
    parser.addini(
        EVIDENCE_INI,
        help="attach what the stack's services say to the report of a failed test",
        type="bool",
        default=True,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the evidence to the report of a phase that failed."""
    report = yield
    began = item.stash.setdefault(_started, call.start)
    if report.failed and not item.stash.get(_collected, False) and item.config.getini(EVIDENCE_INI):
        item.stash[_collected] = True
        report.sections.extend(collect(used_by(item), since=began))
    return report


def used_by(item: pytest.Item) -> Used:
    """Return what a test used: noted by its fixtures, and told by their names."""
    used = Used()
    for node in item.listchain():
        used.add(node.stash.get(_used, Used()))
    for name in getattr(item, "fixturenames", ()):
        used.services |= _SERVICES.get(name, set())
    return used


def collect(used: Used, *, since: float) -> list[tuple[str, str]]:
    """Return report sections, each a title and a text; none where no service was used. Never raises.

    Args:
        used: what to look at.
        since: when the test began, in seconds since the epoch.
    """
    if not used.services:
        return []
    from cdc_workstation.settings import get_settings

    deadline = time.monotonic() + _SECONDS
    sections: list[tuple[str, str]] = []
    room = _TEST_CHARACTERS
    try:
        settings = get_settings()
        for title, keep_end, read in _plan(used, settings, since):
            if time.monotonic() > deadline or room <= 0:
                sections.append((f"{_TITLE}: more", "The rest was left out: it would have taken too long or too much."))
                break
            text = _cut(_clean(_attempt(read)), min(_SECTION_CHARACTERS, room), keep_end=keep_end)
            if text:
                room -= len(text)
                sections.append((f"{_TITLE}: {title}", text))
    except (Exception, pytest.fail.Exception) as error:
        sections.append((f"{_TITLE}: evidence", f"could not be collected: {type(error).__name__}"))
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


def _clean(text: str) -> str:
    from cdc_workstation.redaction import redacted

    return _CONTROL.sub("", redacted(text)).strip("\n")


def _cut(text: str, limit: int, *, keep_end: bool) -> str:
    if len(text) <= limit:
        return text
    return f"[...]\n{text[-limit:]}" if keep_end else f"{text[:limit]}\n[...]"


def _short(text: str) -> str:
    from cdc_workstation.redaction import redacted

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
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "cdc-workstation-evidence",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "log_level": 0,
        }
    )
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic]
        if found.error is not None or not found.partitions:
            return "there is no such topic"
        starts, missing = [], 0
        for partition in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
            first = max(low, high - _EVENTS)
            missing += high - first
            if high > first:
                starts.append(TopicPartition(topic, partition, first))
        if not starts:
            return "the topic is empty"
        consumer.assign(starts)
        lines = []
        deadline = time.monotonic() + _TIMEOUT
        while missing > 0 and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None or message.error():
                continue
            missing -= 1
            at = datetime.fromtimestamp(message.timestamp()[1] / 1000, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
            lines.append(f"{message.partition()}:{message.offset()} {at} {_event(message.key(), message.value())}")
        return "\n".join(lines[-_EVENTS:])
    finally:
        consumer.close()


def _event(key: bytes | None, value: bytes | None) -> str:
    """Return an event in a line: its key, kind, rows and origin."""
    payload, identity = _payload(value), _payload(key)
    if value is None:
        return f"{identity} tombstone"
    if not isinstance(payload, dict) or "op" not in payload:
        return _short(f"{identity} {payload}")
    source = payload.get("source") or {}
    place = {name: source[name] for name in ("gtid", "file", "pos", "lsn", "txId", "ts_ms") if source.get(name)}
    rows = {name: payload.get(name) for name in ("before", "after")}
    text = json.dumps({"op": payload["op"], **rows, "source": place}, ensure_ascii=False, default=str)
    return _short(f"{json.dumps(identity, ensure_ascii=False)} {text}")


def _payload(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        document = json.loads(raw)
    except ValueError:
        return repr(raw)
    return document.get("payload", document) if isinstance(document, dict) else document


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
