"""Where a Delta table lies: a directory, or objects below a URI such as `s3a://delta/cdc`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def is_remote(root: str) -> bool:
    """Say whether tables below `root` are objects in a storage and not files."""
    return "://" in root


def storage_options(spark: SparkSession, root: str) -> dict[str, str]:
    """Return what delta-rs needs to read tables below `root`: what Spark has been told about `s3a://`."""
    if not root.startswith("s3a://"):
        return {}
    hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()
    found = {
        "AWS_ENDPOINT_URL": hadoop.get("fs.s3a.endpoint"),
        "AWS_REGION": hadoop.get("fs.s3a.endpoint.region"),
        "AWS_ACCESS_KEY_ID": hadoop.get("fs.s3a.access.key"),
        "AWS_SECRET_ACCESS_KEY": hadoop.get("fs.s3a.secret.key"),
    }
    plain = {"AWS_ALLOW_HTTP": "true"} if str(found["AWS_ENDPOINT_URL"]).startswith("http://") else {}
    return {name: value for name, value in found.items() if value} | plain


@dataclass(frozen=True)
class Location:
    """A table's place; as text, the name by which Spark and delta-rs both know it."""

    root: str
    relative: str
    storage_options: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{PurePosixPath(self.relative)}"

    @property
    def name(self) -> str:
        """The table's name in metrics and messages."""
        return ".".join(PurePosixPath(self.relative).parts)

    def open(self, *, without_files: bool = False) -> DeltaTable | None:
        """Return the table for delta-rs to read, `None` where there is none.

        Args:
            without_files: its log is all that is asked for.
        """
        try:
            return DeltaTable(str(self), storage_options=dict(self.storage_options), without_files=without_files)
        except TableNotFoundError:
            return None

    def version(self) -> int:
        """Return the table's version, -1 where there is no table."""
        if is_remote(self.root):
            table = self.open(without_files=True)
            return -1 if table is None else table.version()
        try:
            names = [entry.name for entry in Path(f"{self}/_delta_log").iterdir() if entry.name.endswith(".json")]
        except FileNotFoundError:
            return -1
        return max((int(name[:20]) for name in names if name[:20].isdigit()), default=-1)
