"""The image of the Delta sink takes the sink's source as it is in the repository, and has what it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cdc_workstation"
LINKS = ROOT / "roles" / "delta_sink" / "templates" / "build" / "cdc_workstation"

DEFAULTS = ROOT / "roles" / "delta_sink" / "defaults" / "main.yml"
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "pyspark": "pyspark-client",
    "grpc": "grpcio",
    "google": "protobuf",
    "yaml": "pyyaml",
    "mysql": "mysql-connector-python",
}


def packages(*variables: str) -> list[str]:
    """Return the pins of these variables."""
    defaults: dict[str, Any] = yaml.safe_load(DEFAULTS.read_text())
    return [pin for name in variables for pin in defaults[name]]


def distribution(name: str) -> str:
    """Return a distribution's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", DISTRIBUTIONS.get(name, name)).lower()


def imports(path: Path) -> set[str]:
    """Return the names of the modules that one imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def modules(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*.py")}


def test_every_module_of_the_sink_is_in_the_image() -> None:
    wanted = {"__init__.py", *(f"sink/{name}" for name in modules(SOURCE / "sink"))}
    missing, unknown = sorted(wanted - modules(LINKS)), sorted(modules(LINKS) - wanted)

    assert not missing, f"{missing} are not in the image: add a link to each in {LINKS}"
    assert not unknown, f"{unknown} are links to modules that are gone: remove them from {LINKS}"


def test_every_file_of_the_image_is_the_source_itself() -> None:
    for name in modules(LINKS):
        assert (LINKS / name).resolve() == SOURCE / name, name


def test_sink_imports_only_what_its_image_has() -> None:
    pinned = {
        distribution(pin.split("==")[0]) for pin in packages("delta_sink_python_packages", "delta_sink_spark_packages")
    }
    imported = {name for name in modules(LINKS) for name in imports(SOURCE / name)}
    ours = {name for name in imported if name.partition(".")[0] == "cdc_workstation"}
    others = {name.partition(".")[0] for name in imported - ours} - sys.stdlib_module_names

    assert {name for name in ours if not name.startswith("cdc_workstation.sink")} == set()
    assert {distribution(name) for name in others} <= pinned


def test_image_has_the_packages_that_tests_run_with() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    locked = {one["name"]: one["version"] for one in lock["package"] if "version" in one}
    pins = dict(one.split("==") for one in packages("delta_sink_python_packages"))

    assert pins == {name: locked[distribution(name)] for name in pins}
