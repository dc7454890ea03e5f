"""A failed test's report carries evidence: bounded, without secrets, and never a failure of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deltalake import write_deltalake
from pyarrow import table as arrow_table

from cdc_workstation.evidence import Used, details
from cdc_workstation.evidence.details import collect
from cdc_workstation.redaction import Password, known_secrets, redacted
from cdc_workstation.settings import Settings, get_settings

Program = Callable[[str, str], dict[str, str]]


@pytest.fixture(autouse=True)
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack's files, and nothing that answers behind its addresses."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("CDC_CONNECTION_FILE", raising=False)
    directory = tmp_path / "stack"
    (directory / "secrets").mkdir(parents=True)
    (directory / "secrets" / "mysql_root_password").write_text("root-pass-of-file\n")
    (directory / "connection.env").write_text(
        "MYSQL_HOST=127.0.0.1\nMYSQL_PORT=9\nMYSQL_PASSWORD=app-pass-of-env\nDEBEZIUM_URL=http://127.0.0.1:9\n"
        f"DELTA_SINK_URL=http://127.0.0.1:9\nDELTA_TABLES_DIR={tmp_path}/tables\n"
        "SPARK_REMOTE=sc://localhost:9/;token=token-of-connect\n"
    )
    monkeypatch.setenv("CDC_STACK_DIR", str(directory))
    for cached in (get_settings, known_secrets):
        cached.cache_clear()
    yield
    for cached in (get_settings, known_secrets):
        cached.cache_clear()


def sections(used: Used, since: float | None = None) -> dict[str, str]:
    return dict(collect(used, since=time.time() if since is None else since))


def test_no_evidence_without_a_service() -> None:
    assert collect(Used(), since=0.0) == []


def test_evidence_that_cannot_be_collected_raises_nothing(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", program("docker", "exit 1")["PATH"])
    found = sections(Used(services={"debezium", "delta-sink", "mysql"}, topics=["t"], tables=[Path("/nowhere")]))
    assert found["connectors"].startswith("could not be collected: ConnectError")
    assert found["delta-sink"].startswith("could not be collected: ConnectionError")
    assert found["history of /nowhere"] == "there is no table at that path"
    assert [text for title, text in found.items() if "log of mysql" in title] == [
        "there is no such container on this machine"
    ]


def test_table_shows_its_last_commits(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_deltalake(path, arrow_table({"id": [1, 2]}))
    write_deltalake(path, arrow_table({"id": [3]}), mode="append")
    text = sections(Used(services={"spark-connect"}, tables=[path]))[f"history of {path}"]
    rows, newest, oldest = text.splitlines()
    assert rows == "rows: 3"
    assert newest.split()[0] == "1"
    assert oldest.split()[0] == "0"
    assert "WRITE" in newest


def test_logs_are_of_the_services_used_since_the_test_began(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        case $1 in
        ps) printf 'a1\\tmysql\\tUp 2 hours\\nb2\\tkafka\\tUp 2 hours\\n' ;;
        logs) echo "$@"; echo "login with app-pass-of-env" >&2 ;;
        esac
    """
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])
    found = sections(Used(services={"mysql"}), since=1_700_000_000.0)
    assert found == {
        "log of mysql (Up 2 hours) since 22:13:20 UTC": "logs --since 2023-11-14T22:13:20+00:00"
        " --tail 500 --timestamps a1\nlogin with ***"
    }


def test_stack_trace_is_shown_without_its_frames(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "Z ERROR it failed",
        "Z java.io.IOException: a",
        "Z \\tat java.base/x",
        "Z Caused by: b",
        "Z \\t... 4 more",
    ]
    printed = "".join(f"2026-01-01T00:00:00.0{line}\\n" for line in lines)
    script = f"case $1 in ps) printf 'a1\\tkafka\\tUp\\n' ;; logs) printf '{printed}' ;; esac"
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])
    [text] = sections(Used(services={"kafka"})).values()
    assert [line.partition("Z ")[2] for line in text.splitlines()] == [
        "ERROR it failed",
        "java.io.IOException: a",
        "Caused by: b",
    ]


