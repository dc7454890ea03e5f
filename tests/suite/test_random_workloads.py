"""Source = Delta: rows, schema and content after random transactions, their order, the change feed, schema evolution.

Hypothesis makes the transactions; what is right is what the databases themselves say afterwards.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_workstation.clients.comparison import differences, shown
from cdc_workstation.clients.delta import Change as DeltaChange
from cdc_workstation.clients.kafka import TOPIC_PREFIX, ChangeEvent, ChangeEvents
from cdc_workstation.clients.pipeline import CdcPipeline
from cdc_workstation.clients.source import MySQL, PostgreSQL
from cdc_workstation.fixtures.pipeline import PipelineFactory
from cdc_workstation.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases")]

Key = tuple[int, ...]
Row = dict[str, Any]
DATABASES = ("mysql", "postgres")

# How long changes may take to Delta on a machine with other things to do.
TIMEOUT = 90.0

# What is tried costs seconds, so it is few, and the same each time in CI; a failed one is not shrunk but printed.
few = settings(
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


# The tables, alike in both databases


@dataclass(frozen=True)
class Shape:
    """A table: its key and its columns, and each column as text that all engines write alike."""

    key: tuple[str, ...]
    columns: dict[str, str]
    """Column to kind: one of `TYPES`."""

    def ddl(self, database: str) -> str:
        columns = [f"{name} {TYPES[kind][database]}" for name, kind in self.columns.items()]
        return ", ".join([*columns, f"PRIMARY KEY ({', '.join(self.key)})"])

    def text(self, engine: str) -> str:
        """Return the SQL expression of a whole row as text."""
        parts = (f"COALESCE({TEXT[kind][engine].format(name)}, '~')" for name, kind in self.columns.items())
        return f"CONCAT_WS('|', {', '.join(parts)})"


TYPES = {
    "int": {"mysql": "INT", "postgres": "int"},
    "text": {"mysql": "VARCHAR(40)", "postgres": "varchar(40)"},
    "money": {"mysql": "DECIMAL(14,2)", "postgres": "numeric(14,2)"},
    "moment": {"mysql": "DATETIME(6)", "postgres": "timestamp(6)"},
    "day": {"mysql": "DATE", "postgres": "date"},
    "bytes": {"mysql": "VARBINARY(16)", "postgres": "bytea"},
    "flag": {"mysql": "TINYINT(1)", "postgres": "smallint"},
}
_CAST = {"mysql": "CAST({} AS CHAR)", "postgres": "{}::text", "delta": "CAST({} AS STRING)"}
TEXT = {
    "int": _CAST,
    "text": dict.fromkeys(_CAST, "{}"),
    "money": _CAST,
    "moment": {
        "mysql": "DATE_FORMAT({}, '%Y-%m-%d %H:%i:%s.%f')",
        "postgres": "to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')",
        "delta": "date_format({}, 'yyyy-MM-dd HH:mm:ss.SSSSSS')",
    },
    "day": _CAST,
    "bytes": {"mysql": "HEX({})", "postgres": "upper(encode({}, 'hex'))", "delta": "hex({})"},
    "flag": _CAST,
}
# Rows as numbers that do not depend on the rows' order.
CHECKSUM = {
    "mysql": "SELECT COUNT(*), COALESCE(SUM(CAST(CONV(SUBSTR(SHA2({text}, 256), 1, 8), 16, 10) AS UNSIGNED)), 0)"
    " FROM {table}",
    "postgres": "SELECT COUNT(*), COALESCE(SUM(('x' || substr(encode(sha256(convert_to({text}, 'UTF8')), 'hex'), 1, 8))"
    "::bit(32)::bigint), 0) FROM {table}",
    "delta": "SELECT {number}, COUNT(*),"
    " COALESCE(SUM(CAST(conv(substr(sha2({text}, 256), 1, 8), 16, 10) AS BIGINT)), 0) FROM {table}",
}
SHAPES = {
    "accounts": Shape(
        ("id",),
        {"id": "int", "owner": "text", "balance": "money", "opened": "moment", "seal": "bytes", "revision": "int"},
    ),
    "entries": Shape(
        ("account", "number"),
        {"account": "int", "number": "int", "amount": "money", "booked": "day", "open": "flag", "revision": "int"},
    ),
}

MOST = Decimal("999999999999.99")
VALUES = {
    "text": st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
    "money": st.decimals(-MOST, MOST, places=2, allow_nan=False, allow_infinity=False).map(
        lambda value: value.copy_abs() if value.is_zero() else value
    ),
    "moment": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    "day": st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    "bytes": st.binary(max_size=16),
    "flag": st.sampled_from([0, 1]),
}
KEYS = {
    "accounts": st.tuples(st.integers(1, 6)),
    "entries": st.tuples(st.integers(1, 3), st.integers(1, 3)),
}


# The workload


@dataclass(frozen=True)
class Change:
    """One statement on one row."""

    table: str
    kind: str
    """`insert`, `update`, `delete`, or `move`, which changes the key."""
    key: Key
    values: Row
    to: Key | None = None

    def events(self) -> list[tuple[str, str, Key]]:
        """The events that it makes: table, operation and key."""
        if self.kind == "move":
            assert self.to is not None
            return [(self.table, "d", self.key), (self.table, "c", self.to)]
        return [(self.table, {"insert": "c", "update": "u", "delete": "d"}[self.kind], self.key)]


@dataclass(frozen=True)
class Transaction:
    """Changes that are committed, or rolled back, as one."""

    changes: tuple[Change, ...]
    committed: bool


@st.composite
def workloads(draw: st.DrawFn) -> list[Transaction]:
    """Draw transactions over several tables that start out empty; each statement meets the rows that it needs."""
    revision = itertools.count(1)
    live: dict[str, set[Key]] = {table: set() for table in SHAPES}
    found = []
    for _ in range(draw(st.integers(2, 6))):
        rows = {table: set(keys) for table, keys in live.items()}
        changes = tuple(_change(draw, rows, next(revision)) for _ in range(draw(st.integers(1, 7))))
        committed = draw(st.integers(0, 4)) > 0
        found.append(Transaction(changes, committed))
        if committed:
            live = rows
    return found


def _change(draw: st.DrawFn, live: dict[str, set[Key]], revision: int) -> Change:
    table = draw(st.sampled_from(sorted(SHAPES)))
    key = draw(KEYS[table])
    shape = SHAPES[table]
    values = {name: draw(st.none() | VALUES[kind]) for name, kind in shape.columns.items() if kind in VALUES}
    # No update is without a change: MySQL would not log it.
    values["revision"] = revision
    if key not in live[table]:
        live[table].add(key)
        return Change(table, "insert", key, values)
    kind = draw(st.sampled_from(["update", "delete", "move"]))
    if kind == "update":
        changed = draw(st.sets(st.sampled_from(sorted(values)))) | {"revision"}
        return Change(table, kind, key, {name: values[name] for name in changed})
    to = draw(KEYS[table])
    if kind == "move" and to not in live[table]:
        live[table] ^= {key, to}
        return Change(table, kind, key, {"revision": revision}, to)
    live[table].remove(key)
    return Change(table, "delete", key, {})


class RolledBackError(Exception):
    """Ends a transaction without a commit."""


class Tables:
    """The tables of one database, by the names of `SHAPES`."""

    def __init__(self, database: str, by_name: dict[str, CdcPipeline]) -> None:
        self.database = database
        self.by_name = by_name
        self._markers = itertools.count(1)

    def run(self, workload: Sequence[Transaction]) -> None:
        """Execute transactions."""
        any_of_them = next(iter(self.by_name.values()))
        for transaction in workload:
            with suppress(RolledBackError), any_of_them.transaction():
                for change in transaction.changes:
                    self._execute(change)
                if not transaction.committed:
                    raise RolledBackError

    def _execute(self, change: Change) -> None:
        table = self.by_name[change.table]
        names = SHAPES[change.table].key
        key = dict(zip(names, change.key, strict=True))
        if change.kind == "insert":
            table.insert(key | change.values)
        elif change.kind == "delete":
            table.delete(key)
        else:
            table.update(key, change.values | (dict(zip(names, change.to, strict=True)) if change.to else {}))

    def empty(self) -> None:
        """Delete all rows."""
        for table in self.by_name.values():
            table.execute(f"DELETE FROM {table.table}")

    def mark(self) -> Key:
        """Insert a last row into each table; once it is in Delta, so is everything before. Return its key's parts."""
        marker = -next(self._markers)
        for name, table in self.by_name.items():
            table.insert({**dict.fromkeys(SHAPES[name].key, marker), "revision": 0})
        return (marker,)

    def arrived(self, marker: Key) -> None:
        """Wait until the last row is in Delta."""
        for name, table in self.by_name.items():
            table.wait_for_row(dict.fromkeys(SHAPES[name].key, marker[0]), timeout=TIMEOUT)


