"""Changes of XA transactions are in Delta once they are committed, and never before."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from captured import TIMEOUT, CapturedDatabase, CapturedTable

from cdc_workstation.verify.resnapshot import resnapshot
from cdc_workstation.verify.selection import chosen
from cdc_workstation.verify.stack import Stack
from cdc_workstation.verify.verify import Verifier

pytestmark = pytest.mark.uses("databases")

Transaction = Callable[..., None]


@pytest.fixture
def tables(captured_mysql: CapturedDatabase) -> list[CapturedTable]:
    """Two tables with rows that are in Delta."""
    found = [captured_mysql.table("id INT PRIMARY KEY, v INT, note VARCHAR(50)", name) for name in ("one", "two")]
    for table in found:
        table.execute("INSERT INTO {t} VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')")
    for table in found:
        table.settle()
    return found


@pytest.fixture
def xa(captured_mysql: CapturedDatabase) -> Transaction:
    """Executes `XA <statement>` for this test's transaction."""

    def execute(statement: str) -> None:
        verb, _, rest = statement.partition(" ")
        captured_mysql.execute(f"XA {verb} '{captured_mysql.name}' {rest}")

    return execute


def change(tables: list[CapturedTable]) -> None:
    """Change rows of both tables, those of one in between those of the other, by statements that lock no other row."""
    for table in tables:
        table.execute("UPDATE {t} SET v = v + 10 WHERE id IN (1, 2, 3)")
    for key in range(4, 40):
        for table in tables:
            table.execute(f"INSERT INTO {{t}} VALUES ({key}, {key}, 'new')")
    for table in tables:
        table.execute("DELETE FROM {t} WHERE id IN (2, 5)")
        table.execute("UPDATE {t} SET id = 100 WHERE id = 3")
        table.execute("INSERT INTO {t} VALUES (2, 20, 'again')")
        table.execute("UPDATE {t} SET v = v + 10 WHERE id IN (1, 4, 39)")


def prepare(xa: Transaction, tables: list[CapturedTable]) -> None:
    """Prepare a transaction, and see that later changes come without it."""
    xa("START")
    change(tables)
    xa("END")
    xa("PREPARE")
    for table in tables:
        table.execute("INSERT INTO {t} VALUES (200, 0, 'later')")
        table.settle()


def test_prepared_transaction_is_visible_once_it_is_committed(tables: list[CapturedTable], xa: Transaction) -> None:
    prepare(xa, tables)

    xa("COMMIT")

    for table in tables:
        table.settle()
        assert table.metric("stale_events_total") == 0


def test_transaction_that_is_rolled_back_was_never_visible(tables: list[CapturedTable], xa: Transaction) -> None:
    prepare(xa, tables)

    xa("ROLLBACK")

    for table in tables:
        table.execute("UPDATE {t} SET v = v + 1 WHERE id = 1")
        table.settle()
        assert table.database.end(table) == 5


def test_transaction_of_one_phase_is_visible(tables: list[CapturedTable], xa: Transaction) -> None:
    xa("START")
    change(tables)
    xa("END")
    xa("COMMIT ONE PHASE")

    for table in tables:
        table.settle()
        assert table.metric("stale_events_total") == 0


def test_prepared_transaction_outlives_a_snapshot(tables: list[CapturedTable], xa: Transaction) -> None:
    prepare(xa, tables)
    with Stack(tables[0].database.settings) as stack:
        named, _ = chosen(Verifier(stack, lambda _: None), [tables[0].source])
        resnapshot(stack, named[0], lambda _: None, time.monotonic() + TIMEOUT)

    xa("COMMIT")

    for table in tables:
        table.settle()
        assert table.metric("stale_events_total") == 0


def test_transaction_with_too_many_changes_asks_for_a_snapshot(tables: list[CapturedTable], xa: Transaction) -> None:
    """Its commit has a place in the log for each event of a table, and there are more."""
    table = tables[0]
    xa("START")
    for key in range(1000, 1400):
        table.execute(f"INSERT INTO {{t}} VALUES ({key}, 0, 'new')")
        table.execute(f"UPDATE {{t}} SET v = 1 WHERE id = {key}")
    xa("END")
    xa("PREPARE")

    xa("COMMIT")

    table.settle()
