"""Waiting for rows of a Delta table, and what is said when they do not come."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
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


def test_rows_are_values_of_python(reader: DeltaReader) -> None:
    row = {
        "id": 2**62,
        "amount": Decimal("0.10"),
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        "local": datetime(9999, 12, 31, 23, 59, 59),
        "day": date(1582, 10, 4),
        "raw": b"\x00x",
        "place": {"x": 1.5, "name": None},
        "tags": ["a", None],
        "none": None,
    }
    types = {
        "amount": pa.decimal128(38, 2),
        "at": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("us"),
        "none": pa.int32(),
    }
    table = pa.table({name: pa.array([value], types.get(name)) for name, value in row.items()})
    write_deltalake(reader.path, table, configuration={"delta.enableChangeDataFeed": "true"})

    assert reader.rows() == [row]
    assert [(change.kind, change.row) for change in reader.changes()] == [("insert", row)]


def test_widened_table_is_read_by_the_types_of_now(reader: DeltaReader, write: Write) -> None:
    write((1, "new", "1.50"))
    log = reader.path / "_delta_log"
    first = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    [metadata] = [entry["metaData"] for entry in first if "metaData" in entry]
    schema = json.loads(metadata["schemaString"])
    widened = {"id": "long", "amount": "decimal(12,3)"}
    for field in schema["fields"]:
        field["type"] = widened.get(field["name"], field["type"])
    schema["fields"].append({"name": "note", "type": "string", "nullable": True, "metadata": {}})
    features = ["typeWidening", "timestampNtz"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    entries = [{"protocol": protocol}, {"metaData": {**metadata, "schemaString": json.dumps(schema)}}]
    (log / f"{1:020}.json").write_text("\n".join(map(json.dumps, entries)))

    [row] = reader.rows()
    assert row == {"id": 1, "status": "new", "amount": Decimal("1.500"), "note": None}
    assert str(row["amount"]) == "1.500"
