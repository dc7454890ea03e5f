"""What unit tests share: the repository's files, and modules run as Ansible runs them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible import module_utils
from ansible.module_utils import basic

ROOT = Path(__file__).parents[2]
Module = Callable[..., dict[str, Any]]
# Tests that others run, as data.
collect_ignore = ["data"]

# Where Ansible finds what modules of roles share.
module_utils.__path__.extend(str(path) for path in ROOT.glob("roles/*/module_utils"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def public_fixtures(root: Path) -> set[str]:
    """The names of the fixtures for users."""
    sources = [*(root / "src/cdc_workstation/fixtures").glob("*.py"), root / "src/cdc_workstation/plugin.py"]
    return {
        name
        for path in sources
        for options, name in re.findall(r"^@pytest\.fixture([^\n]*)\ndef ([a-z]\w*)", path.read_text(), re.MULTILINE)
        if "name=" not in options
    }


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Load what is no package, by its path: `load("roles/stack/lookup_plugins/setting.py")`."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.fixture
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """Run a module as Ansible does: `module("compose_project/library/stack_files.py", dest=..., files=...)`.

    The result holds what the module returned, a failure among it (`failed`, `msg`). `_environment` adds variables to
    its environment, `_check` runs it in check mode. It runs in a process of its own, forked so that Ansible's own code
    is imported once for all tests.
    """

    def run(
        path: str, _environment: dict[str, str] | None = None, _check: bool = False, **arguments: Any
    ) -> dict[str, Any]:
        directory = tmp_path_factory.mktemp("module")
        given = {**arguments, "_ansible_check_mode": _check, "_ansible_remote_tmp": str(directory)}
        output = directory / "output"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with output.open("w") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                    sys.stdout = sys.stderr = file
                    os.environ.update(_environment or {})
                    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()
                    basic._ANSIBLE_PROFILE = "legacy"
                    try:
                        runpy.run_path(str(ROOT / "roles" / path), run_name="__main__")
                    except SystemExit as end:
                        code = int(end.code or 0)
                    except BaseException:
                        traceback.print_exc()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed = output.read_text()
        assert "Traceback" not in printed, printed
        returned: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
        assert returned.get("failed", False) == (code != 0), printed
        return returned

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Put a shell script under a name before all other programs; return the environment that finds it."""
    directory = tmp_path / "bin"

    def put(name: str, script: str) -> dict[str, str]:
        directory.mkdir(exist_ok=True)
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return {"PATH": f"{directory}:{os.environ['PATH']}", "GOPROXY": ""}

    return put
