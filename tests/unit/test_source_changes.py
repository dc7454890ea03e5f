"""DDL events and notifications, as the stack's connectors wrote them, and what the sink makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cdc_workstation.sink import statements
from cdc_workstation.sink.events import MalformedError, Position, Record
from cdc_workstation.sink.source_changes import table_changes
from cdc_workstation.sink.table_change import TableChange
from cdc_workstation.sink.topic_names import topic_name

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "data/source_changes.json").read_text(encoding="utf-8"))


def records(name: str) -> list[Record]:
    """The records of a sample, their schemas left out."""
    return [
        Record(
            one["topic"], 0, at, one["timestamp"], None, json.dumps({"payload": one["payload"]}).encode(),
            tuple((key, value.encode()) for key, value in one["headers"]),
        )
        for at, one in enumerate(SAMPLES[name]["records"])
    ]  # fmt: skip


def changes(name: str) -> list[TableChange]:
    """What the sink makes of a sample."""
    return [change for record in records(name) for change in table_changes(record)]


def altered(ddl: str, columns: list[dict[str, Any]] | None = None) -> TableChange:
    """What an ALTER TABLE of `db.t` does, given the columns that Debezium says there are afterwards."""
    source = {"connector": "mysql", "name": "debezium", "file": "binlog.000001", "pos": 4, "table": "t"}
    known = [{"name": "x", "typeName": "INT", "optional": True, **one} for one in columns or []]
    table = {"type": "ALTER", "id": '"db"."t"', "table": {"columns": known}}
    payload = {"source": source, "databaseName": "db", "ddl": ddl, "tableChanges": [table]}
    [change] = table_changes(Record("debezium", 0, 0, 0, None, json.dumps({"payload": payload}).encode()))
    return change


@pytest.mark.parametrize("name", SAMPLES)
def test_recorded_events_give_these_changes(name: str) -> None:
    found = [
        [change.topic.removeprefix("debezium.").removeprefix("trialsrc."), change.kind] for change in changes(name)
    ]
    assert found == SAMPLES[name]["changes"]


def test_swapped_tables_are_replaced_under_both_names() -> None:
    last = {change.table: change.kind for change in changes("mysql-rename-swap")}
    assert last == {"a": "replaced", "b2": "replaced", "tmp": "dropped"}


def test_blocking_snapshot_drops_nothing() -> None:
    assert {(change.kind, change.snapshot) for change in changes("mysql-blocking-headers")} == {
        ("altered", True),
        ("snapshot_empty", True),
    }


def test_empty_snapshot_has_the_position_of_its_rows() -> None:
    [mysql] = [change for change in changes("mysql-blocking-headers") if change.kind == "snapshot_empty"]
    [postgres] = changes("postgres-blocking-headers")
    assert mysql.position == Position((4 << 40) | 2269186, 2**62)
    assert postgres.position == Position(58280104, 0)


def test_empty_snapshot_without_header_has_the_time_alone() -> None:
    [change] = changes("postgres-initial-snapshot")
    assert (change.kind, change.position, change.timestamp_ms > 0) == ("snapshot_empty", None, True)


def test_message_comes_before_the_row_with_its_lsn() -> None:
    # The row that the same transaction writes next has the LSN of the end of the message.
    dropped, created = changes("postgres-transaction")
    assert dropped.position is not None
    assert created.position is not None
    assert dropped.position < created.position < Position(27632152, 27648480)
    assert (dropped.source_id, created.source_id) == (16513, 16595)


def test_created_table_comes_before_rows_of_create_table_as() -> None:
    [change] = [change for change in changes("postgres-create") if change.table == "b"]
    assert change.position is not None
    assert change.position < Position(27239928, 27246000)


def test_added_columns_say_what_old_rows_have() -> None:
    change = next(change for change in changes("postgres-alter") if "q" in change.added)
    assert change.columns is not None
    missing = {column.name: column.missing for column in change.columns if column.name in change.added}
    assert missing == {"n1": "9.99", "ts": "2026-11-27 20:19:49.308078+00", "q": "it's ${x}"}


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE t ADD INDEX i (a), ADD UNIQUE (b), ADD CONSTRAINT c CHECK (a > 1 AND b <> ','), DROP INDEX j",
        "alter table `t` comment 'DROP PARTITION, RENAME TO x', AUTO_INCREMENT = 5, ALGORITHM=INPLACE, LOCK=NONE",
        "ALTER TABLE t ALTER COLUMN a SET DEFAULT 4, ALTER b DROP DEFAULT, RENAME INDEX i TO j, DROP PRIMARY KEY",
        "ALTER TABLE t ADD PARTITION (PARTITION c VALUES LESS THAN (30)) /* MODIFY a INT */ -- , DROP PARTITION p",
        "ALTER TABLE t DROP COLUMN a, DROP b",
        "ALTER TABLE t REORGANIZE PARTITION a INTO (PARTITION b VALUES LESS THAN (1))",
    ],
)
def test_alter_without_effect_on_rows_is_harmless(ddl: str) -> None:
    assert altered(ddl).kind == "altered"


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE t DROP PARTITION a",
        "ALTER TABLE t /*!50100 TRUNCATE PARTITION ALL */",
        "ALTER TABLE t DISCARD TABLESPACE",
        "ALTER TABLE t MODIFY a DECIMAL(10,2)",
        "ALTER TABLE t CHANGE COLUMN a b INT",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t DROP b, ADD b INT",
        "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE t ENGINE=BLACKHOLE",
        "ALTER TABLE t SOMETHING NEW",
        "ALTER TABLE t COMMENT '#undone#'",
    ],
)
def test_alter_with_effect_on_rows_asks_for_a_snapshot(ddl: str) -> None:
    assert altered(ddl, [{"name": "b"}]).kind == "rows_changed"


@pytest.mark.parametrize(
    ("definition", "column", "kind"),
    [
        ("INT", {}, "altered"),
        ("INT DEFAULT NULL", {}, "altered"),
        ("INT DEFAULT -7", {"defaultValueExpression": "-7"}, "altered"),
        ("DECIMAL(10,2) NOT NULL DEFAULT 9.99", {"typeName": "DECIMAL", "length": 10, "scale": 2, "optional": False,
                                                 "defaultValueExpression": "9.99"}, "altered"),
        ("DECIMAL(10,2) DEFAULT 9.999", {"typeName": "DECIMAL", "length": 10, "scale": 2,
                                         "defaultValueExpression": "9.999"}, "rows_changed"),
        ("VARCHAR(9) DEFAULT 'new'", {"typeName": "VARCHAR", "length": 9, "defaultValueExpression": "new"}, "altered"),
        ("VARCHAR(9) DEFAULT 'it''s'", {"typeName": "VARCHAR", "defaultValueExpression": "it''s"}, "rows_changed"),
        ("ENUM('a,b') DEFAULT 'a,b'", {"typeName": "ENUM", "defaultValueExpression": "a,b"}, "rows_changed"),
        ("JSON DEFAULT (JSON_OBJECT('a', 1))", {"typeName": "JSON"}, "rows_changed"),
        ("TIMESTAMP DEFAULT CURRENT_TIMESTAMP", {"typeName": "TIMESTAMP"}, "rows_changed"),
        ("INT NOT NULL", {"optional": False}, "rows_changed"),
        ("INT AS (1 + 1) STORED", {"generated": True}, "rows_changed"),
        ("INT AUTO_INCREMENT UNIQUE", {"autoIncremented": True}, "rows_changed"),
        ("DATETIME DEFAULT '1970-01-01 00:00:00'", {"typeName": "DATETIME",
                                                    "defaultValueExpression": "1970-01-01 00:00:00"}, "rows_changed"),
    ],
)  # fmt: skip
def test_added_column_is_harmless_if_old_values_are_certain(definition: str, column: dict[str, Any], kind: str) -> None:
    change = altered(f"ALTER TABLE t ADD COLUMN x {definition}, ADD INDEX i (x)", [column])
    assert (change.kind, change.added) == (kind, ("x",))


def test_columns_added_in_parentheses_are_found() -> None:
    statement = statements.read("ALTER TABLE t ADD (a INT, `b c` VARCHAR(3) DEFAULT 'x,y', KEY k (a))", "db")
    assert (statement.added, statement.reasons) == (["a", "b c"], [])


def test_exchanged_partition_changes_both_tables() -> None:
    assert {change.table for change in changes("mysql-partitions") if "EXCHANGE" in change.detail} == {"p", "pe"}


@pytest.mark.parametrize("ddl", ["ALTER TABLE a.`b.c` ADD x INT", "CREATE TABLE a.`b.c` (id INT)"])
def test_statement_that_debezium_cannot_parse_is_loud(ddl: str) -> None:
    source = {"connector": "mysql", "name": "debezium", "file": "binlog.000001", "pos": 4, "table": None}
    payload = {"source": source, "databaseName": "db", "ddl": ddl, "tableChanges": []}
    [change] = table_changes(Record("debezium", 0, 0, 0, None, json.dumps(payload).encode()))
    assert (change.kind, change.topic) == ("unparsed", "debezium.a.b-u2e-c")


def test_table_set_aside_is_unparsed_under_its_own_name() -> None:
    assert altered_name("RENAME TABLE `db`.`t` TO `db`.`#unparsed#t`") == [("debezium.db.t", "unparsed")]


def altered_name(ddl: str) -> list[tuple[str, str]]:
    """Topics and kinds of a statement without known tables."""
    source = {"connector": "mysql", "name": "debezium", "file": "binlog.000001", "pos": 4, "table": "t"}
    payload = {"source": source, "databaseName": "db", "ddl": ddl, "tableChanges": []}
    record = Record("debezium", 0, 0, 0, None, json.dumps(payload).encode())
    return [(change.topic, change.kind) for change in table_changes(record)]


def test_temporary_tables_and_existing_tables_are_left_alone() -> None:
    assert altered_name("CREATE TEMPORARY TABLE t (id INT)") == []
    assert altered_name("DROP TEMPORARY TABLE t") == []


@pytest.mark.parametrize(
    ("namespace", "table", "topic"),
    [
        ("cdcdb", "products", "p.cdcdb.products"),
        ("cdcdb", "k.v", "p.cdcdb.k-u2e-v"),
        ("cdcdb", "my table", "p.cdcdb.my-u20-table"),
        ("cdcdb", "a-b", "p.cdcdb.a-b"),
        ("cdcdb", "a-u2e-", "p.cdcdb.a-u2d-u2e-"),
        ("cdcdb", "日", "p.cdcdb.-u65e5-"),
    ],
)
def test_topic_names_never_make_two_tables_one(namespace: str, table: str, topic: str) -> None:
    assert topic_name("p", namespace, table) == topic


def test_topic_of_a_reserved_schema_is_escaped() -> None:
    assert topic_name("p", "cdcdb", "t", reserved=re.compile("cdcdb|cdcdb_.*")) == "p.-u63-dcdb.t"


def test_long_topic_names_differ_by_a_hash() -> None:
    one, other = (topic_name("p", "x" * 60, "Ж" * 60 + end) for end in "ab")
    assert (len(one), len(other), one != other) == (249, 249, True)


def test_unreadable_ddl_event_is_malformed() -> None:
    with pytest.raises(MalformedError):
        table_changes(Record("debezium", 0, 0, 0, None, b'{"payload": {"ddl": "DROP TABLE t", "source": {}}}'))


def test_rows_and_tombstones_say_nothing() -> None:
    assert table_changes(Record("t", 0, 0, 0, None, None)) == []
    assert table_changes(Record("t", 0, 0, 0, None, b'{"payload": {"op": "c", "source": {}}}')) == []
