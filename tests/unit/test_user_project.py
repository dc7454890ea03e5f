"""The example of a user's project and the page that shows it are one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.documentation import ROOT, blocks

EXAMPLE = "examples/orders-pipeline"
PAGE = ROOT / "docs/testing-your-pipeline.md"


def test_page_shows_every_file_of_the_example(root: Path) -> None:
    shown = {block.file: block.code for block in blocks(PAGE) if block.file}
    files = {
        str(path.relative_to(root)): path.read_text()
        for path in (root / EXAMPLE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shown == files


def test_page_names_the_pins_of_the_legacy_line(root: Path) -> None:
    pinned = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]["spark-3-5"]
    page = PAGE.read_text()
    assert [one for one in pinned if not one.startswith("delta-spark") and f'"{one}"' not in page] == []


def test_page_names_every_fixture_for_users(public_fixtures: set[str]) -> None:
    page = PAGE.read_text()
    assert {name for name in public_fixtures if f"`{name}" not in page} == set()
