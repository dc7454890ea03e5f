"""Each value in Delta is the source's: of every type, however it came there; or it is NULL there and counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from captured import TIMEOUT, CapturedDatabase, CapturedTable, Row, until
from deltalake import QueryBuilder
from pyspark.sql import SparkSession
from value_types import MYSQL, POSTGRES, Lost, Unsent, ValueType

from cdc_workstation.verify.resnapshot import resnapshot
from cdc_workstation.verify.selection import chosen
from cdc_workstation.verify.stack import Stack
from cdc_workstation.verify.verify import Verifier

# PostgreSQL's extensions are there once for all schemas, so one worker runs all of these.
pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases"), pytest.mark.xdist_group("values")]

Cells = dict[tuple[int, str], Any]

_TYPES = {"mysql": MYSQL, "postgres": POSTGRES}
# Columns of a primary key: MySQL has 16, and 3,072 bytes.
_KEY_COLUMNS = 8
# Rows of the matrix, by how their values came there.
_INSERTED, _UPDATED, _EMPTIED, _DELETED = 0, 1000, 2000, 3000


class Matrix:
    """The types of a database, and tables that have a column of each.

    Args:
        database: the database.
    """

    def __init__(self, database: CapturedDatabase) -> None:
        self.database = database
        self.types = _TYPES[database.kind]
        if database.kind == "mysql":
            database.execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
            return
        database.execute("SET TIME ZONE 'UTC'")
        for extension in ("citext", "hstore", "ltree"):
            database.execute(f"CREATE EXTENSION {extension} SCHEMA {database.name}")
        for definition in (
            r"TYPE {s}.mood AS ENUM ('sad', 'a,b', 'it''s', 'ünï', 'e\f')",
            "TYPE {s}.pair AS (a int, b text)",
            "DOMAIN {s}.positive AS int CHECK (VALUE > 0)",
            "DOMAIN {s}.price AS numeric(10,2)",
        ):
            database.execute(f"CREATE {self.named(definition)}")

    def named(self, text: str) -> str:
        """Put the schema's name where it belongs."""
        return text.replace("{s}", self.database.name)

    def column(self, one: ValueType, suffix: str = "") -> str:
        """Return a column's definition."""
        return f"{one.name} {self.named(one.sql)}{suffix}"

    def table(self, columns: Sequence[str], name: str) -> CapturedTable:
        """Create a table with columns beside `id`."""
        return self.database.table(", ".join(["id INT PRIMARY KEY", *columns]), name)

    def insert(self, table: CapturedTable, base: int, types: Sequence[ValueType]) -> None:
        """Insert the values, a row for the first of each column, one for the second, and so on."""
        for number in range(max(len(one.values) for one in types)):
            having = {one.name: self.named(one.values[number]) for one in types if number < len(one.values)}
            self.execute(table, f"INSERT INTO {{t}} (id, {', '.join(having)}) VALUES ({base + number}, ", having)

    def update(self, table: CapturedTable, base: int) -> None:
        """Give the values to rows that are there."""
        for number in range(max(len(one.values) for one in self.types)):
            pairs = [f"{one.name} = {self.named(one.values[number])}" for one in self.types if number < len(one.values)]
            table.database.execute(f"UPDATE {table.source} SET {', '.join(pairs)} WHERE id = {base + number}")

    def execute(self, table: CapturedTable, head: str, values: Mapping[str, str]) -> None:
        """Execute an INSERT; literals may contain braces."""
        table.database.execute(head.replace("{t}", table.source) + ", ".join(values.values()) + ")")

    def shown(self, table: CapturedTable, types: Sequence[ValueType], key: str = "id") -> Cells:
        """Return what the database shows, `None` for NULL and for values that Delta has no place for."""
        expressions = [self.named(one.oracle).replace("{c}", one.name) + f" AS {one.name}" for one in types]
        # A composite of NULLs counts as NULL, its text does not.
        text = "::text" if self.database.kind == "postgres" else ""
        lacking = [f"{one.name}{text} IS NULL AS {one.name}" for one in types]
        rows = self.database.query(f"SELECT {key} AS id, {', '.join(expressions)} FROM {table.source}")
        empty = {
            row["id"]: row
            for row in self.database.query(f"SELECT {key} AS id, {', '.join(lacking)} FROM {table.source}")
        }
        cells: Cells = {}
        for row in rows:
            for one in types:
                value = _text(row[one.name])
                cells[row["id"], one.name] = None if empty[row["id"]][one.name] else one.read(value)
        return cells

    def expected(self, table: CapturedTable) -> Cells:
        """Return what should be in Delta."""
        cells = self.shown(table, self.types)
        for number, name in cells:
            one = next(one for one in self.types if one.name == name)
            place = number % 1000
            if number < _EMPTIED and place < len(one.values) and isinstance(one.values[place], Lost | Unsent):
                cells[number, name] = None
        return cells


