"""The state of the stack as one self-contained page: the pipeline, its lag and its alerts as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, Field

State = Literal["good", "busy", "bad", "absent"]
Points = list[tuple[float, float]]
"""Times, in seconds since the epoch, with the values that Prometheus had then."""

# The worst first.
_BADNESS: tuple[State, ...] = ("bad", "busy", "good", "absent")
_SERVICE_STATES: Mapping[str, State] = {"healthy": "good", "running": "good", "starting": "busy"}
_TASK_STATES: Mapping[str, State] = {"RUNNING": "good", "FAILED": "bad"}
# Labels that say which of several things an alert speaks of, the most telling first.
_TELLING_LABELS = ("table", "connector", "slot_name", "name", "instance", "job")
_CHART_WIDTH, _CHART_HEIGHT = 200.0, 34.0
_LANE_WIDTH = 640.0
# A line between samples that are further apart than this many steps would say what nobody measured.
_GAP_STEPS = 1.5
# Lines stay flat at the bottom while nothing worth a look happens: a lag of less than a second, hardly a change.
_LEAST_LAG, _LEAST_RATE = 1.0, 0.1
# Figures at the arrows are of the last minute, not of a change long ago.
_RECENT_SECONDS = 60.0
# The picture of the pipeline: columns and rows of boxes.
_BOX_WIDTH, _BOX_HEIGHT, _COLUMN, _ROWS = 160, 68, 206, (4, 94, 196)


class Service(BaseModel):
    """A container of the stack; sizes in bytes."""

    name: str
    state: str
    memory: int = 0
    limit: int = 0
    url: str = ""
    version: str = ""

    @property
    def health(self) -> State:
        """What its container's state means."""
        return _SERVICE_STATES.get(self.state, "bad")

    @property
    def memory_share(self) -> float:
        """Used memory as a part of the limit, 0 to 1."""
        return min(self.memory / self.limit, 1.0) if self.limit else 0.0


class Connector(BaseModel):
    """A connector of Kafka Connect; the lag in seconds."""

    name: str
    state: str
    tasks: list[str] = Field(default_factory=list)
    trace: str = ""
    plugin: str = ""
    prefix: str = ""
    lag: float | None = None

    @property
    def health(self) -> State:
        """The worst state of the connector and its tasks; one without tasks captures nothing."""
        return worst(_TASK_STATES.get(state, "busy") for state in (self.state, *self.tasks)) if self.tasks else "bad"


class Table(BaseModel):
    """A Delta table that the sink applies changes to; the lag in seconds."""

    name: str
    stopped: bool = False
    trouble: str = ""
    """What else keeps it from being equal to its source."""
    applied: int = 0
    dead: int = 0
    lag: float | None = None
    behind: int = 0
    version: int = -1

    @property
    def health(self) -> State:
        """Whether it takes changes, and has taken all."""
        return "bad" if self.stopped or self.trouble else "busy" if self.behind else "good"

    @property
    def word(self) -> str:
        """The state in the words of `make status`."""
        return "stopped" if self.stopped else self.trouble or ("behind" if self.behind else "in step")


class ConnectorLag(BaseModel):
    """Lag of what has one plugin and topic prefix, in seconds."""

    plugin: str
    prefix: str
    points: Points


class AlertStates(BaseModel):
    """One series of Prometheus's `ALERTS`: when an alert was pending, or firing."""

    labels: dict[str, str]
    points: Points


class Alert(BaseModel):
    """A pending or firing alert, as Prometheus's API lists it."""

    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    state: str
    active_at: datetime | None = Field(default=None, alias="activeAt")

    @property
    def severity(self) -> str:
        """The label `severity`."""
        return self.labels.get("severity", "")


class History(BaseModel):
    """What Prometheus knows of the last minutes; `answers` is false where it does not answer."""

    answers: bool = False
    start: float = 0.0
    end: float = 0.0
    step: float = 15.0
    connector_lag: list[ConnectorLag] = Field(default_factory=list)
    table_lag: dict[str, Points] = Field(default_factory=dict)
    table_rate: dict[str, Points] = Field(default_factory=dict)
    alert_states: list[AlertStates] = Field(default_factory=list)
    alerts: list[Alert] = Field(default_factory=list)


