"""Values in Delta are those of the database: no digit, zone or character is lost on the way."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from captured import CapturedDatabase, CapturedTable

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]

DOCUMENT = {"naïve": [1, 2.5, None, True], "nested": {"emoji": "🚀"}}
TEXT = "日本語 ñ 𝄞 \\ ' \" \n"


def arrived(table: CapturedTable) -> tuple[dict[str, object], pa.Schema]:
    """Return the row with id 1 and the columns' types once it, and a row of NULLs, are there."""
    table.until(lambda: len(table.delta_rows()) == 2, lambda: f"two rows are in {table.label}: {table.dead_letters()}")
    row, empty = table.delta_rows()
    assert {value for name, value in empty.items() if name != "id"} == {None}
    return row, table.arrow().schema


def test_mysql_values(captured_mysql: CapturedDatabase) -> None:
    table = captured_mysql.table(
        "id INT PRIMARY KEY, tiny TINYINT, tiny_u TINYINT UNSIGNED, medium_u MEDIUMINT UNSIGNED, int_u INT UNSIGNED,"
        " big BIGINT, big_u BIGINT UNSIGNED, price DECIMAL(30,10), huge DECIMAL(65,30), ratio DOUBLE, flag BOOLEAN,"
        " happened DATETIME(6), coarse DATETIME, stamped TIMESTAMP(3) NULL, day DATE, clock TIME(6), made YEAR,"
        " doc JSON, body TEXT, data VARBINARY(16), kind ENUM('IN','OUT'), tags SET('a','b','c'), bits BIT(10)"
    )
    values = {
        "tiny": -128,
        "tiny_u": 255,
        "medium_u": 2**24 - 1,
        "int_u": 2**32 - 1,
        "big": -(2**63),
        "big_u": 2**64 - 1,
        "price": Decimal("12345678901234567890.0123456789"),
        "huge": "-" + "9" * 35 + "." + "1" * 30,
        "ratio": 0.1,
        "flag": True,
        "happened": "2024-02-29 23:59:59.123456",
        "coarse": "1000-01-01 00:00:00",
        "stamped": "2024-02-29 12:00:00.250",
        "day": "9999-12-31",
        "clock": "-838:59:58.000001",
        "made": 2024,
        "doc": json.dumps(DOCUMENT),
        "body": TEXT,
        "data": b"\x00\xff",
        "kind": "OUT",
        "tags": "a,c",
        "bits": 0b1000000001,
    }
    table.execute(f"INSERT INTO {{t}} ({', '.join(values)}, id) VALUES ({'%s, ' * len(values)}1)", [*values.values()])
    table.execute("INSERT INTO {t} (id) VALUES (2)")

    row, schema = arrived(table)

    assert json.loads(str(row.pop("doc"))) == DOCUMENT
    assert row == {
        "id": 1,
        **{name: value for name, value in values.items() if name != "doc"},
        "big_u": Decimal(2**64 - 1),
        "flag": 1,
        "happened": datetime(2024, 2, 29, 23, 59, 59, 123456),
        "coarse": datetime(1000, 1, 1),
        "stamped": datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=UTC),
        "day": date(9999, 12, 31),
        "bits": b"\x02\x01",
    }
    assert schema.field("price").type == pa.decimal128(30, 10)
    assert schema.field("big_u").type == pa.decimal128(20, 0)
    assert schema.field("happened").type == pa.timestamp("us")
    assert schema.field("stamped").type == pa.timestamp("us", tz="UTC")


def test_postgresql_values(captured_postgres: CapturedDatabase) -> None:
    captured_postgres.execute(f"CREATE TYPE {captured_postgres.name}.mood AS ENUM ('sad', 'glad')")
    table = captured_postgres.table(
        "id int PRIMARY KEY, small smallint, big bigint, price numeric(30,10), exact numeric, ratio double precision,"
        " flag boolean, happened timestamp, stamped timestamptz, day date, clock time,"
        f" mood {captured_postgres.name}.mood,"
        " doc json, docb jsonb, body text, code char(3), data bytea, ident uuid, numbers int[], words text[]"
    )
    values = {
        "small": -(2**15),
        "big": 2**63 - 1,
        "price": Decimal("-12345678901234567890.0123456789"),
        "exact": Decimal("0.00000000000000000000000000000000000000000000000001"),
        "ratio": 0.1,
        "flag": False,
        "happened": "2024-02-29 23:59:59.123456",
        "stamped": "2024-02-29 23:00:00.000001+11",
        "day": "0001-01-01",
        "clock": "23:59:59.999999",
        "mood": "glad",
        "doc": json.dumps(DOCUMENT),
        "docb": json.dumps(DOCUMENT),
        "body": TEXT,
        "code": "ab ",
        "data": b"\x00\xff",
        "ident": "0fa6a3a8-7e3e-4b36-9b3b-0c7e3a3b1c11",
        "numbers": [1, None, 3],
        "words": ["ñ", ""],
    }
    table.execute(f"INSERT INTO {{t}} ({', '.join(values)}, id) VALUES ({'%s, ' * len(values)}1)", [*values.values()])
    table.execute("INSERT INTO {t} (id) VALUES (2)")

    row, schema = arrived(table)

    assert json.loads(str(row.pop("doc"))) == json.loads(str(row.pop("docb"))) == DOCUMENT
    assert Decimal(str(row.pop("exact"))) == values["exact"]
    assert row == {
        "id": 1,
        **{name: value for name, value in values.items() if name not in ("doc", "docb", "exact")},
        "happened": datetime(2024, 2, 29, 23, 59, 59, 123456),
        "stamped": datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC),
        "day": date(1, 1, 1),
    }
    assert schema.field("price").type == pa.decimal128(30, 10)
    assert schema.field("happened").type == pa.timestamp("us")
    assert schema.field("stamped").type == pa.timestamp("us", tz="UTC")


def test_unchanged_large_value_stays(captured_postgres: CapturedDatabase) -> None:
    """PostgreSQL leaves it out of the log where the replica identity is the key alone."""
    table = captured_postgres.table("id int PRIMARY KEY, stock int, body text")
    table.execute("ALTER TABLE {t} REPLICA IDENTITY DEFAULT")
    table.execute("ALTER TABLE {t} ALTER COLUMN body SET STORAGE EXTERNAL")
    table.execute("INSERT INTO {t} VALUES (1, 7, repeat('x', 20000)), (2, 7, repeat('y', 20000))")
    table.settle()

    table.execute("UPDATE {t} SET stock = 6 WHERE id = 1")
    table.execute("BEGIN")
    table.execute("UPDATE {t} SET body = repeat('z', 30000) WHERE id = 2")
    table.execute("UPDATE {t} SET stock = 5 WHERE id = 2")
    table.execute("COMMIT")

    rows = table.settle()
    assert [(row["stock"], len(row["body"])) for row in rows] == [(6, 20000), (5, 30000)]
