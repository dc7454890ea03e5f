"""The leak check finds what tests create, and removes it after an interrupt."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from containers import container
from leak_check import NAME, LeakCheck
from mysql.connector.abstracts import MySQLConnectionAbstract

from cdc_workstation.clients.alertmanager import AlertmanagerClient
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import stack_connector
from cdc_workstation.settings import Settings, connection_file


@pytest.fixture
def name() -> str:
    return f"t_{uuid4().hex[:12]}"


@pytest.fixture
def leak_check(stack_settings: Settings, alert_test_id: str, name: str) -> LeakCheck:
    return LeakCheck(stack_settings, re.compile(name), {"test_id": alert_test_id})


def create_stopped(client: ConnectClient, name: str) -> None:
    """Create a connector that never runs: it creates no slot, no topic and no snapshot."""
    client.create(name, client.config(stack_connector(client)) | {"name": name}, state="STOPPED")


def test_everything_that_tests_leave_is_found_and_removed(
    leak_check: LeakCheck,
    name: str,
    stack_settings: Settings,
    mysql_connection: MySQLConnectionAbstract,
    postgres_connection: psycopg.Connection[Any],
    kafka_bootstrap_servers: str,
    alertmanager_client: AlertmanagerClient,
    connect_client: ConnectClient,
) -> None:
    with mysql_connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY)")
        cursor.execute(f"CREATE DATABASE cdcdb_{name}")
    postgres_connection.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY)")
    postgres_connection.execute(f"CREATE SCHEMA {name}")
    create_stopped(connect_client, name)
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    admin.create_topics([NewTopic(f"debezium.elsewhere.{name}", 1, 1)])[f"debezium.elsewhere.{name}"].result(10)
    (stack_settings.delta_tables_dir / name).mkdir()
    (stack_settings.delta_tables_dir / "public" / name).mkdir()
    (connection_file().parent / "targets" / f"{name}.json").write_text("[]")
    docker.from_env().containers.create(container(stack_settings, "prometheus").image, name=name)
    silence = alertmanager_client.create_silence()
    alertmanager_client.post_alert("LeftBehind", severity="info")

    # No change is on its way.
    found = leak_check.remove(quiet_looks=1)

    assert {kind: names for kind, names in found.items() if kind != "alerts"} == {
        "connectors": [name],
        "MySQL tables": [name],
        "MySQL databases": [f"cdcdb_{name}"],
        "PostgreSQL tables": [name],
        "PostgreSQL schemas": [name],
        "topics": [f"debezium.elsewhere.{name}"],
        "Delta directories": [f"public/{name}", name],
        "targets of Prometheus": [f"{name}.json"],
        "containers": [name],
        "silences": [silence],
    }
    assert "alertname=LeftBehind" in found["alerts"][0]
    assert leak_check.left() == {}


CUT_SHORT = """
import os, signal

def test_cut_short(mysql_connection):
    with mysql_connection.cursor() as cursor:
        cursor.execute("CREATE TABLE {name} (id INT PRIMARY KEY)")
        cursor.execute("INSERT INTO {name} VALUES (1)")
    # As Ctrl-C does: a signal to all processes of the terminal.
    os.killpg(0, signal.SIGINT)
"""
# Things that other workers create meanwhile are not this run's.
NARROW = """
import re, signal
from leak_check import LeakCheck

# A job in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
LeakCheck.__init__.__defaults__ = (re.compile("{name}"), {{"test_id": "{name}"}})
# One look finds the table, and the next that nothing recreated it.
LeakCheck.remove.__defaults__ = (1,)
"""


def run_separately(directory: Path, name: str, tests: str, workers: int = 0) -> subprocess.CompletedProcess[str]:
    """Run tests with the suite's conftest, in a session and with locks of their own: no run waits for another."""
    (directory / "test_separate.py").write_text(tests.format(name=name))
    (directory / "narrow.py").write_text(NARROW.format(name=name))
    suite = Path(__file__).parent
    # No other plugin: to load them all is half of what such a run costs.
    plugins = ("cdc_workstation.plugin", "xdist", "narrow", "conftest", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *(f"-p{one}" for one in plugins), "--rootdir=.", f"--numprocesses={workers}"],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {
            "PYTHONPATH": os.pathsep.join([str(directory), str(suite), *sys.path]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TMPDIR": str(directory),
        },
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_interrupted_run_removes_what_it_created(
    workers: int, name: str, tmp_path: Path, mysql_connection: MySQLConnectionAbstract
) -> None:
    run = run_separately(tmp_path, name, CUT_SHORT, workers)

    assert run.returncode == pytest.ExitCode.INTERRUPTED, run.stdout + run.stderr
    assert "removed after the interrupt" in run.stdout
    assert f"MySQL tables: {name}" in run.stdout
    with mysql_connection.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE %s", (name,))
        assert cursor.fetchall() == []


def test_second_run_on_the_stack_is_refused(name: str, stack_settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / f"{stack_settings.compose_project_name}.run").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = run_separately(tmp_path, name, "def test_nothing(): pass")

    assert run.returncode == pytest.ExitCode.USAGE_ERROR, run.stdout + run.stderr
    assert "Another run of tests (process 4711) uses this stack" in run.stderr


@pytest.mark.parametrize(
    "own", ["t_0123456789ab", "debezium.cdcdb.cdc_0123456789ab", "cdcdb_test_0123456789ab.orders", "test-0123456789ab"]
)
def test_names_that_tests_give_are_recognised(own: str) -> None:
    assert NAME.search(own)


@pytest.mark.parametrize("other", ["products", "debezium.cdcdb.products", "test_orders", "t_0123456789abc"])
def test_names_that_users_give_are_ignored(other: str) -> None:
    assert not NAME.search(other)