@pytest.fixture(scope="module")
def both(request: pytest.FixtureRequest, stack_settings: Settings) -> Iterator[list[Tables]]:
    """The tables of this module, in both databases."""
    with PipelineFactory(request, stack_settings) as create:
        yield [
            Tables(database, {name: create(database, shape.ddl(database)) for name, shape in SHAPES.items()})
            for database in DATABASES
        ]


@pytest.fixture
def both_up_to_kafka(request: pytest.FixtureRequest, stack_settings: Settings) -> Iterator[list[Tables]]:
    """Tables of the same shapes that the sink leaves alone."""
    found = []
    with ExitStack() as opened:
        for database, connect, namespace in (
            ("mysql", MySQL, stack_settings.mysql_database),
            ("postgres", PostgreSQL, "public"),
        ):
            create = request.getfixturevalue(f"{database}_table")
            connection = opened.enter_context(closing(connect(request.getfixturevalue(f"{database}_parameters"))))
            names = {name: create(shape.ddl(database)) for name, shape in SHAPES.items()}
            tables = {
                name: CdcPipeline(database, connection, table, f"{TOPIC_PREFIX}.{namespace}.{table}", Path("/nowhere"))
                for name, table in names.items()
            }
            found.append(Tables(database, tables))
        yield found


def run_and_wait(both: list[Tables], workload: Sequence[Transaction]) -> None:
    """Execute a workload in both databases and wait until Delta has it."""
    for tables in both:
        tables.run(workload)
    markers = [tables.mark() for tables in both]
    for tables, marker in zip(both, markers, strict=True):
        tables.arrived(marker)


