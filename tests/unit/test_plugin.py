"""The pytest plugin: what projects that do not use it pay, and what `pytest --fixtures` shows of it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from cdc_workstation.plugin import pytest_plugins

# Each takes a tenth of a second or more to import.
HEAVY = {"confluent_kafka", "deltalake", "mysql", "psycopg", "pyarrow", "pydantic", "pyspark", "requests", "tenacity"}


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_loading_the_plugin_imports_no_client() -> None:
    code = f"import sys, cdc_workstation.plugin, {', '.join(pytest_plugins)}; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in python(code).split()}
    assert loaded & HEAVY == set()


def test_plugin_gives_no_fixture_to_tests_that_ask_for_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_sees_no_fixture(request): assert request.fixturenames == ['request']")
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=1)


def fixtures(pytester: pytest.Pytester) -> dict[str, str]:
    """Fixtures of the plugin as `pytest --fixtures` lists them, with the first line below each."""
    lines = pytester.runpytest_subprocess("--fixtures", "-p", "no:randomly").stdout.lines
    start = re.compile(r"^(\w+)(?: \[session scope\])? -- \S*cdc_workstation/\S+:\d+$")
    return {found[1]: lines[number + 1].strip() for number, line in enumerate(lines) if (found := start.match(line))}


def test_listed_fixtures_are_those_for_users(pytester: pytest.Pytester) -> None:
    listed = fixtures(pytester)
    assert sorted(listed) == [
        "alert_test_id",
        "alertmanager_client",
        "cdc_load",
        "cdc_pipeline",
        "change_events",
        "connect_client",
        "delta_table",
        "kafka_bootstrap_servers",
        "mysql_connection",
        "mysql_parameters",
        "mysql_table",
        "own_connector",
        "own_postgres_connector",
        "postgres_connection",
        "postgres_parameters",
        "postgres_table",
        "prometheus_client",
        "read_delta",
        "spark_connect_session",
        "spark_session",
        "stack_settings",
        "wait_for_no_row",
        "wait_for_row",
        "webhook_receiver",
    ]
    assert [name for name, text in listed.items() if not text or "no docstring" in text] == []


def test_each_description_starts_with_what_the_fixture_gives(pytester: pytest.Pytester) -> None:
    verbs = ("Create", "Give", "Make", "Open", "Provide", "Read", "Return", "Run", "Wait", "What", "Yield")
    assert [text for text in fixtures(pytester).values() if text.startswith(verbs)] == []


@pytest.mark.parametrize(
    ("fixture", "extra", "package"),
    [("spark_connect_session", "spark", "grpc"), ("spark_session", "spark-driver", "pyspark")],
)
def test_missing_extra_is_named_in_one_sentence(
    pytester: pytest.Pytester, fixture: str, extra: str, package: str
) -> None:
    pytester.makeconftest(f"""
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else found(name, *rest)
    """)
    pytester.makepyfile(f"def test_reads_rows({fixture}): pass")
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:hypothesispytest")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"{fixture} needs the extra `{extra}`: pip install 'cdc-workstation[[]{extra}[]]'"])
    assert "Traceback" not in result.stdout.str()


def test_process_without_a_main_file_imports_spark_connect() -> None:
    # As those of pytest-xdist are; PySpark asks for the file, the rest of Python must not find one.
    code = """
import sys
from cdc_workstation.fixtures.spark import _named_main_module
main = sys.modules["__main__"]
with _named_main_module():
    print(hasattr(main, "__file__"))
print(hasattr(main, "__file__"))
"""
    assert python(code).split() == ["True", "False"]
