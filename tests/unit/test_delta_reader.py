"""Waiting for rows of a Delta table, and what is said when they do not come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cdc_workstation.clients.delta import DeltaReader, RowError

Write = Callable[..., None]


@pytest.fixture
def reader(tmp_path: Path) -> DeltaReader:
    return DeltaReader(tmp_path / "orders")


@pytest.fixture
def write(reader: DeltaReader) -> Write:
    """Append orders to the table: `write((1, "new", "1.50"), ...)`."""

    def append(*orders: tuple[int, str | None, str]) -> None:
        ids, states, amounts = zip(*orders, strict=True)
        columns = {
            "id": pa.array(ids, pa.int32()),
            "status": pa.array(states, pa.string()),
            "amount": pa.array(map(Decimal, amounts), pa.decimal128(10, 2)),
        }
        write_deltalake(
            reader.path,
            pa.table(columns),
            mode="append",
            configuration={"delta.enableChangeDataFeed": "true"},
        )

    return append


def test_row_that_comes_later_is_waited_for(reader: DeltaReader, write: Write) -> None:
    later = threading.Timer(0.3, write, [(1, "paid", "1.50")])
    later.start()
    row = reader.wait_for_row(id=1, timeout=20)
    later.join()
    assert row == {"id": 1, "status": "paid", "amount": Decimal("1.50")}


@pytest.mark.parametrize(
    "values",
    [
        {"status": "it's"},
        {"status": None},
        {"amount": 1.1},
        {"amount": Decimal("1.1")},
        {"amount": lambda amount: amount < 2},
        {"id": 2, "amount": pytest.approx(Decimal("1.1"))},
    ],
)
def test_values_match_as_they_do_in_python(reader: DeltaReader, write: Write, values: dict[str, object]) -> None:
    write((1, "it's", "7.00"), (2, None, "1.10"))
    assert len(reader.matching(values)) == 1
    assert reader.wait_for_row(values, timeout=0) in reader.rows()


def test_error_distinguishes_no_table_from_no_row(reader: DeltaReader, write: Write) -> None:
    with pytest.raises(RowError, match=r"no row with id=1 in .*/orders after .* There is no table at that path"):
        reader.wait_for_row(id=1, timeout=0)
    write((2, "new", "1.50"))
    with pytest.raises(RowError, match=r"The table is at version 0 \(WRITE, .* ago\). Rows: 1."):
        reader.wait_for_row(id=1, timeout=0)


def test_error_shows_the_nearest_rows_first(reader: DeltaReader, write: Write) -> None:
    write(*((number, "new", "1.00") for number in range(10, 30)), (1, "new", "1.50"))
    with pytest.raises(RowError) as error:
        reader.wait_for_row(id=1, status="paid", timeout=0)
    first, *others = str(error.value).splitlines()[1:]
    assert first == "  id=1, status='new', amount=1.50 <- status is 'new', not 'paid'"
    assert others[-1] == "  and 16 more"


def test_error_names_an_unknown_column(reader: DeltaReader, write: Write) -> None:
    write((1, "new", "1.50"))
    with pytest.raises(RowError, match=r"It has no column state; it has id, status, amount."):
        reader.wait_for_row(id=1, state="new", timeout=0)
    with pytest.raises(KeyError, match="state"):
        reader.wait_for_no_row(state="new", timeout=0)


def test_error_shows_a_row_that_stays(reader: DeltaReader, write: Write) -> None:
    write((1, "new", "1.50"))
    reader.wait_for_no_row(id=2, timeout=0)
    with pytest.raises(RowError, match=r"rows with id=1 are still in (?s:.*)\n  id=1, status='new', amount=1.50"):
        reader.wait_for_no_row(id=1, timeout=0)


def test_changes_are_sorted_by_version(reader: DeltaReader, write: Write) -> None:
    write((1, "new", "1.50"))
    write((2, "new", "2.50"))
    assert [(change.version, change.kind, change.row["id"]) for change in reader.changes()] == [
        (0, "insert", 1),
        (1, "insert", 2),
    ]
    assert [change.row["id"] for change in reader.changes(1)] == [2]
