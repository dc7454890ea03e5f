"""Faults: what the pipeline does when one of its services is killed, paused or restarted.

They run one at a time and without other tests (`make faults`): a stopped Kafka fails every other test.
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

# What tests kill, pause or stop.
SERVICES = ("mysql", "postgres", "kafka", "debezium", "delta-sink", "spark-worker")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Lock the stack: other tests would fail during these."""
    if leads(session.config):
        claim(session.config)


@pytest.fixture
def stack(stack_settings: Settings) -> Iterator[Stack]:
    """The stack; services that a test left stopped or paused are brought back."""
    stack = Stack(stack_settings)
    yield stack
    stack.recover(SERVICES)


@pytest.fixture
def databases(
    request: pytest.FixtureRequest,
    stack: Stack,
    stack_settings: Settings,
    mysql_parameters: dict[str, Any],
    postgres_parameters: dict[str, Any],
) -> Iterator[list[CapturedDatabase]]:
    """A MySQL database and a PostgreSQL schema that this test alone uses."""
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
    """A table in each database, with one row that is in Delta already."""
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
    """One for each table, running."""
    connect: Mapping[str, Callable[[], Any]] = {
        "mysql": lambda: mysql.connector.connect(**mysql_parameters, autocommit=True),
        "postgres": lambda: psycopg.connect(**postgres_parameters, autocommit=True),
    }
    with (
        Writer(tables[0], connect[tables[0].database.kind]) as first,
        Writer(tables[1], connect[tables[1].database.kind]) as second,
    ):
        yield [first, second]