class Status(BaseModel):
    """What the module `stack_status` returns."""

    services: list[Service] = Field(default_factory=list)
    connectors: list[Connector] = Field(default_factory=list)
    tables: list[Table] = Field(default_factory=list)
    history: History = Field(default_factory=History)

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire, the critical ones first."""
        firing = [alert for alert in self.history.alerts if alert.state == "firing"]
        return sorted(firing, key=lambda alert: (alert.severity != "critical", title_of(alert.labels)))


class Chart(NamedTuple):
    """A line over time: an SVG path, the dots of samples that stand alone, the greatest and the last value."""

    path: str
    dots: list[tuple[float, float]]
    peak: float | None
    last: float | None


class Span(NamedTuple):
    """A stretch of a lane, in the lane's units."""

    x: float
    width: float
    state: str


class Lane(NamedTuple):
    """When one alert was pending and firing."""

    title: str
    severity: str
    spans: list[Span]


class Box(NamedTuple):
    """A part of the pipeline's picture."""

    x: int
    y: int
    title: str
    state: State
    lines: list[str]
    url: str


class Arrow(NamedTuple):
    """A flow between two parts of the picture; the label stands at (`label_x`, `label_y`)."""

    path: str
    state: State
    label: str
    label_x: int
    label_y: int


def render(status: Mapping[str, Any], project: str) -> str:
    """Return the page, as HTML that needs no other file.

    Args:
        status: what the module `stack_status` returns with a history.
        project: the compose project's name.

    Raises:
        pydantic.ValidationError: `status` is something else.
    """
    found = Status.model_validate(dict(status))
    history = found.history
    environment = Environment(
        loader=PackageLoader("cdc_workstation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(seconds=in_seconds, mebibytes=in_mebibytes, when=at_time)
    return environment.get_template("status.html.j2").render(
        project=project,
        taken=datetime.fromtimestamp(history.end, UTC) if history.end else datetime.now(UTC),
        minutes=round((history.end - history.start) / 60),
        status=found,
        verdict=verdict(found),
        boxes=boxes(found),
        arrows=arrows(found),
        tables=[
            (table, chart(lag, history), chart(rate, history, _LEAST_RATE))
            for table, lag, rate in sorted(
                ((table, history.table_lag.get(table.name, []), _changes(table, history)) for table in found.tables),
                key=lambda row: (_BADNESS.index(row[0].health), not (row[1] or row[2]), row[0].name),
            )
        ],
        connectors=[(connector, chart(_lag_of(connector, history), history)) for connector in found.connectors],
        box_size=(_BOX_WIDTH, _BOX_HEIGHT),
        chart_width=_CHART_WIDTH,
        chart_height=_CHART_HEIGHT,
        lanes=lanes(history),
        lane_width=_LANE_WIDTH,
        ticks=ticks(history),
        title_of=title_of,
    )


def worst(states: Iterable[State]) -> State:
    """Return the worst of states; nothing at all is `absent`."""
    return min(states, key=_BADNESS.index, default="absent")


def verdict(status: Status) -> tuple[State, str]:
    """Return how the stack is doing as a whole, in a sentence."""
    if not status.services:
        return "absent", "Nothing of the stack is here."
    ill = [service for service in status.services if service.health == "bad"]
    failed = [connector for connector in status.connectors if connector.health == "bad"]
    stopped = [table for table in status.tables if table.stopped]
    said = [
        _count(len(ill), "service is not healthy", "services are not healthy"),
        _count(len(failed), "connector does not capture", "connectors do not capture"),
        _count(len(stopped), "table takes no changes", "tables take no changes"),
        _count(len(status.firing), "alert fires", "alerts fire"),
    ]
    if "prometheus" in {service.name for service in status.services} and not status.history.answers:
        said.append("Prometheus does not answer")
    problems = [part for part in said if part]
    if problems:
        return "bad", f"{', '.join(problems)}."
    behind = sum(bool(table.behind) for table in status.tables)
    if behind or any(service.health == "busy" for service in status.services):
        return "busy", f"{_count(behind, 'table is', 'tables are') or 'Services are'} catching up."
    return "good", "Every service is healthy, every table is in step, no alert fires."


def chart(points: Points, history: History, least_scale: float = _LEAST_LAG) -> Chart:
    """Draw samples as a line from the left (`history.start`) to the right (`history.end`), with gaps where none are.

    The greatest value reaches the top, unless it is less than `least_scale`.
    """
    if not points or history.end <= history.start:
        return Chart("", [], None, None)
    peak = max(value for _, value in points)
    scale = max(peak, least_scale)
    runs: list[list[tuple[float, float]]] = [[]]
    last_at = points[0][0]
    for at, value in points:
        if at - last_at > _GAP_STEPS * history.step:
            runs.append([])
        x = (at - history.start) / (history.end - history.start) * _CHART_WIDTH
        # Two units are left at each edge for the line's own width.
        y = _CHART_HEIGHT - 2 - max(value, 0.0) / scale * (_CHART_HEIGHT - 4)
        runs[-1].append((round(x, 1), round(y, 1)))
        last_at = at
    path = " ".join("M" + " L".join(f"{x:g} {y:g}" for x, y in run) for run in runs if len(run) > 1)
    return Chart(path, [run[0] for run in runs if len(run) == 1], peak, points[-1][1])


def lanes(history: History) -> list[Lane]:
    """Return a lane for each alert that was pending or firing, what fired most recently first."""
    spans: dict[tuple[tuple[str, str], ...], list[Span]] = {}
    latest: dict[tuple[tuple[str, str], ...], tuple[bool, float]] = {}
    length = history.end - history.start
    for series in history.alert_states:
        state = series.labels.get("alertstate", "")
        labels = {name: value for name, value in series.labels.items() if name not in ("__name__", "alertstate")}
        key = tuple(sorted(labels.items()))
        for first, last in _runs([at for at, _ in series.points], _GAP_STEPS * history.step):
            # A sample stands for the step that begins with it.
            x = (first - history.start) / length * _LANE_WIDTH
            end = min((last + history.step - history.start) / length * _LANE_WIDTH, _LANE_WIDTH)
            spans.setdefault(key, []).append(Span(round(x, 1), round(max(end - x, 1.0), 1), state))
            latest[key] = max(latest.get(key, (False, 0.0)), (state == "firing", last))
    return [
        Lane(title_of(dict(key)), dict(key).get("severity", ""), spans[key])
        for key in sorted(spans, key=lambda key: latest[key], reverse=True)
    ]


def ticks(history: History, every: int = 300) -> list[tuple[float, str]]:
    """Return positions of the full five minutes, 0 to 1, with the time of day (UTC)."""
    if history.end <= history.start:
        return []
    first = (int(history.start) // every + 1) * every
    return [
        ((at - history.start) / (history.end - history.start), f"{datetime.fromtimestamp(at, UTC):%H:%M}")
        for at in range(first, int(history.end) + 1, every)
    ]


def boxes(status: Status) -> list[Box]:
    """Return the parts of the pipeline, a change's way above, who watches and works on it below."""
    connectors, tables = status.connectors, status.tables
    running = sum(connector.health == "good" for connector in connectors)
    captured = f"{running} of {_count(len(connectors), 'connector runs', 'connectors run')}"
    parts: list[tuple[int, int, str, Sequence[str], State, str]] = [
        (0, 0, "MySQL", ["mysql"], "absent", ""),
        (0, 1, "PostgreSQL", ["postgres"], "absent", ""),
        (
            1,
            0,
            "Debezium",
            ["debezium"],
            worst(c.health for c in connectors),
            captured if connectors else "no connector",
        ),
        (2, 0, "Kafka", ["kafka"], "absent", ""),
        (3, 0, "Delta sink", ["delta-sink"], "absent", "Structured Streaming"),
        (1, 2, "Prometheus", ["prometheus"], "absent" if status.history.answers else "bad", ""),
        (2, 2, "Alertmanager", ["alertmanager"], "absent", ""),
        (3, 2, "Webhook receiver", ["webhook-receiver"], "absent", ""),
        (4, 2, "Spark", ["spark-master", "spark-worker", "spark-connect"], "absent", "master, worker, Connect"),
    ]
    drawn = []
    for column, row, title, names, more, line in parts:
        found = [service for service in status.services if service.name in names]
        ill = next((f"{service.name} {service.state}" for service in found if service.health != "good"), "")
        version = next((service.version for service in found if service.version), "")
        url = next((service.url for service in found if service.url.startswith("http")), "")
        state = worst([*(service.health for service in found), *([more] if found else [])])
        lines = [version, ill or line or "healthy"] if found else ["not in this stack"]
        drawn.append(Box(*_place(column, row), title, state, lines, url))
    return [*drawn, Box(*_place(4, 0), "Delta tables", worst(table.health for table in tables), _said_of(tables), "")]


def arrows(status: Status) -> list[Arrow]:
    """Return the flows between the parts: their colour is the state of what moves the changes."""
    health = {service.name: service.health for service in status.services}
    history = status.history

    def of(*names: str) -> State:
        states = [health.get(name, "absent") for name in names]
        return "absent" if "absent" in states else worst(states)

    def captured(plugin: str) -> tuple[State, str]:
        own = [connector for connector in status.connectors if connector.plugin == plugin]
        return worst(connector.health for connector in own), _recent((_lag_of(one, history) for one in own), history)

    middle = _BOX_HEIGHT // 2
    above, side, below = (row + middle for row in _ROWS)
    begin, end = [4 + _BOX_WIDTH + _COLUMN * n for n in range(4)], [4 + _COLUMN * (n + 1) for n in range(4)]

    def across(column: int, y: int, state: State, label: str = "") -> Arrow:
        return Arrow(
            f"M{begin[column]} {y} H{end[column]}", state, label, (begin[column] + end[column]) // 2 - 3, y - 8
        )

    postgres = captured("postgres")
    bend = (begin[0] + end[0]) // 2
    applied = worst([of("delta-sink"), *(table.health for table in status.tables)])
    firing = len(status.firing)
    return [
        across(0, above, *captured("mysql")),
        Arrow(
            f"M{begin[0]} {side} C{bend + 20} {side} {bend - 20} {above + 20} {end[0]} {above + 14}",
            *postgres,
            bend,
            side + 16,
        ),
        across(1, above, worst(connector.health for connector in status.connectors)),
        across(2, above, of("kafka", "delta-sink")),
        across(3, above, applied if status.tables else "absent", _recent(history.table_lag.values(), history)),
        across(1, below, "bad" if firing else of("prometheus", "alertmanager"), f"{firing} firing" if firing else ""),
        across(2, below, of("alertmanager", "webhook-receiver")),
        Arrow(
            f"M{4 + 4 * _COLUMN + _BOX_WIDTH // 2} {_ROWS[2]} V{_ROWS[0] + _BOX_HEIGHT}", of("spark-worker"), "", 0, 0
        ),
    ]


def title_of(labels: Mapping[str, str]) -> str:
    """Return an alert's name and what it speaks of."""
    about = next((labels[name] for name in _TELLING_LABELS if labels.get(name)), "")
    return f"{labels.get('alertname', 'alert')} {about}".strip()


def in_seconds(value: float | None) -> str:
    """Write a duration, given in seconds, for a reader."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def in_mebibytes(value: int) -> str:
    """Write a size, given in bytes, in MiB."""
    return f"{value / 2**20:.0f} MiB"


def at_time(value: datetime) -> str:
    """Write a time of day in UTC."""
    return f"{value.astimezone(UTC):%H:%M:%S} UTC"


def _place(column: int, row: int) -> tuple[int, int]:
    return 4 + column * _COLUMN, _ROWS[row]


def _said_of(tables: Sequence[Table]) -> list[str]:
    if not tables:
        return ["none yet"]
    stopped, behind = sum(table.stopped for table in tables), sum(bool(table.behind) for table in tables)
    dead = sum(table.dead for table in tables)
    state = f"{stopped} stopped" if stopped else f"{behind} behind" if behind else "in step"
    return [
        f"{_count(len(tables), 'table', 'tables')}, {state}",
        f"{_count(dead, 'event', 'events')} set aside" if dead else "no event set aside",
    ]


def _changes(table: Table, history: History) -> Points:
    """Return the changes a second of a table that had any."""
    points = history.table_rate.get(table.name, [])
    return points if any(value for _, value in points) else []


def _recent(lines: Iterable[Points], history: History) -> str:
    """Write the greatest of the last minute's last values."""
    last = [line[-1][1] for line in lines if line and history.end - line[-1][0] <= _RECENT_SECONDS]
    return in_seconds(max(last)) if last else ""


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""


def _lag_of(connector: Connector, history: History) -> Points:
    wanted = (connector.plugin, connector.prefix)
    return next((lag.points for lag in history.connector_lag if (lag.plugin, lag.prefix) == wanted), [])


def _runs(times: Sequence[float], gap: float) -> list[tuple[float, float]]:
    """Return the first and last time of each stretch without a gap."""
    if not times:
        return []
    breaks = [(one, other) for one, other in pairwise(times) if other - one > gap]
    starts = [times[0], *(other for _, other in breaks)]
    return list(zip(starts, [*(one for one, _ in breaks), times[-1]], strict=True))
