"""Types of the fixtures, for tests that are checked by mypy or pyright.

    from cdc_workstation.typing import CdcPipelines, WaitForRow

    def test_order_arrives(cdc_pipeline: CdcPipelines, wait_for_row: WaitForRow) -> None: ...

`spark_session` and `spark_connect_session` are a `pyspark.sql.SparkSession`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from mysql.connector.abstracts import MySQLConnectionAbstract as MySQLConnection
from psycopg import Connection

from cdc_workstation.clients.alertmanager import AlertmanagerClient
from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.delta import Change, DeltaReader
from cdc_workstation.clients.kafka import ChangeEvent, ChangeEvents
from cdc_workstation.clients.pipeline import CdcPipeline
from cdc_workstation.clients.prometheus import PrometheusClient
from cdc_workstation.clients.source import Database, Row
from cdc_workstation.clients.webhook import WebhookReceiver
from cdc_workstation.fixtures.load import CdcLoad
from cdc_workstation.fixtures.pipeline import PipelineFactory as CdcPipelines
from cdc_workstation.fixtures.spark import DeltaTableLocation
from cdc_workstation.load import Mix, Progress
from cdc_workstation.settings import Settings

__all__ = [
    "AlertmanagerClient",
    "CdcLoad",
    "CdcPipeline",
    "CdcPipelines",
    "Change",
    "ChangeEvent",
    "ChangeEvents",
    "ConnectClient",
    "CreateMySQLTable",
    "CreatePostgresTable",
    "Database",
    "DeltaReader",
    "DeltaTableLocation",
    "Mix",
    "MySQLConnection",
    "PostgresConnection",
    "Progress",
    "PrometheusClient",
    "ReadChangeEvents",
    "ReadDelta",
    "ReplicaIdentity",
    "Row",
    "RunConnector",
    "Settings",
    "Table",
    "WaitForNoRow",
    "WaitForRow",
    "WebhookReceiver",
]

PostgresConnection = Connection[Any]
"""`postgres_connection`"""

ReplicaIdentity = Literal["FULL", "DEFAULT", "NOTHING"]

Table = str | CdcPipeline | DeltaTableLocation
"""A Delta table: a path, or what `cdc_pipeline` or `delta_table` gave."""

CreateMySQLTable = Callable[[str], str]
"""`mysql_table`"""

RunConnector = Callable[[Mapping[str, str]], tuple[str, str]]
"""`own_connector`, `own_postgres_connector`: takes settings; returns the connector's name and its topic prefix."""


class CreatePostgresTable(Protocol):
    """`postgres_table`."""

    def __call__(self, columns: str, *, replica_identity: ReplicaIdentity = "FULL") -> str:
        """Create a table and return its name."""


class ReadChangeEvents(Protocol):
    """`change_events`."""

    def __call__(
        self,
        table: str | CdcPipeline = "",
        *,
        database: str | None = None,
        prefix: str = "debezium",
        topic: str | None = None,
        from_beginning: bool = False,
    ) -> ChangeEvents:
        """Return the events of a table from now on."""


class WaitForRow(Protocol):
    """`wait_for_row`."""

    def __call__(
        self, table: Table, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any
    ) -> Row:
        """Wait until a row with these values is visible, and return it."""


class WaitForNoRow(Protocol):
    """`wait_for_no_row`."""

    def __call__(
        self, table: Table, values: Mapping[str, Any] | None = None, /, *, timeout: float = 60.0, **more: Any
    ) -> None:
        """Wait until no row with these values is visible."""


class ReadDelta(Protocol):
    """`read_delta`."""

    def __call__(self, table: Table) -> list[Row]:
        """Return all rows."""