def all_tables(both: list[Tables]) -> Iterator[tuple[str, CdcPipeline]]:
    for tables in both:
        yield from tables.by_name.items()


# What is true afterwards


@settings(few, max_examples=3)
@given(workload=workloads())
def test_tables_and_feeds_equal_the_source_after_random_transactions(
    both: list[Tables], spark_connect_session: SparkSession, workload: list[Transaction]
) -> None:
    for tables in both:
        tables.empty()
    run_and_wait(both, workload)

    counts_and_checksums_agree(both, spark_connect_session)
    for _, table in all_tables(both):
        # Of all workloads so far.
        feed = table.delta.changes()
        no_row_goes_back(table, feed)
        feed_rebuilds(table, feed)


def counts_and_checksums_agree(both: list[Tables], spark: SparkSession) -> None:
    """Let each engine compute over its own rows: no code of this repository reads them."""
    wanted, queries = [], []
    for number, (name, table) in enumerate(all_tables(both)):
        kind = table.database
        [(count, checksum)] = table.execute(CHECKSUM[kind].format(text=SHAPES[name].text(kind), table=table.table))
        wanted.append((number, int(count), int(checksum)))
        queries.append(CHECKSUM["delta"].format(number=number, text=SHAPES[name].text("delta"), table=table.identifier))
    found = sorted(tuple(row) for row in spark.sql(" UNION ALL ".join(queries)).collect())
    assert found == wanted, "".join(
        f"\n{table}:{shown(differences(table.source_rows(), table.delta.rows(), table.key))}"
        for _, table in all_tables(both)
    )


def feed_rebuilds(table: CdcPipeline, feed: Sequence[DeltaChange]) -> None:
    """Replay the change feed: it gives the table at its last version, and on the way at the one in the middle."""
    rebuilt: dict[Key, Row] = {}
    last = table.delta.version()
    middle = last // 2
    for version, changes in itertools.groupby(feed, key=lambda change: change.version):
        if version > middle >= 0:
            assert rebuilt == by_key(table, table.delta.rows(version=middle))
            middle = -1
        for change in changes:
            key = key_of(table, change.row)
            if change.kind in ("delete", "update_preimage"):
                # What goes is what was there: the feed has left nothing out.
                assert rebuilt.pop(key, None) == change.row, (table, change)
            else:
                assert rebuilt.setdefault(key, change.row) is change.row, (table, change)
    assert rebuilt == by_key(table, table.delta.rows(version=last))


def no_row_goes_back(table: CdcPipeline, feed: Sequence[DeltaChange]) -> None:
    """See that no row was ever replaced by one from earlier in the source's log."""
    reached: dict[Key, tuple[int, int]] = {}
    for change in feed:
        if change.kind not in ("insert", "update_postimage"):
            continue
        key, place = key_of(table, change.row), (change.row["_cdc_order"], change.row["_cdc_suborder"])
        assert reached.get(key, (0, 0)) < place, (table, change)
        reached[key] = place


