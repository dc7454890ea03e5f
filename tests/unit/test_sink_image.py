"""The image of the Delta sink takes the sink's source as it is in the repository."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cdc_workstation"
LINKS = ROOT / "roles" / "delta_sink" / "templates" / "build" / "cdc_workstation"


def modules(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*.py")}


def test_every_module_of_the_sink_is_in_the_image() -> None:
    wanted = {"__init__.py", *(f"sink/{name}" for name in modules(SOURCE / "sink"))}

    assert modules(LINKS) == wanted


def test_what_is_in_the_image_is_the_source_itself() -> None:
    for name in modules(LINKS):
        assert (LINKS / name).resolve() == SOURCE / name, name


def test_the_sink_imports_nothing_that_its_image_has_not() -> None:
    imported: set[str] = set()
    for name in modules(LINKS):
        for node in ast.walk(ast.parse((SOURCE / name).read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}

    ours = {name for name in imported if name.startswith("cdc_workstation")}
    assert {name for name in ours if not name.startswith("cdc_workstation.sink")} == set()
