"""Scenarios say what they are and how long they may take, where `.ci/run` and people look for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_has_its_time_budget(scenario: str) -> None:
    text = (ROOT / "molecule" / scenario / "molecule.yml").read_text()

    # As .ci/run reads it.
    assert re.search(r"^# Time budget on 2 cores[^:]*: \d+ minutes", text, re.MULTILINE)


def test_the_readme_lists_every_scenario() -> None:
    text = (ROOT / "molecule/README.md").read_text()

    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(SCENARIOS)
