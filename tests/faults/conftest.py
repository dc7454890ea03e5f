"""Faults: what the whole way does when a part of it is killed or restarted.

A run of its own, one test at a time (`make faults`): a stopped Kafka is in the way of every other test, and a lock that
each of them would have to take is forgotten in the one that is written next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mysql.connector
import psycopg
import pytest

from cdc_workstation.availability import required
from cdc_workstation.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "suite"))

from captured import CapturedDatabase, CapturedTable, Leftovers, mysql_database, postgres_schema
from fault_injection import HEALTHY_SECONDS, Stack, Writer
from locks import claim, leads

# What tests kill or stop.
INJECTED = ("mysql", "postgres", "kafka", "debezium", "delta-sink", "spark-worker")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Take the stack: other tests would fail of what these do."""
    if leads(session.config):
        claim(session.config)


@pytest.fixture
def stack(stack_settings: Settings) -> Iterator[Stack]:
    """The stack; what a test left stopped is started again."""
    stack = Stack(stack_settings)
    yield stack
    for service in INJECTED:
        if stack.container(service).status != "running":
            stack.container(service).start()
    for service in INJECTED:
        stack.wait_for(service)


@pytest.fixture
def databases(
    request: pytest.FixtureRequest,
    stack: Stack,
    stack_settings: Settings,
    mysql_parameters: dict[str, Any],
    postgres_parameters: dict[str, Any],
) -> Iterator[list[CapturedDatabase]]:
    """One of each, for this test alone."""
    required(request, "delta-sink", stack_settings.delta_sink_url)
    with (
        mysql_database(stack_settings, mysql_parameters) as first,
        postgres_schema(stack_settings, postgres_parameters) as second,
    ):
        yield [first, second]
    leftovers = Leftovers()
    for database in (first, second):
        leftovers.add(database)
    leftovers.remove()


@pytest.fixture
def tables(databases: list[CapturedDatabase]) -> list[CapturedTable]:
    """A table in each database, with rows that are in Delta already."""
    found = [one.table("id INT PRIMARY KEY, revision INT, note VARCHAR(50)") for one in databases]
    for table in found:
        table.execute("INSERT INTO {t} VALUES (0, 0, 'first')")
    for table in found:
        table.settle(HEALTHY_SECONDS)
    return found


@pytest.fixture
def writers(
    tables: list[CapturedTable], mysql_parameters: dict[str, Any], postgres_parameters: dict[str, Any]
) -> Iterator[list[Writer]]:
    """One for each table, at work."""
    connect: Mapping[str, Callable[[], Any]] = {
        "mysql": lambda: mysql.connector.connect(**mysql_parameters, autocommit=True),
        "postgres": lambda: psycopg.connect(**postgres_parameters, autocommit=True),
    }
    with (
        Writer(tables[0], connect[tables[0].database.kind]) as first,
        Writer(tables[1], connect[tables[1].database.kind]) as second,
    ):
        yield [first, second]
