"""The embedded engine passes the contract of all engines; the others do in the suite, against the stack."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.location import Location
from cdc_workstation.sink.schema import METADATA
from tests.writer_contract import NOTHING, WriterContract, rows


class TestEmbedded(WriterContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        return str(tmp_path / "table")

    @pytest.fixture
    def writer(self, tmp_path: Path) -> DeltaRsWriter:
        return DeltaRsWriter(Location(str(tmp_path), "table", {}), 3600.0)


def test_long_decimals_of_a_table_by_others_are_found(tmp_path: Path) -> None:
    """delta-rs keeps wrong statistics of them, and then skips files that hold the row it looks for."""
    key = Decimal(2**64 - 1)
    types = {"id": pa.decimal128(20, 0)}
    DeltaTable.create(str(tmp_path / "table"), pa.schema(list((types | METADATA).items())))
    writer = DeltaRsWriter(Location(str(tmp_path), "table", {}), 3600.0)
    writer.refresh()

    writer.append(rows([{"id": key}], types), NOTHING, with_deleted=False)
    writer.upsert(rows([{"id": key}], types, order=2), ["id"], NOTHING, insert_only=False)

    query = QueryBuilder().register("t", DeltaTable(str(tmp_path / "table")))
    found = pa.table(query.execute(f"SELECT _cdc_order FROM t WHERE id = {key}").read_all())
    assert found["_cdc_order"].to_pylist() == [2]
