"""Fixtures of the suite's own: databases whose tables the sink follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from captured import CapturedDatabase, CapturedTable, mysql_database, postgres_schema

from cdc_workstation.availability import required
from cdc_workstation.settings import Settings


@pytest.fixture
def _whole_way(request: pytest.FixtureRequest, stack_settings: Settings) -> None:
    """Everything between a database and Delta is part of the stack."""
    required(request, "kafka", stack_settings.kafka_bootstrap_servers)
    required(request, "debezium", stack_settings.debezium_url)
    required(request, "delta-sink", stack_settings.delta_sink_url)


@pytest.fixture
def captured_mysql(
    _whole_way: None, stack_settings: Settings, mysql_parameters: dict[str, Any]
) -> Iterator[CapturedDatabase]:
    """A MySQL database for one test, followed by the stack's connector and sink."""
    with mysql_database(stack_settings, mysql_parameters) as database:
        yield database


@pytest.fixture
def captured_postgres(
    _whole_way: None, stack_settings: Settings, postgres_parameters: dict[str, Any]
) -> Iterator[CapturedDatabase]:
    """A PostgreSQL schema for one test, followed by the stack's connector and sink."""
    with postgres_schema(stack_settings, postgres_parameters) as database:
        yield database


@pytest.fixture(params=["mysql", "postgres"])
def captured(request: pytest.FixtureRequest) -> CapturedDatabase:
    """Either of them: the test runs once with each."""
    database: CapturedDatabase = request.getfixturevalue(f"captured_{request.param}")
    return database


@pytest.fixture
def orders(captured: CapturedDatabase) -> CapturedTable:
    """A small table, once in each database."""
    return captured.table("id INT PRIMARY KEY, customer VARCHAR(50), total DECIMAL(10,2)")
