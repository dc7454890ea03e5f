"""What the suite relies on when several workers share a stack."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "suite"))

from locks import locks_of

GROUPED = """
import pytest

@pytest.mark.xdist_group("driver")
@pytest.mark.parametrize("number", range(8))
def test_it(number, worker_id):
    print("ran on", worker_id)
"""


def test_tests_of_a_group_run_on_one_worker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(GROUPED)

    result = pytester.runpytest_subprocess("--numprocesses=2", "--dist=loadgroup", "-rP")

    result.assert_outcomes(passed=8)
    assert len({line for line in result.outlines if line.startswith("ran on ")}) == 1


MARKED = """
import pytest

def test_unmarked(): pass

@pytest.mark.uses()
def test_independent(): pass

@pytest.mark.uses("alertmanager")
def test_narrow(): pass

@pytest.mark.uses("alertmanager")
@pytest.mark.exclusive("databases")
def test_exclusive(): pass
"""


def test_markers_decide_what_a_test_locks(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n  exclusive\n  uses\n")

    found = {item.name: locks_of(item) for item in pytester.getitems(MARKED)}

    assert found == {
        "test_unmarked": {"alertmanager": fcntl.LOCK_SH, "databases": fcntl.LOCK_SH},
        "test_independent": {},
        "test_narrow": {"alertmanager": fcntl.LOCK_SH},
        "test_exclusive": {"alertmanager": fcntl.LOCK_SH, "databases": fcntl.LOCK_EX},
    }


TURNS = """
from locks import Turns

def pytest_configure(config):
    config.addinivalue_line("markers", "exclusive(*names): the test restarts these")
    config.addinivalue_line("markers", "uses(*names): the test uses these alone")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns())
"""
TAKEN = """
import time
from pathlib import Path

import pytest

RUNNING = Path({running!r})

def run(name, seconds):
    mine = RUNNING / name
    mine.touch()
    deadline = time.monotonic() + seconds
    others = set()
    while time.monotonic() < deadline:
        others |= {{path.name for path in RUNNING.iterdir()}} - {{name}}
        time.sleep(0.01)
    mine.unlink()
    return others

@pytest.mark.parametrize("number", range(4))
def test_shares(number):
    assert "exclusive" not in run(f"shares-{{number}}", 0.3)

@pytest.mark.uses("databases")
@pytest.mark.parametrize("number", range(4))
def test_uses_the_same(number):
    assert "exclusive" not in run(f"uses-{{number}}", 0.3)

@pytest.mark.exclusive("databases")
@pytest.mark.uses("databases")
@pytest.mark.xdist_group("exclusive")
@pytest.mark.timeout(0.5)
@pytest.mark.parametrize("number", range(2))
def test_is_exclusive(number):
    assert run("exclusive", 0.3) == set()
"""


def test_exclusive_test_runs_without_those_that_use_the_same_service(
    pytester: pytest.Pytester, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = pytester.mkdir("running")
    pytester.makeconftest(TURNS)
    pytester.makepyfile(TAKEN.format(running=str(running)))
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    monkeypatch.setenv("PYTHONPATH", str(root / "tests/suite"), prepend=os.pathsep)

    result = pytester.runpytest_subprocess("--numprocesses=2", "--dist=loadgroup")

    result.assert_outcomes(passed=10)
