"""The dashboards in the repository are what their code gives, and ask the data sources that they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboards.pipeline import TESTS


@pytest.fixture(scope="module")
def dashboards(root: Path) -> list[dict[str, Any]]:
    """All of them."""
    found = [json.loads(path.read_text()) for path in (root / "dashboards").glob("*.json")]
    assert found
    return found


def test_the_files_are_what_the_code_gives(root: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "dashboards", "--check"], cwd=root, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_every_panel_names_its_data_source(dashboards: list[dict[str, Any]]) -> None:
    asked = {
        panel["datasource"]["uid"]
        for dashboard in dashboards
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }

    assert asked <= {"prometheus", "loki"}


def test_alerts_of_tests_are_hidden_unless_somebody_asks(dashboards: list[dict[str, Any]]) -> None:
    [pipeline] = [dashboard for dashboard in dashboards if dashboard["uid"] == "cdc-pipeline"]
    [hidden] = [variable for variable in pipeline["templating"]["list"] if variable["name"] == "hidden"]
    asked = [target["expr"] for panel in pipeline["panels"] for target in panel.get("targets", [])]

    assert hidden["current"]["text"] == "hidden"
    assert all('environment!~"$hidden"' in expr for expr in asked if "ALERTS" in expr)


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("test", True),
        ("cdcdb_test_0123456789ab.orders", True),
        ("test_0123456789ab.orders", True),
        ("cdcdb.cdc_0123456789ab", True),
        ("public.t_0123456789ab", True),
        ("test-0123456789ab", True),
        ("test_0123456789ab", True),
        ("cdcdb.products", False),
        ("mysql-cdcdb", False),
        ("cdcdb.latest_0123456789ab", False),
        ("contest_0123456789ab", False),
        ("", False),
    ],
)
def test_what_tests_make_is_known_by_its_name(value: str, hidden: bool) -> None:
    assert bool(re.fullmatch(TESTS, value)) is hidden
