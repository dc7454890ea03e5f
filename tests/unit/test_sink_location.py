"""Where the sink's tables lie."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from cdc_workstation.sink.settings import SinkSettings


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ("/opt/delta-tables", "/opt/delta-tables/cdcdb/products"),
        ("s3a://delta/cdc", "s3a://delta/cdc/cdcdb/products"),
        ("s3a://delta/cdc/", "s3a://delta/cdc/cdcdb/products"),
    ],
)
def test_a_topic_has_its_table_below_the_root(tables: str, path: str) -> None:
    location = SinkSettings(tables=tables).location_of("debezium.cdcdb.products")

    assert str(location) == path
    assert location.name == "cdcdb.products"


def test_a_table_may_lie_elsewhere_below_the_root() -> None:
    settings = SinkSettings(table_paths={"debezium.cdcdb.products": "mine/of/them"})

    assert str(settings.location_of("debezium.cdcdb.products")) == "/opt/delta-tables/mine/of/them"


def test_without_a_table_there_is_no_version(tmp_path: Path) -> None:
    location = SinkSettings(tables=str(tmp_path)).dead_letters

    assert location.version() == -1
    assert location.open() is None


def test_the_version_is_that_of_the_last_commit(tmp_path: Path) -> None:
    location = SinkSettings(tables=str(tmp_path)).dead_letters
    for number in range(2):
        write_deltalake(str(location), pa.table({"number": [number]}), mode="append")

    assert location.version() == 1
    table = location.open()
    assert table is not None
    assert table.to_pyarrow_table().num_rows == 2
