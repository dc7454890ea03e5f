"""Fixtures of the suite: databases whose tables the sink follows, workers that take turns, and the leak check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from captured import CapturedDatabase, CapturedTable, Leftovers, mysql_database, postgres_schema
from leak_check import LeakCheck
from locks import RESOURCES, Turns, claim, is_exclusive, leads
from source import Source

from cdc_workstation.availability import required
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.http import direct_session
from cdc_workstation.clients.kafka import ChangeEvents, stack_connector
from cdc_workstation.fixtures.spark import DeltaTableLocation
from cdc_workstation.fixtures.stopped_connectors import StoppedConnectors
from cdc_workstation.settings import Settings, get_settings

# Services of profiles beyond `core`: their tests are collected if connection.env names the service. They then fail,
# like all others, if it does not answer.
_OPTIONAL = {"test_object_storage.py": "s3_endpoint_url"}
collect_ignore = [file for file, field in _OPTIONAL.items() if getattr(get_settings(), field) is None]

_LEAK_CHECK = pytest.StashKey[LeakCheck]()
_UNKNOWN = pytest.StashKey[str]()
_LEFT = pytest.StashKey[dict[str, list[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let workers take turns; a serial run needs no locks."""
    named = ", ".join(RESOURCES)
    config.addinivalue_line("markers", f"exclusive(*names): the test restarts or reconfigures these; of {named}")
    config.addinivalue_line("markers", f"uses(*names): the test uses only these of {named}")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests with a classic driver, one those with a Connect session, one all exclusive tests.

    Each driver has a JVM, and executors that others would wait for; each process with a session loads Spark. Exclusive
    tests on one worker make the others wait once, and at the start: xdist distributes groups first.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "spark_session" in fixtures:
            item.add_marker(pytest.mark.xdist_group("driver"))
        elif is_exclusive(item):
            item.add_marker(pytest.mark.xdist_group("exclusive"))
        elif "spark_connect_session" in fixtures:
            item.add_marker(pytest.mark.xdist_group("connect"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Lock the stack, and note what is on it before the first test; xdist's controller does so for its workers."""
    if leads(session.config):
        claim(session.config)
        # Without a stack the tests say what is missing, too.
        try:
            session.config.stash[_LEAK_CHECK] = LeakCheck(get_settings())
        except Exception as error:
            session.config.stash[_UNKNOWN] = f"{type(error).__name__}: {error}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that leaves something on the stack; clean up after one that was cut short."""
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
    """Name what was left on the stack, or removed."""
    if _UNKNOWN in config.stash:
        terminalreporter.section("the leak check did not run", red=True)
        terminalreporter.line(config.stash[_UNKNOWN])
    left = config.stash.get(_LEFT, {})
    if left:
        cut_short = exitstatus == pytest.ExitCode.INTERRUPTED
        terminalreporter.section("removed after the interrupt" if cut_short else "left behind on the stack", red=True)
        for kind, names in left.items():
            terminalreporter.line(f"{kind}: {', '.join(names)}")


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """An HTTP session without proxies: the stack is on this machine or its network."""
    with direct_session() as session:
        yield session


@pytest.fixture(scope="module")
def shared_delta_table(_delta_run_directory: Path) -> DeltaTableLocation:
    """Name and path of a table that the tests of a module only read; removed with the run."""
    name = f"t_{uuid4().hex[:12]}"
    return DeltaTableLocation(name=name, path=str(_delta_run_directory / name))


@pytest.fixture
def _pipeline_services(request: pytest.FixtureRequest, stack_settings: Settings) -> None:
    """The services between a database and Delta are part of the stack."""
    required(request, "kafka", stack_settings.kafka_bootstrap_servers)
    required(request, "debezium", stack_settings.debezium_url)
    required(request, "delta-sink", stack_settings.delta_sink_url)


@pytest.fixture(scope="session")
def _leftovers() -> Iterator[Leftovers]:
    """Topics and Delta tables of dropped databases, to be removed."""
    leftovers = Leftovers()
    yield leftovers
    leftovers.remove()


@pytest.fixture
def captured_mysql(
    _pipeline_services: None, stack_settings: Settings, mysql_parameters: dict[str, Any], _leftovers: Leftovers
) -> Iterator[CapturedDatabase]:
    """A MySQL database for one test, followed by the stack's connector and sink."""
    with mysql_database(stack_settings, mysql_parameters) as database:
        yield database
    _leftovers.add(database)


@pytest.fixture
def captured_postgres(
    _pipeline_services: None, stack_settings: Settings, postgres_parameters: dict[str, Any], _leftovers: Leftovers
) -> Iterator[CapturedDatabase]:
    """A PostgreSQL schema for one test, followed by the stack's connector and sink."""
    with postgres_schema(stack_settings, postgres_parameters) as database:
        yield database
    _leftovers.add(database)


@pytest.fixture(params=["mysql", "postgres"])
def captured(request: pytest.FixtureRequest) -> CapturedDatabase:
    """A database that the stack captures: the test runs once with each kind."""
    database: CapturedDatabase = request.getfixturevalue(f"captured_{request.param}")
    return database


@pytest.fixture(params=["mysql", "postgres"])
def source(request: pytest.FixtureRequest, change_events: Callable[..., ChangeEvents]) -> Source:
    """A database with its driver: the test runs once with each."""
    kind = request.param
    parameters = request.getfixturevalue(f"{kind}_parameters")
    return Source(
        kind,
        connection=request.getfixturevalue(f"{kind}_connection"),
        parameters=parameters,
        namespace=parameters["database"] if kind == "mysql" else "public",
        table=request.getfixturevalue(f"{kind}_table"),
        own_connector=request.getfixturevalue("own_connector" if kind == "mysql" else "own_postgres_connector"),
        change_events=change_events,
    )


@pytest.fixture
def orders(captured: CapturedDatabase) -> CapturedTable:
    """A small table, once in each database."""
    return captured.table("id INT PRIMARY KEY, customer VARCHAR(50), total DECIMAL(10,2)")


@pytest.fixture
def failing_connector(connect_client: ConnectClient, _stopped_connectors: StoppedConnectors) -> Iterator[str]:
    """The name of a connector whose task fails at its start: it must recover a schema history that does not exist.

    Its other settings, credentials included, are those of the stack's own connector.
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
        _stopped_connectors.add(name)
