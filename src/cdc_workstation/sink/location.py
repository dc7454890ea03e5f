"""Where a Delta table lies: a directory, or objects below a URI such as `s3a://delta/cdc`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


def is_remote(root: str) -> bool:
    """Say whether tables below `root` are objects in a storage and not files."""
    return "://" in root


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
