"""The command line itself: its commands, its exit codes, its errors; and the parts of commands that ask nobody."""

from __future__ import annotations

import builtins
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cdc_workstation.cli import main
from cdc_workstation.cli.captured import find
from cdc_workstation.cli.dead_letter_view import Letter, Reason, render
from cdc_workstation.cli.env import MEANINGS, exports, shown, variables
from cdc_workstation.cli.kafka import TOOLS
from cdc_workstation.cli.outcome import CliError
from cdc_workstation.cli.spark_prompt import split
from cdc_workstation.cli.sql import _option_file
from cdc_workstation.cli.table_argument import completions
from cdc_workstation.settings import Settings, get_settings
from cdc_workstation.verify.captured import connectors

COMMANDS = [
    "status",
    "tail",
    "load",
    "diff",
    "verify",
    "resnapshot",
    "dead-letters",
    "connectors",
    "sql",
    "kafka",
    "logs",
    "env",
]
KNOWN = connectors(
    {
        "m": {"connector.class": "io.debezium.connector.mysql.MySqlConnector", "topic.prefix": "debezium"}
        | {"database.include.list": "cdcdb"},
        "p": {"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": "debezium"},
    }
)
TOPICS = {"debezium.cdcdb.products", "debezium.public.products", "debezium.public.orders", "debezium", "other"}


@pytest.fixture
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No stack anywhere: neither a connection.env nor variables."""
    for name in os.environ:
        if name in MEANINGS or name.startswith("CDC_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CDC_STACK_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage: cdc-workstation" in capsys.readouterr().out


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize(
    "arguments",
    [
        ["tail", "products"],
        ["diff", "products"],
        ["verify"],
        ["resnapshot", "products"],
        ["load", "--seconds", "1"],
        ["dead-letters"],
        ["connectors"],
        ["sql", "mysql", "SELECT 1"],
        ["sql", "postgres", "SELECT 1"],
        ["sql", "spark", "SELECT 1"],
        ["kafka", "topics", "--list"],
        ["env"],
    ],
)
def test_without_a_stack_each_command_says_what_to_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "connection.env" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.usefixtures("no_stack")
def test_error_is_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "products", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 2
    assert "KAFKA_BOOTSTRAP_SERVERS" in document["error"]


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail"]) == 2
    assert "TABLE" in capsys.readouterr().err


def test_condition_that_is_not_valid_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "products", "--where", "price"]) == 2
    assert "use COLUMN=VALUE" in " ".join(capsys.readouterr().err.split())


def test_unexpected_error_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("something [odd]")

    monkeypatch.setattr("cdc_workstation.settings.get_settings", broken)
    monkeypatch.delenv("CDC_DEBUG", raising=False)

    assert main(["env"]) == 2
    assert "Unexpected RuntimeError: something [odd]" in capsys.readouterr().err


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def without_typer(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "typer":
            raise ImportError("No module named 'typer'", name="typer")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_typer)

    assert main(["status"]) == 2
    assert "pip install 'cdc-workstation[cli]'" in capsys.readouterr().err


def test_help_imports_no_client() -> None:
    """Completion starts the program at each key: it must not load drivers."""
    program = (
        "import sys; from cdc_workstation.cli import main; main(['--help']); "
        "print([name for name in ('mysql', 'psycopg', 'pyspark', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip().splitlines()[-1] == "[]"


# Tables


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("orders", "debezium.public.orders"),
        ("public.products", "debezium.public.products"),
        ("mysql:products", "debezium.cdcdb.products"),
        ("debezium.cdcdb.products", "debezium.cdcdb.products"),
    ],
)
def test_table_is_found_by_any_of_its_names(name: str, topic: str) -> None:
    assert find(name, KNOWN, TOPICS).topic == topic


def test_name_of_several_tables_lists_them() -> None:
    with pytest.raises(CliError, match=r"several tables: mysql:cdcdb\.products, postgres:public\.products"):
        find("products", KNOWN, TOPICS)


def test_unknown_table_suggests_the_nearest() -> None:
    with pytest.raises(CliError, match=r"Is it public\.orders"):
        find("public.order", KNOWN, TOPICS)


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [("cdcdb.", ["cdcdb.products"]), ("ord", ["orders"]), ("prod", []), ("pub", ["public.products", "public.orders"])],
)
def test_shell_completes_names_that_mean_one_table(incomplete: str, expected: list[str]) -> None:
    assert completions(["cdcdb.products", "public.products", "public.orders"], incomplete) == expected


# env


def test_each_setting_is_explained() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(MEANINGS)


def test_exports_are_quoted_for_a_shell() -> None:
    settings = Settings(mysql_host="h", mysql_password="it's; rm", _env_file=None)  # type: ignore[call-arg]
    script = exports(variables(settings.model_dump())) + '\nprintf %s "$MYSQL_PASSWORD"'

    run = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/bin:/usr/bin"}
    )

    assert run.stdout == "it's; rm"


def test_defaults_of_a_service_that_is_not_there_are_left_out() -> None:
    found = variables(Settings(postgres_host="h", _env_file=None).model_dump())  # type: ignore[call-arg]

    assert "POSTGRES_PORT" in found
    assert not [name for name in found if name.startswith(("MYSQL_", "S3_"))]


def test_explained_values_have_no_secret() -> None:
    found = shown({"MYSQL_PASSWORD": "hunter22", "SPARK_REMOTE": "sc://localhost:15002/;token=hunter22"})

    assert "hunter22" not in str(found)


# sql


def test_password_is_in_a_file_that_others_cannot_read() -> None:
    with _option_file('a"b\\c') as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert 'password="a\\"b\\\\c"' in path.read_text()
    assert not path.exists()


def test_statements_end_with_a_semicolon_or_an_empty_line() -> None:
    lines = ["SELECT 1;", "SELECT", "  2 ;", "", "SELECT 3", "", "SELECT 4"]

    assert list(split(iter(lines))) == ["SELECT 1", "SELECT\n2", "SELECT 3", "SELECT 4"]


# kafka


def test_unknown_tool_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kafka", "topic", "--list"]) == 2
    assert "Is it topics?" in capsys.readouterr().err


def test_kafka_alone_lists_the_tools(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kafka"]) == 0
    assert all(tool in capsys.readouterr().out for tool in list(TOOLS)[:1])


# dead letters

WRITTEN = datetime(2026, 11, 27, 21, 56, 21, tzinfo=UTC)
LETTER = Letter(
    "debezium.a.t", 0, 9, "a.t", "value", "price: 'x' is no [decimal]", WRITTEN, b'{"payload": {"id": 3}}', b"{}"
)


def rendered(*arguments: Any) -> str:
    console = Console(width=120, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        console.print(render(*arguments))
    return captured.get()


def test_dead_letters_are_counted_by_reason_and_the_newest_are_shown() -> None:
    said = rendered([LETTER], [Reason("a.t", "value", 1200, WRITTEN)], None)

    assert "1,200 dead letters." in said
    assert "a.t id=3 debezium.a.t 0:9" in said
    assert "value: price: 'x' is no [decimal]" in said


def test_no_dead_letters() -> None:
    assert "There are no dead letters of a.t." in rendered([], [], "a.t")


@pytest.mark.parametrize(
    ("key", "said"), [(None, "(no key)"), (b'{"id": 1}', "id=1"), (b"\xff\x00", "\ufffd\x00"), (b"5", "5")]
)
def test_keys_of_any_kind_are_shown(key: bytes | None, said: str) -> None:
    letter = Letter("t", 0, 9, "a.t", "value", "", WRITTEN, key, None)

    assert letter.shown_key() == said