def test_sections_are_bounded(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"service-{number:02}" for number in range(40)]
    listed = "".join(f"x\\t{name}\\tUp\\n" for name in names)
    line = "a line of a log " * 20
    script = f"case $1 in ps) printf '{listed}' ;; logs) yes '{line}' | head -c 100000; echo the end ;; esac"
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])
    found = collect(Used(services=set(names)), since=time.time())
    assert max(len(text) for _, text in found) < details._SECTION_CHARACTERS + 10
    assert sum(len(text) for _, text in found) < details._TEST_CHARACTERS + 1000
    assert found[0][1].endswith("the end")
    assert found[-1][0] == "more"


def test_collecting_ends_in_time(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", program("docker", "case $1 in ps) printf 'x\\ta\\tUp\\ny\\tb\\tUp\\n' ;; esac")["PATH"])
    monkeypatch.setattr(details, "_SECONDS", 0.0)
    assert [title for title, _ in collect(Used(services={"a", "b"}), since=time.time())] == ["more"]


@pytest.mark.parametrize(
    "text",
    [
        "app-pass-of-env",
        "as root: root-pass-of-file.",
        "sc://localhost:15002/;token=token-of-connect;user=x",
        "jdbc:mysql://cdcuser:unknown-to-us@mysql:3306/cdcdb",
        "'database.password': 'unknown-to-us'",
        '{"database.password":"unknown-to-us"}',
        "password=unknown-to-us, user=x",
        "CREATE USER x IDENTIFIED BY 'unknown-to-us'",
        "ALTER ROLE x PASSWORD 'unknown-to-us'",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    masked = redacted(text)
    assert "***" in masked
    assert not any(secret in masked for secret in ("-pass-of-", "token-of", "unknown-to-us"))


@pytest.mark.parametrize(
    "text", ["the password was changed", "5 tokens", 'max_tokens=5, "id": 7', "wrong secret, try again"]
)
def test_text_that_only_mentions_secrets_stays(text: str) -> None:
    assert redacted(text) == text


def test_secret_is_masked_before_the_text_is_cut() -> None:
    text = "x" * (details._EVENT_CHARACTERS - 5) + "app-pass-of-env"
    assert "app-p" not in details._short(text)


def test_password_is_not_in_the_representation_of_its_holder() -> None:
    parameters = {"password": Password("app-pass")}
    assert "app-pass" not in repr(parameters)
    assert f"{parameters['password']}" == "app-pass" == parameters["password"]


FAILING = """
    def test_fails(mysql_parameters):
        assert mysql_parameters["port"] == 1
"""


def test_failed_user_test_has_a_screen_and_a_file_of_details(
    pytester: pytest.Pytester, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "case $1 in ps) printf 'a1\\tmysql\\tUp 2 hours (unhealthy)\\n' ;; logs) echo app-pass-of-env in a log ;; esac"
    )
    monkeypatch.setenv("PATH", program("docker", script)["PATH"])
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    result.assert_outcomes(failed=1)
    file = "build/cdc-workstation/test_failed_user_test_has_a_screen_and_a_file_of_details.py-test_fails.txt"
    result.stdout.fnmatch_lines(
        ["*- cdc-workstation -*", "Services: mysql: Up 2 hours (unhealthy)", f"Details: {file}"], consecutive=True
    )
    text = (pytester.path / file).read_text()
    assert "log of mysql (Up 2 hours (unhealthy)) since" in text
    assert "*** in a log" in text
    assert "app-pass-of-env" not in text + result.stdout.str()


def test_report_goes_where_the_project_says(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING)
    pytester.makeini("[pytest]\ncdc_workstation_report_dir = reports/cdc\n")
    pytester.runpytest_subprocess("-p", "no:randomly").stdout.fnmatch_lines(["Details: reports/cdc/*test_fails.txt"])


def test_traceback_ends_in_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from cdc_workstation.clients.delta import DeltaReader

        def test_fails(wait_for_row, tmp_path):
            wait_for_row(tmp_path, id=1, timeout=0.1)
    """)
    output = pytester.runpytest_subprocess("-p", "no:randomly").stdout.str()
    assert "RowError: no row with id=1" in output
    assert "clients/delta.py" not in output
    assert "fixtures/pipeline.py" not in output


def test_evidence_can_be_turned_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING)
    pytester.makeini("[pytest]\ncdc_workstation_evidence = false\n")
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    result.assert_outcomes(failed=1)
    assert "- cdc-workstation -" not in result.stdout.str()
