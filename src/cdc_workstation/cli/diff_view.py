"""What a comparison found, as tables for a terminal. Pure: from results to what rich prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cdc_workstation.verify.verdict import TableResult, Verdict, summary

_STYLES = {Verdict.EQUAL: "green", Verdict.DRIFT: "bold red", Verdict.NOT_COMPARED: "yellow", Verdict.LEFT_OUT: "dim"}
# What needs somebody comes first.
_ORDER = (Verdict.DRIFT, Verdict.NOT_COMPARED, Verdict.EQUAL, Verdict.LEFT_OUT)


def render(results: Sequence[TableResult]) -> RenderableType:
    """Return a table of all results, those that need somebody first, and what differs below it."""
    ordered = sorted(results, key=lambda one: _ORDER.index(one.verdict))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, right in (
        ("table", False),
        ("source rows", True),
        ("Delta rows", True),
        ("checksum", False),
        ("verdict", False),
    ):
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "table", overflow="fold")
    for result in ordered:
        checksum = result.source_checksum[:12]
        if result.delta_checksum != result.source_checksum:
            checksum += f" / {result.delta_checksum[:12]}"
        table.add_row(
            escape(result.table),
            "" if result.source_rows is None else f"{result.source_rows:,}",
            "" if result.delta_rows is None else f"{result.delta_rows:,}",
            checksum,
            Text(str(result.verdict), style=_STYLES[result.verdict]),
        )
    return Group(
        table, *(Text.assemble("\n", _details(one)) for one in ordered if _has_details(one)), _closing(results)
    )


def _has_details(result: TableResult) -> bool:
    return bool(result.reason or result.notes or result.differences)


def _details(result: TableResult) -> Text:
    """Return why a table is not equal, and the rows that differ."""
    lines = [Text.assemble((result.table, "bold"), f": {result.reason or 'a note'}")]
    lines += [Text(f"  {difference}") for difference in result.differences]
    if result.differing > len(result.differences) > 0:
        lines.append(Text(f"  and {result.differing - len(result.differences):,} more"))
    lines += [Text(f"  {note}") for note in result.notes]
    return Text("\n").join(lines)


def _closing(results: Sequence[TableResult]) -> Text:
    return Text(f"\n{summary(results)}")
