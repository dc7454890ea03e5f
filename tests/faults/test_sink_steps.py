"""The sink is killed right before and after each of its steps: once it runs again, its tables equal their sources."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from captured import CapturedTable, until
from dying_sink import STEPS
from own_sink import OwnSink

from cdc_workstation.settings import Settings

pytestmark = pytest.mark.timeout(300)

_PROGRAM = Path(__file__).with_name("dying_sink.py")
_NONSENSE = b"no event"


@pytest.fixture
def sink(tables: list[CapturedTable], stack_settings: Settings, tmp_path: Path) -> Iterator[OwnSink]:
    """A sink of the test's own for the tables."""
    databases = [table.database for table in tables]
    # The stack's sink asks for the snapshots that are due.
    with OwnSink(stack_settings, databases, tmp_path, resnapshot=False, retention_seconds=1) as sink:
        yield sink


def change(tables: list[CapturedTable]) -> list[CapturedTable]:
    """Have the sink do everything that it does; return the tables that there are then."""
    found = list(tables)
    for table in tables:
        database = table.database
        table.execute("INSERT INTO {t} VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three')")
        database.produce(table, (b"{}", _NONSENSE))
        table.execute("UPDATE {t} SET revision = 10 WHERE id > 1")
        table.execute("DELETE FROM {t} WHERE id = 2")
        table.execute("ALTER TABLE {t} ADD COLUMN extra INT DEFAULT 7")
        table.execute("INSERT INTO {t} VALUES (4, 4, 'four', 4)")
        table.execute("TRUNCATE TABLE {t}")
        table.execute("INSERT INTO {t} VALUES (5, 5, 'five', 5), (6, 6, 'six', 6)")
        keyless = database.table("n INT", "appended")
        keyless.execute("INSERT INTO {t} VALUES (1), (2)")
        found.append(keyless)
        database.produce(table, (b"{}", _NONSENSE))
    return found


def wait_until_equal(sink: OwnSink, tables: list[CapturedTable]) -> None:
    """Wait until the tables that the sink writes equal their sources."""
    for table in tables:
        own, wanted = sink.of(table), table.rows()
        until(lambda own=own, wanted=wanted: own.delta_rows() == wanted, lambda own=own: str(own.delta_rows()))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_sink_killed_between_its_steps_loses_and_repeats_nothing(
    sink: OwnSink, tables: list[CapturedTable], tmp_path: Path, moment: str, step: str
) -> None:
    armed = tmp_path / "armed"
    sink.start([str(_PROGRAM), moment, step, str(armed)])
    armed.touch()
    found = change(tables)
    nonsense = 2
    if step == "record offsets":
        # Records without effect, and no others behind the last commit.
        wait_until_equal(sink, found)
        for table in tables:
            table.database.produce(table, (b"{}", _NONSENSE))
        nonsense = 3
    assert sink.wait_for_end() == -signal.SIGKILL

    sink.start()

    wait_until_equal(sink, found)
    for table in tables:
        own = sink.of(table)
        until(lambda own=own: len(own.dead_letters()) >= nonsense, "the dead letters")
        assert [letter["value"] for letter in own.dead_letters()] == [_NONSENSE] * nonsense
        assert own.metric("table_stopped") == 0
