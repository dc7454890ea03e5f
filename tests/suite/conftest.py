"""Fixtures of the suite's own: databases whose tables the sink follows. And a look at what a run leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from captured import CapturedDatabase, CapturedTable, Leftovers, mysql_database, postgres_schema
from leak_check import LeakCheck
from locks import Turns, claim, is_exclusive, leads

from cdc_workstation.availability import required
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.fixtures.kafka import delete_topics, stack_connector
from cdc_workstation.fixtures.spark import DeltaTableLocation
from cdc_workstation.settings import Settings, get_settings

# Services of profiles beyond `core`: their tests are collected where connection.env says that the stack has them. They
# then fail, as all others do, when the service does not answer.
_OPTIONAL = {"test_object_storage.py": "s3_endpoint_url"}
collect_ignore = [file for file, field in _OPTIONAL.items() if getattr(get_settings(), field) is None]

_LEAK_CHECK = pytest.StashKey[LeakCheck]()
_UNKNOWN = pytest.StashKey[str]()
_LEFT = pytest.StashKey[dict[str, list[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let workers take turns; a run without has nobody to wait for."""
    config.addinivalue_line("markers", "exclusive: the test restarts or reconfigures a service that others use")
    config.addinivalue_line("markers", "independent: the test meets nothing that another one restarts")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests that need a classic driver: each has a JVM, and executors that others wait for.

    One runs all that want the stack alone, so that the others wait once: xdist starts with its groups, so that is when
    nobody is in the middle of something yet.
    """
    for item in items:
        if "spark_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("driver"))
        elif is_exclusive(item):
            item.add_marker(pytest.mark.xdist_group("exclusive"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Take the stack, and remember what is on it before the first test; of several workers, their controller does."""
    if leads(session.config):
        claim(session.config)
        # Without a stack the tests say what is missing, too.
        try:
            session.config.stash[_LEAK_CHECK] = LeakCheck(get_settings())
        except Exception as error:
            session.config.stash[_UNKNOWN] = f"{type(error).__name__}: {error}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that leaves something behind; clean up after one that was cut short."""
    leak_check = session.config.stash.get(_LEAK_CHECK, None)
    if leak_check is None:
        return
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        session.config.stash[_LEFT] = leak_check.remove()
    else:
        session.config.stash[_LEFT] = leak_check.left()
        if session.config.stash[_LEFT]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Name what was left behind, or removed."""
    if _UNKNOWN in config.stash:
        terminalreporter.section("what this run left behind was not looked for", red=True)
        terminalreporter.line(config.stash[_UNKNOWN])
    left = config.stash.get(_LEFT, {})
    if left:
        cut_short = exitstatus == pytest.ExitCode.INTERRUPTED
        terminalreporter.section("removed after the interrupt" if cut_short else "left behind on the stack", red=True)
        for kind, names in left.items():
            terminalreporter.line(f"{kind}: {', '.join(names)}")


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A session that asks no proxy: the stack is on this machine or its network."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def shared_delta_table(delta_run_directory: Path) -> DeltaTableLocation:
    """Name and path of a table for the tests of a module that only read it; it goes with the run."""
    name = f"t_{uuid4().hex[:12]}"
    return DeltaTableLocation(name=name, path=str(delta_run_directory / name))


@pytest.fixture
def _whole_way(request: pytest.FixtureRequest, stack_settings: Settings) -> None:
    """Everything between a database and Delta is part of the stack."""
    required(request, "kafka", stack_settings.kafka_bootstrap_servers)
    required(request, "debezium", stack_settings.debezium_url)
    required(request, "delta-sink", stack_settings.delta_sink_url)


@pytest.fixture(scope="session")
def _leftovers() -> Iterator[Leftovers]:
    """Delta tables that are to go."""
    leftovers = Leftovers()
    yield leftovers
    leftovers.remove()


@pytest.fixture
def captured_mysql(
    _whole_way: None, stack_settings: Settings, mysql_parameters: dict[str, Any], _leftovers: Leftovers
) -> Iterator[CapturedDatabase]:
    """A MySQL database for one test, followed by the stack's connector and sink."""
    with mysql_database(stack_settings, mysql_parameters) as database:
        yield database
    _leftovers.add(database)


@pytest.fixture
def captured_postgres(
    _whole_way: None, stack_settings: Settings, postgres_parameters: dict[str, Any], _leftovers: Leftovers
) -> Iterator[CapturedDatabase]:
    """A PostgreSQL schema for one test, followed by the stack's connector and sink."""
    with postgres_schema(stack_settings, postgres_parameters) as database:
        yield database
    _leftovers.add(database)


@pytest.fixture(params=["mysql", "postgres"])
def captured(request: pytest.FixtureRequest) -> CapturedDatabase:
    """Either of them: the test runs once with each."""
    database: CapturedDatabase = request.getfixturevalue(f"captured_{request.param}")
    return database


@pytest.fixture
def orders(captured: CapturedDatabase) -> CapturedTable:
    """A small table, once in each database."""
    return captured.table("id INT PRIMARY KEY, customer VARCHAR(50), total DECIMAL(10,2)")


@pytest.fixture
def failing_connector(connect_client: ConnectClient, kafka_bootstrap_servers: str) -> Iterator[str]:
    """The name of a connector whose task fails at its start: it is to recover a schema history that is not there.

    All else it has from the stack's own connector, credentials among it.
    """
    name = f"test_{uuid4().hex[:12]}"
    config = connect_client.config(stack_connector(connect_client)) | {
        "name": name,
        "topic.prefix": name,
        "database.server.id": str(uuid4().int % 2**31 + 2**31),
        "schema.history.internal.kafka.topic": f"{name}_schema_history",
        "topic.heartbeat.prefix": f"{name}_heartbeat",
        "snapshot.mode": "recovery",
    }
    try:
        connect_client.put(name, config)
        yield name
    finally:
        connect_client.remove(name)
        delete_topics(kafka_bootstrap_servers, lambda topic: topic.startswith(name))
