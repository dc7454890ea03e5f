"""What the suite relies on when several workers share a stack."""

from __future__ import annotations

import pytest

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
