"""The state of a stack as tables for a terminal. Pure: from a `Status` to what rich prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cdc_workstation.cli.status_model import Alert, ConnectorState, Health, Service, Status, TableState

_STYLES: dict[Health, str] = {"good": "green", "busy": "yellow", "bad": "bold red"}
_MIB = 2**20
# Tables in step that are listed before the rest is counted.
_IN_STEP = 20


def render(status: Status, *, all_tables: bool = False) -> RenderableType:
    """Return what `status` prints.

    Args:
        status: the state.
        all_tables: list all tables, also where many are in step.
    """
    parts: list[RenderableType] = []
    if status.alerts:
        parts += [_alerts(status.alerts), ""]
    if status.services:
        parts += [_services(status.services), ""]
    if status.connectors:
        parts += [connectors_table(status.connectors), ""]
    if status.tables:
        parts += [*_tables(status.tables, all_tables=all_tables), ""]
    parts += [Text(one, style="yellow") for one in status.unreachable]
    parts.append(Text(status.sentence(), style=_STYLES[status.health]))
    if status.exists:
        parts += [Text.assemble((f"{name:<12}", "dim"), value) for name, value in status.addresses.items()]
    return Group(*parts)


def seconds(value: float | None) -> str:
    """Write a duration, given in seconds."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _styled(text: str, health: Health) -> Text:
    return Text(text, style=_STYLES[health])


def _table(*columns: str, right: Sequence[str] = (), footer: bool = False) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, show_footer=footer)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _services(services: Sequence[Service]) -> Table:
    table = _table("service", "health", "memory", "limit", "version", "URL", right=("memory", "limit"), footer=True)
    for one in services:
        table.add_row(
            escape(one.name),
            _styled(one.state, one.health),
            f"{one.memory / _MIB:,.0f} MiB" if one.memory else "",
            f"{one.limit / _MIB:,.0f} MiB" if one.limit else "",
            escape(one.version),
            escape(one.url),
        )
    table.columns[0].footer = "sum"
    table.columns[2].footer = f"{sum(one.memory for one in services) / _MIB:,.0f} MiB"
    table.columns[3].footer = f"{sum(one.limit for one in services) / _MIB:,.0f} MiB"
    return table


def connectors_table(connectors: Sequence[ConnectorState]) -> RenderableType:
    """Return the connectors, with what went wrong below them."""
    table = _table("connector", "state", "tasks", "lag")
    for one in connectors:
        table.add_row(
            escape(one.name),
            _styled(one.state, one.health),
            _styled(" ".join(one.tasks) or "none", one.health),
            seconds(one.lag_seconds) or "no change in the last minute",
        )
    # Below the table, where an error has the whole width: its useful half is often the second.
    errors = [Text.assemble((f"{one.name}: ", "bold"), (one.error, "red")) for one in connectors if one.error]
    return Group(table, *errors)


def _tables(tables: Sequence[TableState], *, all_tables: bool) -> list[RenderableType]:
    right = ("applied", "dead letters", "lag", "behind", "version")
    shown = _table("Delta table", "state", *right, right=right)
    in_step = [one for one in tables if one.health == "good" and not one.dead_letters]
    listed = [one for one in tables if one not in in_step]
    fitting = in_step if all_tables else in_step[:_IN_STEP]
    for one in [*listed, *fitting]:
        shown.add_row(
            escape(one.name),
            _styled(one.state, one.health),
            f"{one.applied:,}",
            _styled(f"{one.dead_letters:,}", "bad" if one.dead_letters else "good") if one.dead_letters else "0",
            seconds(one.lag_seconds),
            f"{one.behind:,}" if one.behind else "",
            "" if one.version is None else str(one.version),
        )
    left = len(in_step) - len(fitting)
    more = [Text(f"and {left} more in step (--all lists them)", style="dim")] if left else []
    return [shown, *more]


def _alerts(alerts: Sequence[Alert]) -> Table:
    table = _table("alert", "about", "severity", "state", "what")
    for one in alerts:
        table.add_row(
            escape(one.name), escape(one.about), one.severity, _styled(one.state, one.health), escape(one.text)
        )
    return table
