"""The package that users install: its size, its files, its types and what it says about itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from uv import find_uv_bin

from cdc_workstation.plugin import pytest_plugins

PACKAGE = "cdc_workstation"
# What pytest and the command load, and what tests import by name.
ENTRIES = {f"{PACKAGE}.plugin", f"{PACKAGE}.cli", f"{PACKAGE}.cli.__main__", f"{PACKAGE}.typing", *pytest_plugins}
MOST_MEGABYTES = 350
MOST_SECONDS = 20
TYPED_TEST = Path(__file__).parent / "data" / "typed_user_test.py"


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is built from a clean copy."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(root / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / file, source)
    run(find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", source / "dist", source)
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())


def test_base_installs_quickly_and_is_small(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(find_uv_bin(), "venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    install = [find_uv_bin(), "pip", "install", "--quiet", "--link-mode", "copy", "--python", python, wheel]
    # The first run fetches what the index has and the cache does not.
    run(*install)
    run(find_uv_bin(), "pip", "uninstall", "--quiet", "--python", python, PACKAGE.replace("_", "-"))
    shutil.rmtree(environment)
    run(find_uv_bin(), "venv", "--quiet", "--python", sys.executable, environment)
    began = time.monotonic()
    run(*install)
    seconds = time.monotonic() - began
    [packages] = environment.glob("lib/python3*/site-packages")
    megabytes = sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    print(f"{megabytes:.0f} MB in {seconds:.1f} s")  # noqa: T201 -- the figure of the documentation
    assert megabytes < MOST_MEGABYTES
    assert seconds < MOST_SECONDS
    # The plugin works without any extra.
    listed = run(python, "-m", "pytest", "--fixtures", cwd=tmp_path).stdout
    assert "cdc_pipeline" in listed


def imports(file: Path) -> set[str]:
    """Modules of the package that a module imports, on its top and within functions, but not for types alone."""
    found: set[str] = set()
    tree = ast.parse(file.read_text())
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(child) for block in for_types for child in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith(PACKAGE)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{PACKAGE}."):
            found.add(node.value.partition(":")[0])
    return found


def needed(root: Path) -> set[str]:
    """Files that the entries need, those of the packages around them included."""
    source = root / "src"
    waiting, seen = set(ENTRIES), set()
    while waiting:
        module = waiting.pop()
        path = source / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not file.is_file() or file in seen:
            continue
        seen.add(file)
        waiting |= imports(file)
        waiting |= {module.rpartition(".")[0]} if "." in module else set()
    return {str(file.relative_to(source)) for file in seen}


def test_wheel_holds_what_users_import_and_nothing_else(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = needed(root) | {f"{PACKAGE}/py.typed"}
    assert (held - wanted, wanted - held) == (set(), set()), "change `exclude` below tool.hatch in pyproject.toml"


def test_metadata_says_what_a_user_looks_for(metadata: Message) -> None:
    assert metadata["Version"] == "1.0.0"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# cdc-workstation")
    assert {entry.partition(",")[0] for entry in metadata.get_all("Project-URL", [])} == {
        "Homepage",
        "Documentation",
        "Changelog",
        "Issues",
    }
    assert {"Framework :: Pytest", "Typing :: Typed"} <= set(metadata.get_all("Classifier", []))
    assert set(metadata.get_all("Provides-Extra", [])) == {"spark", "spark-driver", "cli"}


def test_extras_admit_the_spark_of_the_stack(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    admitted = {
        requirement.name: requirement.specifier
        for extra in ("spark", "spark-driver")
        for requirement in map(Requirement, extras[extra])
    }
    pins = {
        line: dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==([\d.]+)$", "\n".join(project["dependency-groups"][line]), re.M))
        for line in ("spark-4-2", "spark-3-5")
    }
    assert admitted["pyspark-client"].contains(pins["spark-4-2"]["pyspark"])
    for pinned in pins.values():
        assert admitted["pyspark"].contains(pinned["pyspark"])
        assert admitted["delta-spark"].contains(pinned["delta-spark"])


def mypy(*paths: object, directory: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", directory, *paths]
    return subprocess.run(
        [*map(str, command)], cwd=directory, env=environment, capture_output=True, text=True, check=False
    ).stdout


def test_users_tests_pass_a_strict_type_check(root: Path, tmp_path: Path) -> None:
    example = shutil.copytree(root / "examples" / "orders-pipeline", tmp_path / "orders-pipeline")
    output = mypy(TYPED_TEST, example / "revenue.py", *(example / "tests").glob("*.py"), directory=example)
    assert output.startswith("Success"), output


def test_wrong_use_of_a_fixture_is_a_type_error(tmp_path: Path) -> None:
    file = tmp_path / "test_wrong.py"
    file.write_text(
        "from cdc_workstation.typing import CdcPipelines\n\n"
        "def test_order(cdc_pipeline: CdcPipelines) -> None:\n    cdc_pipeline('oracle', 'id INT').wait_for_rows()\n"
    )
    output = mypy(file, directory=tmp_path)
    assert "incompatible type \"Literal['oracle']\"" in output
    assert 'has no attribute "wait_for_rows"' in output


def test_typed_test_uses_every_fixture(public_fixtures: set[str]) -> None:
    used = set(re.findall(r"^    (\w+): \S+", TYPED_TEST.read_text(), re.MULTILINE))
    assert public_fixtures - used == set()
