"""Writes the evidence of a failed test: the screen of its report, and the file of details beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdc_workstation.evidence.details import clean, collect, service_states
from cdc_workstation.evidence.facts import read
from cdc_workstation.evidence.stages import summary
from cdc_workstation.settings import get_settings

if TYPE_CHECKING:
    from cdc_workstation.evidence import Used

# The most of one screen: tables that are summarised, and characters of a line.
_TABLES = 3
_LINE_CHARACTERS = 200


def write(used: Used, file: Path, *, since: float, shown_from: Path) -> str:
    """Write the details to a file and return the screen. Never raises.

    Args:
        used: what to look at.
        file: where the details go; directories are created.
        since: when the test began, in seconds since the epoch.
        shown_from: the directory that the file's path is shown from.
    """
    lines: list[str] = []
    try:
        lines = _screen(used)
        details = [f"{title}\n{'-' * len(title)}\n{text}" for title, text in collect(used, since=since)]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n\n".join(["\n".join(lines), *details]) + "\n", encoding="utf-8")
        lines.append(f"Details: {os.path.relpath(file, shown_from)}")
    except (Exception, pytest.fail.Exception) as error:
        lines.append(f"Details could not be written: {type(error).__name__}: {error}")
    return "\n".join(line[:_LINE_CHARACTERS] for line in lines)


def _screen(used: Used) -> list[str]:
    settings = get_settings()
    lines: list[str] = []
    for pipeline in used.pipelines[-_TABLES:]:
        lines += [*map(clean, summary(read(pipeline, settings))), ""]
    if len(used.pipelines) > _TABLES:
        lines += [f"{len(used.pipelines) - _TABLES} more tables are in the details.", ""]
    states = service_states(settings.compose_project_name)
    unwell = [f"{name}: {states.get(name, 'no container on this machine')}" for name in sorted(used.services)]
    unwell = [line for line in unwell if not _is_well(line)]
    if states:
        lines.append(f"Services: {'; '.join(unwell)}" if unwell else "Services: all that the test used are healthy.")
    return lines


def _is_well(line: str) -> bool:
    return ": Up" in line and "unhealthy" not in line and "starting" not in line and "Paused" not in line
