"""How the stack is doing, and what that means. Pure; `status_reading` reads it, `status_view` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Health = Literal["bad", "busy", "good"]
ORDER: tuple[Health, ...] = ("bad", "busy", "good")
"""What needs somebody comes first."""


@dataclass(frozen=True)
class Service:
    """A container of the stack; sizes in bytes."""

    name: str
    state: str
    memory: int = 0
    limit: int = 0
    version: str = ""
    url: str = ""

    @property
    def health(self) -> Health:
        """What its state means."""
        return "good" if self.state in ("healthy", "running") else "busy" if self.state == "starting" else "bad"


@dataclass(frozen=True)
class ConnectorState:
    """A connector of Kafka Connect.

    Attributes:
        name: its name.
        state: the connector's own state.
        tasks: the states of its tasks.
        lag_seconds: how late its last change was, if that came in the last minute.
        error: the innermost cause of what failed, whole; empty if nothing did.
    """

    name: str
    state: str
    tasks: tuple[str, ...] = ()
    lag_seconds: float | None = None
    error: str = ""

    @property
    def health(self) -> Health:
        """The worst state of the connector and its tasks; one without tasks captures nothing."""
        states = {self.state, *self.tasks}
        if "FAILED" in states or not self.tasks:
            return "bad"
        return "good" if states == {"RUNNING"} else "busy"


@dataclass(frozen=True)
class TableState:
    """A Delta table that the sink applies changes to.

    Attributes:
        name: `database.table`, as the sink calls it.
        trouble: what keeps it from equalling its source; empty if nothing does.
        behind: change events in Kafka that are not applied yet.
        lag_seconds: how late its last change was; `None` if none came in the last minute and none waits.
        applied: changes since the sink started.
        dead_letters: events since then that could not be applied.
        version: the table's version in Delta; `None` if the sink has made no commit since it started.
    """

    name: str
    trouble: str = ""
    behind: int = 0
    lag_seconds: float | None = None
    applied: int = 0
    dead_letters: int = 0
    version: int | None = None

    @property
    def health(self) -> Health:
        """Whether it takes changes, and has taken all."""
        return "bad" if self.trouble else "busy" if self.behind else "good"

    @property
    def state(self) -> str:
        """The state in a word or two."""
        return self.trouble or ("behind" if self.behind else "in step")


@dataclass(frozen=True)
class Alert:
    """A pending or firing alert of Prometheus."""

    name: str
    about: str
    severity: str
    state: str
    text: str = ""

    @property
    def health(self) -> Health:
        """A pending alert may yet pass."""
        return "bad" if self.state == "firing" else "busy"


@dataclass(frozen=True)
class Status:
    """The state of a stack at one moment; `unreachable` has a sentence for each service that did not answer."""

    services: tuple[Service, ...] = ()
    connectors: tuple[ConnectorState, ...] = ()
    tables: tuple[TableState, ...] = ()
    alerts: tuple[Alert, ...] = ()
    unreachable: tuple[str, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.services or self.connectors or self.tables)

    @property
    def health(self) -> Health:
        """The worst of all parts."""
        if self.unreachable:
            return "bad"
        parts: list[Health] = [one.health for one in self.services]
        parts += [one.health for one in self.connectors]
        parts += [one.health for one in self.tables]
        parts += [one.health for one in self.alerts]
        return min(parts, key=ORDER.index, default="good")

    def sentence(self) -> str:
        """Say how the stack is doing as a whole."""
        if not self.exists:
            return "Nothing of the stack runs here. `make up` builds and starts it."
        ill = [one.name for one in self.services if one.health == "bad"]
        failed = [one.name for one in self.connectors if one.health == "bad"]
        troubled = [one.name for one in self.tables if one.health == "bad"]
        firing = [one for one in self.alerts if one.health == "bad"]
        problems = [
            _counted(ill, "service is not healthy", "services are not healthy"),
            _counted(failed, "connector does not capture", "connectors do not capture"),
            _counted(troubled, "table is in trouble", "tables are in trouble"),
            _counted([one.name for one in firing], "alert fires", "alerts fire"),
            *(one.rstrip(".") for one in self.unreachable),
        ]
        said = [one for one in problems if one]
        if said:
            return "; ".join(said) + "."
        behind = sum(bool(one.behind) for one in self.tables)
        if behind:
            return f"{behind} {'table is' if behind == 1 else 'tables are'} catching up."
        if self.alerts:
            return f"{len(self.alerts)} {'alert is' if len(self.alerts) == 1 else 'alerts are'} pending."
        if self.health == "busy":
            return "The stack is starting."
        parts = [
            "services healthy" if self.services else "",
            "connectors running" if self.connectors else "",
            "tables in step" if self.tables else "",
        ]
        return f"All is well: {', '.join([*filter(None, parts), 'no alert'])}."

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it, with the verdict of each part."""

        def parts(found: Iterable[Service | ConnectorState | TableState | Alert]) -> list[dict[str, Any]]:
            return [{**asdict(one), "health": one.health} for one in found]

        tables = [{**asdict(one), "state": one.state, "health": one.health} for one in self.tables]
        return {
            "health": self.health,
            "sentence": self.sentence(),
            "services": parts(self.services),
            "connectors": parts(self.connectors),
            "tables": tables,
            "alerts": parts(self.alerts),
            "unreachable": list(self.unreachable),
            "addresses": self.addresses,
        }


def _counted(names: Sequence[str], one: str, many: str) -> str:
    if not names:
        return ""
    listed = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} ({listed})"
