"""An absent service skips a test in a user's own project and fails it where services are required."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_workstation.settings import Settings

A_TEST = """
    def test_needs_alertmanager(alertmanager_client):
        pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of a user's own, on a machine without a stack."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("CDC_CONNECTION_FILE", raising=False)
    monkeypatch.setenv("CDC_STACK_DIR", str(tmp_path / "nowhere"))
    pytester.makepyfile(A_TEST)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:randomly", "-ra", *arguments)


def test_user_project_skips_with_the_reason(project: pytest.Pytester) -> None:
    result = run(project)

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*alertmanager is not available: neither the environment nor */nowhere/connection.env*"]
    )


def test_absent_service_is_a_failure_if_services_are_required(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\ncdc_workstation_require_services = true\n")

    result = run(project)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "skipped" not in result.stdout.str().splitlines()[-1]
    result.stdout.fnmatch_lines(["*alertmanager is not available*Run `make up`*"])


def test_service_that_does_not_answer_counts_as_absent(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9, discard: nothing listens there.
    monkeypatch.setenv("ALERTMANAGER_URL", "http://127.0.0.1:9")

    result = run(project)

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*alertmanager is not available: http://127.0.0.1:9 does not answer*"])


def test_project_without_these_fixtures_never_loads_spark(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing_heavy_was_imported():
            heavy = {"pyspark", "pyarrow", "pandas", "deltalake", "grpc"}
            assert not heavy & set(sys.modules)
        """
    )

    run(project).assert_outcomes(passed=1)