def _text(value: Any) -> Any:
    return bytes(value).decode() if isinstance(value, bytes | bytearray) else value


def delta_cells(rows: Sequence[Row], types: Sequence[ValueType]) -> Cells:
    """Return what is in Delta, written as the database shows it; `...` where there is no such column."""
    return {
        (row["id"], one.name): (_written(one, row[one.name]) if one.name in row else ...)
        for row in rows
        for one in types
    }


def _written(one: ValueType, value: Any) -> Any:
    try:
        return None if value is None else one.shown(value)
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        return f"{value!r}, which is no such value ({error})"


def differences(expected: Cells, found: Cells, types: Sequence[ValueType]) -> str:
    """Name all cells that differ, by column, with the first of them."""
    sql = {one.name: one.sql for one in types}
    wrong: dict[str, list[str]] = {}
    for (number, name), value in expected.items():
        other = found.get((number, name), "no row")
        if other != value:
            says = "is not there" if other is ... else f"is {_short(other)} in Delta and {_short(value)} in the source"
            wrong.setdefault(name, []).append(f"row {number} {says}")
    extra = {number for number, _ in found} - {number for number, _ in expected}
    lines = [f"{name} {sql[name]}: {'; '.join(cells[:3])} ({len(cells)} cells)" for name, cells in wrong.items()]
    return "\n".join([*lines, *([f"rows {sorted(extra)} are in Delta alone"] if extra else [])])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:150]}... ({len(text)} characters)"


def settle(matrix: Matrix, table: CapturedTable, expected: Cells, op: str = "") -> None:
    """Wait until all cells are there, however they came; name all that differ."""

    def rows() -> list[Row]:
        if not any(table.path.glob("_delta_log/*.json")):
            return []
        return [row for row in table.arrow().to_pylist() if not op or row["_cdc_op"] == op]

    def wrong() -> str:
        return differences(expected, delta_cells(rows(), matrix.types), matrix.types)

    until(
        lambda: len(rows()) == len({number for number, _ in expected}),
        lambda: f"rows: {wrong()}",
        problem=table.problem,
    )
    # The last change may be on its way.
    until(lambda: not wrong(), lambda: f"values differ:\n{wrong()}", 10, table.problem)


@pytest.fixture
def matrix(captured: CapturedDatabase) -> Matrix:
    """The types of one of the databases."""
    return Matrix(captured)


def test_values_are_the_sources_by_stream_and_by_snapshot(matrix: Matrix, spark_connect_session: SparkSession) -> None:
    table = matrix.table([matrix.column(one, "") for one in matrix.types], "matrix")
    numbers = range(max(len(one.values) for one in matrix.types))
    matrix.insert(table, _INSERTED, matrix.types)
    table.execute("INSERT INTO {t} (id) VALUES " + ", ".join(f"({_UPDATED + number})" for number in numbers))
    matrix.update(table, _UPDATED)
    matrix.insert(table, _EMPTIED, matrix.types)
    table.execute(f"UPDATE {{t}} SET {', '.join(f'{one.name} = NULL' for one in matrix.types)} WHERE id >= {_EMPTIED}")
    matrix.insert(table, _DELETED, matrix.types)
    table.execute(f"DELETE FROM {{t}} WHERE id >= {_DELETED}")
    expected = matrix.expected(table)

    settle(matrix, table, expected)

    for one in matrix.types:
        lost = any(isinstance(value, Lost) for value in one.values)
        counted = table.metric("unrepresentable_values_total", column=one.name)
        assert (counted > 0) is lost, f"{one.name}: {counted:g} values are counted as having no place in Delta"
    read_again(table)
    settle(matrix, table, expected, op="r")
    readers_agree(matrix, table, expected, spark_connect_session)


def read_again(table: CapturedTable) -> None:
    """Have the connector take a snapshot of the table."""
    with Stack(table.database.settings) as stack:
        tables, _ = chosen(Verifier(stack, lambda _: None), [table.source])
        resnapshot(stack, tables[0], lambda _: None, time.monotonic() + TIMEOUT)


