"""What the sink reads and where it writes: the file that role `delta_sink` renders."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cdc_workstation.sink.drift import DriftSettings
from cdc_workstation.sink.location import Location


class Source(BaseModel):
    """A connector as the sink hears of its DDL and snapshots, and asks it for one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str
    """What its events call it: `mysql` or `postgresql`."""
    changes: str
    """Topic of DDL: schema change events (MySQL), messages in the log (PostgreSQL)."""
    notifications: str
    """Topic of what becomes of snapshots."""
    signals: str
    """Topic of requests for snapshots."""
    key: str = "debezium"
    """Key of a request: the connector's `topic.prefix`."""
    reserved: str = ""
    """Regular expression of the schemas whose topics are escaped: its `topic.naming.reserved`."""

    @property
    def reserved_pattern(self) -> re.Pattern[str] | None:
        """The same, compiled; `None` if there is none."""
        return re.compile(self.reserved) if self.reserved else None


class SinkSettings(BaseModel):
    """Settings of the sink; role `delta_sink` documents each as the variable `delta_sink_<name>`."""

    model_config = ConfigDict(extra="forbid")

    bootstrap_servers: str = "kafka:29092"
    topics: str = r"debezium\.[^.]+\.(?!(t|bench)_[0-9a-f]{12}$)[^.]+"
    """Regular expression of the topics to apply; not those of the tables that a test makes for itself alone."""
    sources: tuple[Source, ...] = (
        Source(
            connector="mysql",
            changes="debezium",
            notifications="debezium_notifications_mysql",
            signals="debezium_signals_mysql",
        ),
        Source(
            connector="postgresql",
            changes="debezium.message",
            notifications="debezium_notifications_postgres",
            signals="debezium_signals_postgres",
            reserved="cdcdb|cdcdb_.*",
        ),
    )
    resnapshot: bool = True
    """Whether the sink asks for a snapshot of a table whose rows DDL changed without change events."""
    drift: DriftSettings = Field(default_factory=DriftSettings)
    """The databases whose row counts are compared with the tables'."""
    table_path: str = "{database}/{table}"
    """Path of a table below `tables`; `{topic}`, `{prefix}`, `{database}` and `{table}` are the topic's parts."""
    table_paths: dict[str, str] = Field(default_factory=dict)
    """Topic to path, for tables that go elsewhere."""
    table_properties: dict[str, str] = Field(default_factory=dict)
    without_key: Literal["append", "stop"] = "append"
    """What a table without primary key gets: its changes appended, or none."""
    delete_missing: bool = True
    """Whether a complete snapshot deletes rows that it did not read: they were deleted while nobody captured."""

    tables: str = "/opt/delta-tables"
    """A directory, or a URI such as `s3a://bucket/path`."""
    state_dir: str = "_cdc"
    """Directory below `tables` for dead letters and the canary."""
    storage_options: dict[str, str] = Field(default_factory=dict)
    """What delta-rs needs to reach object storage."""
    storage_secret_files: dict[str, Path] = Field(default_factory=dict)
    """More of it: option to the file that holds its value."""
    engine: Literal["embedded", "spark"] = "embedded"
    """Who writes the tables: delta-rs in this process, or SQL over Spark Connect."""
    spark_remote: str = "sc://spark-connect:15002"
    """The Spark Connect endpoint of the engine `spark`."""
    spark_token_file: Path | None = None
    """The file that holds the endpoint's token."""

    max_rows_per_commit: int = 20_000
    max_waiting_bytes: int = 96 * 1024 * 1024
    """Records in memory, of all tables together, before reading rests."""
    parallel_tables: int = 2
    retention_seconds: float = 3600
    """How long former versions of a table stay readable."""
    rewrite_budget_bytes: int = 2 * 1024**3
    """What commits may leave on disk beyond the tables within `retention_seconds`: the bound of former versions."""

    metrics_port: int = 9405
    metrics_hosts: list[str] = []
    """The host names that metrics are answered to; all if it is empty."""
    canary_topic: str = "cdc_sink_canary"
    discovery_seconds: float = 0.3
    """How often new topics are looked for."""
    watch_seconds: float = 2.0
    """How often topics' ids and first offsets are compared with what is being read."""

    @classmethod
    def load(cls) -> SinkSettings:
        """Read the file that `CDC_SINK_CONFIG` names, by default `/etc/delta-sink/sink.json`.

        Raises:
            pydantic.ValidationError: a value is wrong; the message names it.
        """
        path = Path(os.environ.get("CDC_SINK_CONFIG", "/etc/delta-sink/sink.json"))
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def location_of(self, topic: str) -> Location:
        """Return where a topic's table lies."""
        if topic == self.canary_topic:
            return self._location(f"{self.state_dir}/canary")
        if topic in self.table_paths:
            return self._location(self.table_paths[topic])
        prefix, _, rest = topic.partition(".")
        database, _, table = rest.rpartition(".")
        return self._location(
            self.table_path.format(topic=topic, prefix=prefix, database=database or prefix, table=table or topic)
        )

    @property
    def dead_letters(self) -> Location:
        """Where the table lies that keeps events which could not be applied."""
        return self._location(f"{self.state_dir}/dead_letters")

    def _location(self, relative: str) -> Location:
        secrets = {name: path.read_text(encoding="utf-8").strip() for name, path in self.storage_secret_files.items()}
        return Location(self.tables, relative, self.storage_options | secrets)
