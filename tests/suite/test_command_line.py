"""The commands of `cdc-workstation` on a real stack: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import requests
from captured import CapturedDatabase, CapturedTable, incompatible, until
from deltalake import write_deltalake

from cdc_workstation.cli import main
from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.settings import Settings, get_settings
from cdc_workstation.sink.canary import event

pytestmark = [pytest.mark.timeout(120), pytest.mark.uses("databases")]

CLIENT = {"mysql": "mysql", "postgres": "psql"}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run a command and return what it printed."""
    capsys.readouterr()
    found = main(arguments)
    output = capsys.readouterr()
    assert found == code, output.out + output.err
    return output.out if code != 2 else output.out + " ".join(output.err.split())


def documents(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Run a command that prints one JSON document a line, and return them."""
    return [json.loads(line) for line in printed(capsys, *arguments, "--json", code=code).splitlines()]


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run a command that prints one JSON document, and return it."""
    return json.loads(printed(capsys, *arguments, "--json", code=code))


@pytest.fixture
def changed(orders: CapturedTable) -> CapturedTable:
    """A table with an insert, an update and a delete that are in Delta."""
    orders.execute("INSERT INTO {t} VALUES (1, 'Ada', 9.50), (2, 'Bo', 1.00)")
    orders.execute("UPDATE {t} SET total = 12.00 WHERE id = 1")
    orders.execute("DELETE FROM {t} WHERE id = 2")
    orders.settle()
    return orders


# tail


def test_tail_shows_what_each_change_changed(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    found = documents(capsys, "tail", changed.source, "--from-beginning", "--no-follow")

    assert [one["op"] for one in found] == ["insert", "insert", "update", "delete"]
    update = found[2]
    assert update["key"] == {"id": 1}
    assert update["after"] == {"id": 1, "customer": "Ada", "total": "12.00"}
    assert update["position"]
    assert update["lag_seconds"] >= 0


def test_tail_highlights_changed_columns(captured_mysql: CapturedDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    table = captured_mysql.table("id INT PRIMARY KEY, customer VARCHAR(50), total DECIMAL(10,2)")
    table.execute("INSERT INTO {t} VALUES (1, 'Ada', 9.50)")
    table.execute("UPDATE {t} SET total = 12.00 WHERE id = 1")
    table.settle()

    said = printed(capsys, "tail", table.source, "--last", "1", "--no-follow")

    assert "total: 9.50 -> 12.00" in said
    assert "customer" not in said


def test_tail_shows_matching_changes_alone(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    beginning = ("tail", changed.source, "--from-beginning", "--no-follow")

    assert [one["op"] for one in documents(capsys, *beginning, "--where", "total>10")] == ["update"]
    assert [one["key"]["id"] for one in documents(capsys, *beginning, "-w", "op=delete")] == [2]


def test_tail_follows_changes_as_they_come(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    # It begins at the end; what it has to show comes while it waits.
    stop = threading.Event()

    def write() -> None:
        number = 10
        while not stop.wait(0.2):
            changed.execute(f"INSERT INTO {{t}} VALUES ({number}, 'Chidi', 1.00)")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = documents(capsys, "tail", changed.source, "--limit", "2")
    finally:
        stop.set()
        writer.join()

    assert [one["after"]["customer"] for one in found] == ["Chidi", "Chidi"]


def test_tail_of_an_unknown_table_suggests_one(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Is it {changed.source}" in printed(capsys, "tail", f"{changed.source[:-1]}", code=2)


# Drift


def test_diff_names_the_rows_that_differ(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 table: 1 equal." in printed(capsys, "diff", changed.source)

    changed.delta().delete("id = 1")

    assert "(id='1') is missing in Delta" in printed(capsys, "diff", changed.source, code=1)


def test_dead_letters_are_replayed_once_their_cause_is_gone(
    captured_mysql: CapturedDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    table = captured_mysql.topic_only()
    assert "no dead letters" in printed(capsys, "dead-letters", table.label)
    # A number becomes a text: the sink stops the table.
    captured_mysql.produce(table, event({"id": 1, "sent_ms": 10, "note": None}, 10), incompatible(2, 20))
    table.wait_for_dead_letters(1)
    assert "sent_ms changed from BIGINT to STRING" in printed(capsys, "dead-letters", table.label, code=1)
    rows = table.arrow()
    place = rows.schema.get_field_index("sent_ms")
    repaired = rows.set_column(place, "sent_ms", rows["sent_ms"].cast(pa.string()))
    write_deltalake(table.delta(), repaired, mode="overwrite", schema_mode="overwrite")
    # The next change lets the table go on; until then all are dead letters.
    captured_mysql.produce(table, incompatible(3, 30))
    until(lambda: table.metric("table_stopped") == 0 and len(table.delta_rows()) == 3, "the table goes on")

    replayed = document(capsys, "dead-letters", table.label, "--replay")

    assert (replayed["replayed"] >= 1, replayed["dead_letters"]) == (True, [])
    assert "no dead letters" in printed(capsys, "dead-letters", table.label)
    assert [row["sent_ms"] for row in table.delta_rows()] == ["10", "20", "30"]


def test_event_that_still_cannot_be_applied_is_a_dead_letter_again(
    captured_mysql: CapturedDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    table = captured_mysql.topic_only()
    captured_mysql.produce(table, (b'{"id": 1}', b"no JSON"))
    (before,) = table.wait_for_dead_letters(1)

    replayed = document(capsys, "dead-letters", table.label, "--replay", code=1)

    assert [(one["offset"], one["reason"]) for one in replayed["dead_letters"]] == [(1, before["reason"])]
    assert [one["offset"] for one in table.dead_letters()] == [1]


# Traffic


def test_load_reaches_delta(
    captured_mysql: CapturedDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYSQL_DATABASE", captured_mysql.name)
    get_settings.cache_clear()
    try:
        done = document(capsys, "load", "--rate", "100", "--seconds", "1", "--mix", "insert=4,update=1")
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()

    assert (done["changes"], done["deletes"]) == (100, 0)
    table = CapturedTable(captured_mysql, "load_orders", captured_mysql.connector)
    table.until(lambda: len(table.delta_rows()) == done["inserts"], "the load's rows are not in Delta")


# Clients


@pytest.fixture(params=["of this machine", "of the image"])
def client_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a client is found: on this machine, or, where that has none, in the service's image."""
    if request.param == "of the image":
        docker = shutil.which("docker")
        assert docker
        (tmp_path / "docker").symlink_to(docker)
        monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("client_place")
@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_sql_runs_a_query(database: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> None:
    if "this machine" in request.node.name and not shutil.which(CLIENT[database]):
        pytest.fail(f"{CLIENT[database]} is not installed")
    assert main(["sql", database, "SELECT 40 + 2 AS answer"]) == 0
    assert "42" in capfd.readouterr().out


@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_sql_gives_rows_as_json(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = document(capsys, "sql", database, "SELECT 1 AS one, CAST(1.10 AS DECIMAL(5,2)) AS price")

    assert row == {"one": 1, "price": "1.10"}


@pytest.mark.parametrize("database", ["mysql", "postgres"])
def test_sql_error_is_one_sentence(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = document(capsys, "sql", database, "SELECT nothing FROM nowhere_at_all", code=2)["error"]

    assert "nowhere_at_all" in said
    assert "\n" not in said


@pytest.mark.usefixtures("client_place")
def test_password_is_on_no_command_line(stack_settings: Settings) -> None:
    password = stack_settings.mysql_password.get_secret_value()
    program = [sys.executable, "-m", "cdc_workstation.cli", "sql", "mysql", "SELECT SLEEP(3)"]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        seen: set[str] = set()
        while running.poll() is None:
            seen |= set(_command_lines())
    assert running.returncode == 0
    queries = [line for line in seen if "SLEEP(3)" in line and "cdc_workstation" not in line]
    assert queries, "the client was not seen"
    assert not [line for line in seen if password in line]


def _command_lines() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            yield " ".join(process.cmdline())
        except psutil.Error:
            continue


def test_sql_reads_delta_with_spark(captured_mysql: CapturedDatabase) -> None:
    changed = captured_mysql.table("id INT PRIMARY KEY, total DECIMAL(10,2)")
    changed.execute("INSERT INTO {t} VALUES (1, 12.00)")
    changed.settle()
    query = f"SELECT id, total FROM delta.`{changed.path}`"
    program = [sys.executable, "-m", "cdc_workstation.cli", "sql", "spark", "--json", query]

    run = subprocess.run(program, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [{"id": 1, "total": "12.00"}]


def test_kafka_runs_its_own_tools(changed: CapturedTable, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["kafka", "get-offsets", "--topic", changed.topic]) == 0
    assert f"{changed.topic}:0:" in capfd.readouterr().out


# What is there


def test_status_tells_of_all_parts(changed: CapturedTable, capsys: pytest.CaptureFixture[str]) -> None:
    def state() -> dict[str, Any]:
        capsys.readouterr()
        code = main(["status", "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == found["exit_code"] == (1 if found["health"] == "bad" else 0)
        return found

    def in_step() -> bool:
        # The sink counts what is behind from time to time.
        return [one["state"] for one in state()["tables"] if one["name"] == changed.label] == ["in step"]

    changed.until(in_step, "the table is in step")
    found = state()
    assert {"mysql", "postgres", "kafka", "debezium", "delta-sink"} <= {one["name"] for one in found["services"]}
    assert {"mysql-cdcdb", "postgres-cdcdb"} <= {one["name"] for one in found["connectors"]}
    assert found["unreachable"] == []


def test_status_of_a_stack_elsewhere_needs_no_engine_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    container = {"ID": "a" * 12, "State": "running", "Status": "Up (healthy)"}
    container["Labels"] = "com.docker.compose.service=far-away"
    (tmp_path / "containers").write_text(json.dumps(container) + "\n")
    capsys.readouterr()

    main(["status", "--json", "--containers", str(tmp_path / "containers")])

    assert [one["name"] for one in json.loads(capsys.readouterr().out)["services"]] == ["far-away"]


def test_live_page_is_where_status_says(
    capsys: pytest.CaptureFixture[str], http: requests.Session, prometheus_client: PrometheusClient
) -> None:
    capsys.readouterr()
    main(["status", "--json"])
    address = json.loads(capsys.readouterr().out)["addresses"]["Live page"]

    answer = http.get(address, timeout=10)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert address.startswith(prometheus_client.url)


def test_connectors_show_their_configuration_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "connectors", "mysql-cdcdb", "config")

    assert json.loads(said)["database.hostname"] == "mysql"
    password = get_settings().mysql_password.get_secret_value()
    assert password not in said


def test_unknown_connector_names_those_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mysql-cdcdb" in printed(capsys, "connectors", "mysql", code=2)


def test_logs_of_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "logs", "kafka", "--last", "5").strip()
    assert "Is it debezium" in printed(capsys, "logs", "debesium", code=2)


def test_env_is_what_a_shell_reads(capsys: pytest.CaptureFixture[str], stack_settings: Settings) -> None:
    script = printed(capsys, "env") + 'printf %s "$MYSQL_PASSWORD"'

    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={})

    assert run.stdout == stack_settings.mysql_password.get_secret_value()