@settings(few, max_examples=2)
@given(workload=workloads())
def test_events_come_in_transaction_order_and_each_transaction_whole(
    both_up_to_kafka: list[Tables], stack_settings: Settings, workload: list[Transaction]
) -> None:
    expected = [
        [event for change in transaction.changes for event in change.events()]
        for transaction in workload
        if transaction.committed
    ]
    for tables in both_up_to_kafka:
        tables.empty()
        before, _ = tables.mark(), tables.run(workload)
        after = tables.mark()
        events = [
            (name, event)
            for name, table in tables.by_name.items()
            for event in events_between(stack_settings, table, before, after)
        ]
        assert transactions_of(events) == expected, tables.database


def events_between(stack_settings: Settings, table: CdcPipeline, first: Key, last: Key) -> list[ChangeEvent]:
    """Return the events of a topic between two last rows, without tombstones."""
    first, last = first * len(table.key), last * len(table.key)
    servers = str(stack_settings.kafka_bootstrap_servers)
    with ChangeEvents(servers, table.topic, from_beginning=True) as reader:
        reader.take_until(lambda event: key_of(table, event.key or {}) == first, timeout=TIMEOUT)
        *found, _ = reader.take_until(lambda event: key_of(table, event.key or {}) == last, timeout=TIMEOUT)
    return [event for event in found if not event.is_tombstone]


def transactions_of(events: list[tuple[str, ChangeEvent]]) -> list[list[tuple[str, str, Key]]]:
    """Put events of several topics into the order of the source's log, a list for each transaction."""
    in_order = sorted(events, key=lambda pair: position(pair[1]))
    return [
        [(name, str(event.op), tuple((event.key or {}).values())) for name, event in group]
        for _, group in itertools.groupby(
            in_order, key=lambda pair: pair[1].source.get("gtid") or pair[1].source["txId"]
        )
    ]


def position(event: ChangeEvent) -> tuple[Any, ...]:
    """Where in the binlog or the WAL an event comes from."""
    source = event.source
    if source["connector"] == "mysql":
        return source["file"], source["pos"], source["row"]
    last_commit, _ = json.loads(source["sequence"])
    return int(last_commit or 0), source["lsn"]


def key_of(table: CdcPipeline, row: Mapping[str, Any]) -> Key:
    return tuple(row.get(name) for name in table.key)


def by_key(table: CdcPipeline, rows: Sequence[Row]) -> dict[Key, Row]:
    found = {key_of(table, row): row for row in rows}
    assert len(found) == len(rows), f"{table} has a key twice"
    return found


# Schemas


@pytest.mark.parametrize("database", DATABASES)
def test_evolving_schema_is_followed(cdc_pipeline: PipelineFactory, database: Any) -> None:
    table = cdc_pipeline(database, "id INT PRIMARY KEY, name VARCHAR(10), stock INT, price DECIMAL(8,2), old INT")
    table.insert(id=1, name="before", stock=1, price="1.50", old=1)

    def alter(mysql: str, postgres: str | None = None) -> None:
        table.execute(f"ALTER TABLE {table.table} {mysql if database == 'mysql' else postgres or mysql}")

    alter("ADD COLUMN colour VARCHAR(10) DEFAULT 'red'")
    table.insert(id=2, name="added", stock=2, price="2.50", old=2, colour="blue")
    alter(
        "MODIFY stock BIGINT, MODIFY price DECIMAL(14,4), MODIFY name VARCHAR(100)",
        "ALTER stock TYPE bigint, ALTER price TYPE numeric(14,4), ALTER name TYPE varchar(100)",
    )
    table.insert(id=3, name="widened " * 10, stock=2**40, price="1234567890.1234", old=3)
    alter("RENAME COLUMN name TO title")
    table.update({"id": 2}, title="renamed")
    alter("DROP COLUMN old")
    table.insert(id=4, title="dropped", stock=4, price="4.5000", colour=None)
    table.delete(id=3)

    rows = table.wait_until_equal(timeout=TIMEOUT)

    assert {row["id"]: (row["title"], row["colour"]) for row in rows} == {
        1: ("before", "red"),
        2: ("renamed", "blue"),
        4: ("dropped", None),
    }
    columns = table.delta.columns()
    assert (columns["stock"], columns["price"]) == ("long", "decimal(14,4)")
    # What the source dropped stays for those who read it, without a value in newer rows.
    assert {row["id"]: row["old"] for row in rows} == {1: 1, 2: 2, 4: None}
    assert next(row["price"] for row in rows if row["id"] == 1) == Decimal("1.5")