def readers_agree(matrix: Matrix, table: CapturedTable, expected: Cells, spark: SparkSession) -> None:
    """All readers see the values."""
    delta = table.delta()
    queried = pa.table(QueryBuilder().register("t", delta).execute("SELECT * FROM t"))
    assert not differences(expected, delta_cells(queried.to_pylist(), matrix.types), matrix.types)
    frame = delta.to_pandas(types_mapper=pd.ArrowDtype)
    assert not differences(expected, delta_cells(pa.Table.from_pandas(frame).to_pylist(), matrix.types), matrix.types)
    read = spark.read.format("delta").load(str(table.path)).toArrow().to_pylist()
    assert not differences(expected, delta_cells(read, matrix.types), matrix.types)


def test_columns_that_may_not_be_null_have_no_invented_value(matrix: Matrix) -> None:
    types = [one for one in matrix.types if any(isinstance(value, Lost | Unsent) for value in one.values)]
    required = [f"{matrix.column(one).removesuffix(' NULL')} NOT NULL" for one in types]
    table = matrix.table([*required], "required")
    numbers = range(max(len(one.values) for one in types))
    for number in numbers:
        values = {one.name: matrix.named(one.values[min(number, len(one.values) - 1)]) for one in types}
        matrix.execute(table, f"INSERT INTO {{t}} (id, {', '.join(values)}) VALUES ({number}, ", values)
    expected = matrix.shown(table, types)
    for number, name in expected:
        one = next(one for one in types if one.name == name)
        if isinstance(one.values[min(number, len(one.values) - 1)], Lost | Unsent):
            expected[number, name] = None

    def wrong() -> str:
        return differences(expected, delta_cells(table.delta_rows(), types), types)

    until(lambda: len(table.delta_rows()) == len(numbers), "all rows", problem=table.problem)
    assert not wrong(), wrong()
    uncounted = [one.name for one in types if not table.metric("unrepresentable_values_total", column=one.name)]
    assert not uncounted, f"NULL where the source has a value, and not counted: {uncounted}"


def test_keys_of_each_type_find_their_rows(matrix: Matrix) -> None:
    types = [one for one in matrix.types if one.key]
    groups = [types[place : place + _KEY_COLUMNS] for place in range(0, len(types), _KEY_COLUMNS)]
    tables = [(keyed_table(matrix, group), group) for group in groups]

    failures = [failure for table, group in tables if (failure := wrong_keys(matrix, table, group))]

    assert not failures, "\n".join(failures)


def keyed_table(matrix: Matrix, group: Sequence[ValueType]) -> CapturedTable:
    """Return a table whose key has these types, with a row for each value, changed and deleted by statements."""
    columns = ", ".join(matrix.column(one).removesuffix(" NULL") + " NOT NULL" for one in group)
    key = ", ".join(one.name for one in group)
    name = f"keys_{group[0].name}"
    table = matrix.database.table(f"{columns}, id INT, v INT, PRIMARY KEY ({key})", name)
    rows = [
        (changed, value)
        for changed in group
        for value in changed.values
        if not isinstance(value, Lost | Unsent) and (changed is group[0] or value != changed.values[0])
    ]
    # A value that the database takes for another, such as -0.0 for 0.0, is no key of its own.
    ignore, conflict = ("IGNORE ", "") if matrix.database.kind == "mysql" else ("", " ON CONFLICT DO NOTHING")
    for number, (changed, value) in enumerate(rows):
        literals = [matrix.named(value if one is changed else one.values[0]) for one in group]
        matrix.database.execute(
            f"INSERT {ignore}INTO {table.source} ({key}, id, v) VALUES ({', '.join(literals)}, {number}, 0){conflict}"
        )
    table.execute("UPDATE {t} SET v = v + 1")
    table.execute("DELETE FROM {t} WHERE mod(id, 5) = 4")
    table.execute("UPDATE {t} SET v = v + 1 WHERE mod(id, 5) = 3")
    return table


def wrong_keys(matrix: Matrix, table: CapturedTable, group: Sequence[ValueType]) -> str:
    """Wait for the rows; return what is wrong."""
    versions = sorted((row["id"], row["v"]) for row in matrix.database.query(f"SELECT id, v FROM {table.source}"))

    def found() -> list[tuple[int, int]]:
        return sorted((row["id"], row["v"]) for row in table.delta_rows())

    until(
        lambda: found() == versions,
        lambda: f"{table.label} has {found()} and not {versions}; dead: {table.dead_letters()[:1]}",
        30,
        table.problem,
    )
    return differences(matrix.shown(table, group), delta_cells(table.delta_rows(), group), group)


