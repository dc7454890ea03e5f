"""Source = Delta: the schema of a table is that of its source."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_workstation.fixtures.pipeline import PipelineFactory

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]

DATABASES = ("mysql", "postgres")

# How long changes may take to Delta on a machine with other things to do.
TIMEOUT = 90.0

# A column's type in the source, and in Delta.
COLUMNS = {
    "mysql": {
        "id": ("INT PRIMARY KEY", "integer"),
        "tiny": ("TINYINT", "short"),
        "medium": ("INT UNSIGNED", "long"),
        "big": ("BIGINT", "long"),
        "huge": ("BIGINT UNSIGNED", "decimal(20,0)"),
        "price": ("DECIMAL(10,2)", "decimal(10,2)"),
        "share": ("DOUBLE", "double"),
        "name": ("VARCHAR(50)", "string"),
        "note": ("TEXT", "string"),
        "doc": ("JSON", "string"),
        "kind": ("ENUM('IN','OUT')", "string"),
        "data": ("VARBINARY(16)", "binary"),
        "day": ("DATE", "date"),
        "clock": ("TIME", "string"),
        "happened": ("DATETIME(6)", "timestamp_ntz"),
        "stamped": ("TIMESTAMP(3) NULL", "timestamp"),
    },
    "postgres": {
        "id": ("int PRIMARY KEY", "integer"),
        "small": ("smallint", "short"),
        "big": ("bigint", "long"),
        "price": ("numeric(10,2)", "decimal(10,2)"),
        "digits": ("numeric", "string"),
        "share": ("double precision", "double"),
        "yes": ("boolean", "boolean"),
        "name": ("text", "string"),
        "doc": ("jsonb", "string"),
        "identity": ("uuid", "string"),
        "data": ("bytea", "binary"),
        "day": ("date", "date"),
        "clock": ("time", "string"),
        "happened": ("timestamp", "timestamp_ntz"),
        "stamped": ("timestamptz", "timestamp"),
    },
}


@pytest.mark.parametrize("database", DATABASES)
def test_delta_schema_is_that_of_the_source(cdc_pipeline: PipelineFactory, database: Any) -> None:
    columns = COLUMNS[database]
    table = cdc_pipeline(database, ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items()))
    table.insert(id=1)
    table.wait_for_row(id=1, timeout=TIMEOUT)

    found = {name: kind for name, kind in table.delta.columns().items() if not name.startswith("_cdc_")}

    assert found == {name: kind for name, (_, kind) in columns.items()}
    assert list(found) == list(columns)
