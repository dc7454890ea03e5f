"""The files of a Delta table on disk: how many and how large they are, and how long former ones stay."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties

from cdc_workstation.sink.location import Location, is_remote

# Checkpoints and the removal of old logs are `maintain`'s: no commit waits for them.
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
TARGET_FILE_SIZE = "delta.targetFileSize"
_RETENTION = ("delta.deletedFileRetentionDuration", "delta.logRetentionDuration")
# Without a value it is a table of the first sink, or Delta's default.
_OWN_RETENTION = re.compile(r"(interval [0-9]+ seconds)?")
# Files should be small, for an upsert rewrites those that it touches, and not too many, for it looks into each.
SMALLEST_FILE = 64 * 1024
_LARGEST_FILE = 128 * 1024 * 1024
_FILES = 400
# So many small files are no reason to compact.
_SMALL_FILES = 4
# After so many commits small files are compacted, and the log may get a checkpoint.
_COMMITS = 64


def has_deletion_vectors(table: DeltaTable) -> bool:
    """Tell whether a table may mark rows as deleted in files of their own: a user asked for it, or Spark's default."""
    return "deletionVectors" in (table.protocol().reader_features or ())


def retention_properties(seconds: float) -> dict[str, str]:
    """Return the properties of a table that say how long files of former versions stay."""
    return dict.fromkeys(_RETENTION, f"interval {max(1, round(seconds))} seconds")


def changed_retention(seconds: float, current: Mapping[str, str], properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties to change for a retention; a value in the sink's own words is not the user's.

    Args:
        seconds: how long files of former versions are to stay.
        current: the table's properties.
        properties: what the user wants of all tables.
    """
    return {
        name: value
        for name, value in retention_properties(seconds).items()
        if name not in properties and current.get(name) != value and _OWN_RETENTION.fullmatch(current.get(name, ""))
    }


class TableFiles:
    """Looks after the files of one table.

    Args:
        location: where the table lies.
        retention_seconds: how long files of former versions stay.
    """

    def __init__(self, location: Location, retention_seconds: float) -> None:
        self._location = location
        self._retention = retention_seconds
        self._commits = 0
        self._checkpointed, self._checkpoint_bytes = -1, 0
        self._vacuumed = self._committed = time.monotonic()
        # Whether files of former versions may be there.
        self._obsolete = True

    def committed(self) -> None:
        """Take note of a commit."""
        self._commits += 1
        self._committed = time.monotonic()
        self._obsolete = True

    def obsolete_bytes(self, version: int) -> int:
        """Return what a commit leaves on disk beyond the table: replaced files, change data, and the log.

        In object storage it is 0: there is no disk to fill.
        """
        if is_remote(self._location.root):
            return 0
        log = self._log_file(version, "json")
        total = log.stat().st_size
        for line in log.read_bytes().splitlines():
            if line.startswith((b'{"remove"', b'{"cdc"')):
                total += next(iter(json.loads(line).values())).get("size") or 0
        return total

    def is_due(self) -> bool:
        """Whether `maintain` has something to do."""
        return self._commits >= _COMMITS

    def maintain(self, table: DeltaTable) -> int:
        """Compact small files, and checkpoint the log.

        Returns:
            What that leaves on disk beyond the table, in bytes.
        """
        self._commits = 0
        return self._compact(table) + self._checkpoint(table)

    def vacuum_is_due(self) -> bool:
        """Whether files of versions past their retention may be there."""
        return self._obsolete and time.monotonic() - self._vacuumed > self._retention / 12

    def vacuum(self) -> None:
        """Remove files of versions past their retention; while others write the table, since that takes seconds."""
        self._vacuumed = time.monotonic()
        # What becomes obsolete now is removed a retention later.
        self._obsolete = self._committed + self._retention * 7 / 6 > self._vacuumed
        table = DeltaTable(str(self._location), storage_options=dict(self._location.storage_options))
        # In full: change data, and files of a commit that was killed, are in no `remove` of the log. Nor are deletion
        # vectors that are in use, which delta-rs would remove (1.6).
        full = not has_deletion_vectors(table)
        remote = is_remote(self._location.root)
        obsolete = table.vacuum(dry_run=not remote, enforce_retention_duration=False, full=full)
        if not remote:
            # Removed here: delta-rs begins with a commit, which fails whenever another one came in between.
            for name in obsolete:
                Path(str(self._location), name).unlink(missing_ok=True)
        table.cleanup_metadata()

    def _compact(self, table: DeltaTable) -> int:
        """Put small files together, and let files grow with the table; return the size of the files replaced."""
        actions = pa.table(table.get_add_actions(flatten=True))
        sizes = actions["size_bytes"].to_pylist()
        wanted = min(max(SMALLEST_FILE, 1 << (max(sum(sizes) // _FILES, 1)).bit_length()), _LARGEST_FILE)
        configured = int(table.metadata().configuration.get(TARGET_FILE_SIZE) or 0)
        if not wanted // 2 <= configured <= wanted * 2:
            table.alter.set_table_properties({TARGET_FILE_SIZE: str(wanted)})
        small = [size for size in sizes if size < wanted // 2]
        if len(small) <= _SMALL_FILES:
            return 0
        table.optimize.compact(target_size=wanted, post_commithook_properties=NO_HOOKS)
        return sum(small)

    def _checkpoint(self, table: DeltaTable) -> int:
        """Write a checkpoint once the log since the last one is as large as that one; return its size.

        A checkpoint names each file that was removed within the retention: one every few commits would be quadratic.
        """
        version = table.version()
        if is_remote(self._location.root):
            table.create_checkpoint()
            return 0
        files = [self._log_file(number, "json") for number in range(self._checkpointed + 1, version + 1)]
        if sum(file.stat().st_size for file in files if file.exists()) < self._checkpoint_bytes:
            return 0
        table.create_checkpoint()
        self._checkpointed = version
        self._checkpoint_bytes = self._log_file(version, "checkpoint.parquet").stat().st_size
        return self._checkpoint_bytes

    def _log_file(self, version: int, suffix: str) -> Path:
        return Path(str(self._location), "_delta_log", f"{version:020}.{suffix}")