def test_added_columns_have_their_defaults_in_old_rows(matrix: Matrix) -> None:
    table = matrix.database.table("id INT PRIMARY KEY", "defaults")
    table.execute("INSERT INTO {t} VALUES (1), (2)")
    table.settle()
    types = [one for one in matrix.types if "SERIAL" not in one.sql]

    def default(one: ValueType) -> str:
        value = matrix.named([value for value in one.values if not isinstance(value, Lost | Unsent)][-1])
        return f" DEFAULT {value}" if one.default else f" DEFAULT ({value})"

    added = ", ".join(f"ADD COLUMN {matrix.column(one, default(one))}" for one in types)
    matrix.database.execute(f"ALTER TABLE {table.source} {added}")
    table.execute("INSERT INTO {t} (id) VALUES (3)")
    expected = matrix.shown(table, types)

    def wrong() -> str:
        return differences(expected, delta_cells(table.delta_rows(), types), types)

    until(lambda: not wrong(), lambda: f"defaults differ:\n{wrong()}", problem=table.problem)


# Large values of each type that PostgreSQL leaves out of the log if they do not change and are no part of the identity.
LARGE = {
    "body text": "repeat('x', 20000)",
    "doc jsonb": "to_jsonb(repeat('x', 20000))",
    "data bytea": "decode(repeat('00ff', 10000), 'hex')",
    "exact numeric": "repeat('1', 9000)::numeric",
    "words text[]": "array_fill('x'::text, ARRAY[4000])",
    "numbers int[]": "array_fill(1, ARRAY[4000])",
    "bigs bigint[]": "array_fill(1::bigint, ARRAY[4000])",
    "flags boolean[]": "array_fill(true, ARRAY[9000])",
    "ratios double precision[]": "array_fill(1.5::float8, ARRAY[4000])",
    "prices numeric(10,2)[]": "array_fill(1.5::numeric, ARRAY[4000])",
    "clocks time[]": "array_fill('10:00'::time, ARRAY[4000])",
    "days date[]": "array_fill('2024-02-29'::date, ARRAY[4000])",
    "moments timestamp[]": "array_fill('2024-02-29 10:00'::timestamp, ARRAY[4000])",
    "stamps timestamptz[]": "array_fill('2024-02-29 10:00+00'::timestamptz, ARRAY[4000])",
    "blobs bytea[]": "array_fill('x'::bytea, ARRAY[4000])",
    "spans interval[]": "array_fill('1 day'::interval, ARRAY[4000])",
}


def test_large_values_that_do_not_change_stay(captured_postgres: CapturedDatabase) -> None:
    table = captured_postgres.table(f"id int PRIMARY KEY, stock int, {', '.join(LARGE)}")
    table.execute("ALTER TABLE {t} REPLICA IDENTITY DEFAULT")
    names = [definition.split()[0] for definition in LARGE]
    table.execute("ALTER TABLE {t} " + ", ".join(f"ALTER {name} SET STORAGE EXTERNAL" for name in names))
    table.execute(f"INSERT INTO {{t}} VALUES (1, 7, {', '.join(LARGE.values())}), (2, 7, {', '.join(LARGE.values())})")
    until(lambda: len(table.delta_rows()) == 2, "the rows", problem=table.problem)
    before = table.delta_rows()

    table.execute("UPDATE {t} SET stock = 6 WHERE id = 1")
    table.execute("BEGIN")
    table.execute("UPDATE {t} SET body = repeat('z', 30000) WHERE id = 2")
    table.execute("UPDATE {t} SET stock = 5 WHERE id = 2")
    table.execute("COMMIT")

    wanted = [before[0] | {"stock": 6}, before[1] | {"stock": 5, "body": "z" * 30000}]

    def wrong() -> list[tuple[int, str]]:
        pairs = zip(table.delta_rows(), wanted, strict=True)
        return [(row["id"], name) for row, expected in pairs for name in row if row[name] != expected[name]]

    until(lambda: not wrong(), lambda: f"values differ: {wrong()}", problem=table.problem)
    assert not [name for row in before for name in row if row[name] is None]
