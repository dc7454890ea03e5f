"""Print how the stack is doing as tables, and write it as a page where one is asked for."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from rich.console import Console
from rich.table import Table

STYLES = {"healthy": "green", "running": "green", "RUNNING": "green", "starting": "yellow", "PAUSED": "yellow"}
MIB = 2**20
# A table that is piped into a file has no terminal to ask for its width.
MIN_WIDTH, MAX_WIDTH = 100, 160
# What the page shows of the past.
HISTORY_SECONDS = 900

display = Display()


def coloured(state: str) -> str:
    """Return `state` in the colour of its meaning."""
    return f"[{STYLES.get(state, 'red')}]{state}[/]"


class ActionModule(ActionBase):
    """The action `stack_status`."""

    def run(self, tmp=None, task_vars=None):
        """Gather on the target, print here."""
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        footer = args.pop("footer", "")
        page = args.pop("page", "")
        if page:
            args["history_seconds"] = HISTORY_SECONDS
        result.update(self._execute_module(module_name="stack_status", module_args=args, task_vars=task_vars))
        if result.get("failed"):
            return result
        text = io.StringIO()
        width = min(max(shutil.get_terminal_size((MAX_WIDTH, 24)).columns, MIN_WIDTH), MAX_WIDTH)
        console = Console(file=text, width=width, force_terminal=bool(display.verbosity is not None and self._colour()))
        if not result["services"]:
            console.print("Nothing of the stack is here. `make up` builds and starts it.")
        else:
            console.print(self._services(result["services"]))
        if result["connectors"]:
            console.print(self._connectors(result["connectors"]))
        if result["tables"]:
            console.print(self._tables(result["tables"]))
        if footer and result["services"]:
            console.print(footer, highlight=False, markup=False)
        display.display("\n" + text.getvalue().rstrip())
        if page:
            written = self._write(Path(page).expanduser().absolute(), result, args["project"])
            if written.get("failed"):
                return written
        result["changed"] = False
        # The tables are the output; the callback need not print the data as well.
        return {"changed": False}

    @staticmethod
    def _write(page, status, project):
        """Write the page here, on the controller."""
        try:
            from cdc_workstation.status_page import render
        except ImportError as error:
            return {"failed": True, "msg": f"The page needs the project's environment (`make venv`): {error}."}
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(render(status, project), encoding="utf-8")
        except OSError as error:
            return {"failed": True, "msg": f"The page could not be written: {error}."}
        display.display(f"\nThe page: {page.as_uri()}")
        return {}

    @staticmethod
    def _colour() -> bool:
        from ansible.utils.color import ANSIBLE_COLOR

        return bool(ANSIBLE_COLOR)

    @staticmethod
    def _services(services):
        table = Table(
            "service", "health", "memory", "limit", "version", "URL", box=None, header_style="bold", show_footer=True
        )
        for service in services:
            table.add_row(
                service["name"],
                coloured(service["state"]),
                f"{service['memory'] / MIB:.0f} MiB",
                f"{service['limit'] / MIB:.0f} MiB",
                service["version"],
                service["url"],
            )
        table.columns[0].footer = "sum"
        table.columns[2].footer = f"{sum(service['memory'] for service in services) / MIB:.0f} MiB"
        table.columns[3].footer = f"{sum(service['limit'] for service in services) / MIB:.0f} MiB"
        for column in (2, 3):
            table.columns[column].justify = "right"
        return table

    @staticmethod
    def _connectors(connectors):
        table = Table("connector", "state", "tasks", "lag", box=None, header_style="bold")
        for connector in connectors:
            lag = "unknown" if connector["lag"] is None else f"{connector['lag']:.1f} s"
            tasks = " ".join(coloured(state) for state in connector["tasks"]) or coloured("none")
            table.add_row(connector["name"], coloured(connector["state"]), tasks, lag)
            if connector["trace"]:
                table.add_row("", f"[red]{connector['trace'].splitlines()[0][:100]}[/]")
        return table

    @staticmethod
    def _tables(tables):
        shown = Table(
            "Delta table",
            "state",
            "applied",
            "dead letters",
            "lag",
            "offsets behind",
            "version",
            box=None,
            header_style="bold",
        )
        for column in shown.columns[2:]:
            column.justify = "right"
        for table in tables:
            trouble = "stopped" if table["stopped"] else table["trouble"]
            shown.add_row(
                table["name"],
                f"[red]{trouble}[/]" if trouble else "behind" if table["behind"] else "[green]in step[/]",
                str(table["applied"]),
                str(table["dead"]),
                # Of the last change that was applied; there may have been none since the sink started.
                "" if table["lag"] is None else f"{table['lag']:.1f} s",
                str(table["behind"]),
                "" if table["version"] < 0 else str(table["version"]),
            )
        return shown
