"""What the sink reads and where it writes: the file that role `delta_sink` renders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SinkSettings(BaseModel):
    """Settings of the sink; role `delta_sink` documents each as the variable `delta_sink_<name>`."""

    model_config = ConfigDict(extra="forbid")

    bootstrap_servers: str = "kafka:29092"
    topics: str = r"debezium\.[^.]+\.(?!(t|bench)_[0-9a-f]{12}$)[^.]+"
    """Java regular expression of the topics to apply; not those of the tables that a test makes for itself alone."""
    table_path: str = "{database}/{table}"
    """Path of a table below `tables_dir`; `{topic}`, `{prefix}`, `{database}` and `{table}` are the topic's parts."""
    table_paths: dict[str, str] = Field(default_factory=dict)
    """Topic to path, for tables that go elsewhere."""
    table_properties: dict[str, str] = Field(default_factory=dict)
    keyless: Literal["append", "stop"] = "append"
    """What a table without primary key gets: its changes appended, or none."""

    sweep_after_snapshot: bool = True
    """Whether a complete snapshot removes rows that it did not read: they were deleted while nobody captured."""

    tables_dir: Path = Path("/opt/delta-tables")
    state_dir: str = "_cdc"
    """Directory below `tables_dir` for dead letters and the canary."""
    checkpoint_dir: Path = Path("/tmp/checkpoint")  # noqa: S108 -- the container's own tmpfs, empty at each start

    master: str = "local[*]"
    trigger_interval: str = "200 milliseconds"
    max_rows_per_batch: int = 10_000
    max_rows_per_commit: int = 10_000
    parallel_tables: int = 2
    spark: dict[str, str] = Field(default_factory=dict)
    """More Spark properties; they win."""

    metrics_port: int = 9405
    canary_topic: str = "cdc_sink_canary"
    watch_seconds: float = 5.0
    """How often topics are compared with what is being read."""

    @classmethod
    def load(cls) -> SinkSettings:
        """Read the file that `CDC_SINK_CONFIG` names, by default `/etc/delta-sink/sink.json`.

        Raises:
            pydantic.ValidationError: a value is wrong; the message names it.
        """
        path = Path(os.environ.get("CDC_SINK_CONFIG", "/etc/delta-sink/sink.json"))
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def path_of(self, topic: str) -> Path:
        """Return the path of a topic's table."""
        if topic == self.canary_topic:
            return self.tables_dir / self.state_dir / "canary"
        if topic in self.table_paths:
            return self.tables_dir / self.table_paths[topic]
        prefix, _, rest = topic.partition(".")
        database, _, table = rest.rpartition(".")
        name = self.table_path.format(topic=topic, prefix=prefix, database=database or prefix, table=table or topic)
        return self.tables_dir / name

    @property
    def dead_letters(self) -> Path:
        """Path of the table that keeps events which could not be applied."""
        return self.tables_dir / self.state_dir / "dead_letters"
