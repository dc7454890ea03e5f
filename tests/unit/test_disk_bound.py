"""The bound of disk use, at a compressed time scale: two seconds for an hour, two megabytes for two gigabytes."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cdc_workstation.sink.applier import Applier
from cdc_workstation.sink.dead_letters import DeadLetters
from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.pacing import Pacing
from cdc_workstation.sink.settings import SinkSettings
from tests.unit.sink_model import TOPIC, change

RETENTION = 2.0
BUDGET = 2 * 1024**2
ROWS = 300
CHANGES_PER_COMMIT = 10
# Former versions are removed at the first commit after a twelfth of the retention.
LATE = 1 / 12
# What a commit is late by on a busy machine.
SLACK = 0.5


@dataclass
class Run:
    """A table under load, and what was seen of it on the way."""

    path: Path
    writer: DeltaRsWriter
    left_behind: int = 0
    """Bytes that commits have left on disk beyond the table, removed ones included."""
    largest_commit: int = 0
    excess: int = 0
    """The most that ever was on disk beyond the table."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Versions that could not be read though they were within the retention, with the error."""
    checked: int = 0
    """How many versions were read."""

    def size(self, pattern: str = "*") -> int:
        """Return the bytes of files by their path."""
        return sum(file.stat().st_size for file in self.path.glob(f"**/{pattern}") if file.is_file())

    def live(self) -> int:
        """Return the bytes of the files that the newest version has."""
        return sum((self.path / name).stat().st_size for name in DeltaTable(str(self.path)).file_uris())

    def check(self, version: int) -> None:
        """Read a version's rows and changes."""
        self.checked += 1
        try:
            table = DeltaTable(str(self.path), version=version)
            assert table.to_pyarrow_table().num_rows == ROWS
            changes = DeltaTable(str(self.path)).load_cdf(version, version).read_all()
            assert changes.num_rows == 2 * CHANGES_PER_COMMIT
        except (DeltaError, AssertionError, OSError) as error:
            self.unreadable[version] = repr(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Updates as fast as pacing allows, until three times the budget has been replaced within three retentions."""
    settings = SinkSettings(
        tables=str(tmp_path_factory.mktemp("tables")),
        table_properties={"delta.enableChangeDataFeed": "true"},
        retention_seconds=RETENTION,
        rewrite_budget_bytes=BUDGET,
    )
    writer = DeltaRsWriter(settings.location_of(TOPIC), settings.retention_seconds)
    pacing = Pacing(settings.rewrite_budget_bytes, settings.retention_seconds)
    applier = Applier(settings, TOPIC, writer, DeadLetters(settings.dead_letters))
    applier.open("topic", {0: 0})
    keys = random.Random(1)
    applier.apply(0, [change(offset, offset, note=_note(keys)) for offset in range(ROWS)])

    found = Run(Path(str(settings.location_of(TOPIC))), writer)
    committed: list[tuple[float, int]] = []
    offset = ROWS
    ended = threading.Event()
    vacuums = threading.Thread(target=_vacuum, args=(writer, ended), daemon=True)
    vacuums.start()
    started = time.monotonic()
    while found.left_behind < 3 * BUDGET or time.monotonic() < started + 3 * RETENTION:
        assert time.monotonic() < started + 90, f"only {found.left_behind} bytes were replaced"
        changed = keys.sample(range(ROWS), CHANGES_PER_COMMIT)
        applier.apply(0, [change(offset + n, key, "u", note=_note(keys)) for n, key in enumerate(changed)])
        offset += CHANGES_PER_COMMIT
        committed.append((time.monotonic(), writer.version()))
        left = writer.obsolete_bytes() + writer.maintain()
        found.left_behind += left
        found.largest_commit = max(found.largest_commit, left)
        time.sleep(pacing.spend(left))
        if len(committed) % 8 == 0:
            found.excess = max(found.excess, found.size() - found.live())
            oldest = time.monotonic() - RETENTION + SLACK
            for version in [version for moment, version in committed if moment > oldest][:1]:
                found.check(version)
    ended.set()
    vacuums.join()
    return found


def _vacuum(writer: DeltaRsWriter, ended: threading.Event) -> None:
    """Remove files beside the writing, as the service does."""
    while not ended.wait(0.02):
        if writer.vacuum_is_due():
            writer.vacuum()


def _note(chance: random.Random) -> str:
    return f"{chance.getrandbits(320):080x}"


def test_disk_use_stays_within_the_budget(run: Run) -> None:
    # Half of the budget at once, half over a retention and the time until files are removed.
    bound = BUDGET / 2 + BUDGET / 2 * (1 + LATE + SLACK / RETENTION) + run.largest_commit
    assert run.left_behind > 2 * bound
    assert BUDGET / 4 < run.excess < bound


def test_versions_stay_readable_for_the_retention(run: Run) -> None:
    assert run.checked > 10
    assert run.unreadable == {}


def test_idle_table_shrinks_to_its_rows(run: Run) -> None:
    deadline = time.monotonic() + 4 * RETENTION
    while run.size("*.parquet") - run.size("*checkpoint*.parquet") > run.live():
        assert time.monotonic() < deadline, sorted(file.name for file in run.path.glob("**/*.parquet"))
        if run.writer.vacuum_is_due():
            run.writer.vacuum()
        time.sleep(0.05)


def test_log_of_old_versions_is_removed(run: Run) -> None:
    versions = [int(file.stem) for file in run.path.glob("_delta_log/*.json")]
    assert min(versions) > 0
    assert run.size("_delta_log/*") < BUDGET / 2
