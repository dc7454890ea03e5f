"""Which tables a connector captures, what its topics are, and which tables a person means."""

from __future__ import annotations

import pytest

from cdc_workstation.verify.captured import Connector, TableName, connectors, wanted
from cdc_workstation.verify.verify import owner_of

MYSQL = {
    "connector.class": "io.debezium.connector.mysql.MySqlConnector",
    "database.hostname": "mysql",
    "topic.prefix": "debezium",
}
POSTGRES = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "postgres",
    "database.dbname": "cdcdb",
    "topic.prefix": "debezium",
    "publication.name": "dbz_publication",
}


def _connector(config: dict[str, str], **more: str) -> Connector:
    found = Connector.of("one", config | {key.replace("_", "."): value for key, value in more.items()})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("lists", "name", "captured"),
    [
        ({}, "any.table", True),
        ({}, "mysql.user", False),
        ({"database_include_list": "cdcdb,cdcdb_.*"}, "cdcdb_test.t", True),
        ({"database_include_list": "cdcdb"}, "cdcdb_test.t", False),
        ({"database_exclude_list": "cdcdb_.*"}, "cdcdb_test.t", False),
        ({"table_include_list": "cdcdb.orders, cdcdb.items"}, "cdcdb.items", True),
        ({"table_include_list": "cdcdb.orders"}, "cdcdb.orders_old", False),
        ({"table_include_list": "CDCDB.ORDERS"}, "cdcdb.orders", True),
        ({"table_exclude_list": r".*\.tmp_\d+"}, "cdcdb.tmp_1", False),
        ({"table_include_list": r"cdcdb\.(a|b{1\,2})"}, "cdcdb.bb", True),
    ],
)
def test_lists_say_which_tables_are_captured(lists: dict[str, str], name: str, captured: bool) -> None:
    namespace, table = name.split(".")

    assert _connector(MYSQL, **lists).captures(TableName("mysql", namespace, table)) is captured


def test_schema_lists_are_postgresqls() -> None:
    connector = _connector(POSTGRES, schema_include_list="public")

    assert connector.captures(TableName("postgres", "public", "orders"))
    assert not connector.captures(TableName("postgres", "other", "orders"))
    assert not connector.captures(TableName("mysql", "public", "orders"))


def test_columns_that_are_left_out_or_changed_are_not_compared() -> None:
    table = TableName("mysql", "cdcdb", "users")
    connector = _connector(
        MYSQL | {"column.exclude.list": "cdcdb.users.secret", "column.mask.with.5.chars": r"cdcdb\.users\.email"}
    )

    assert [connector.leaves_out(table, name) for name in ("id", "secret", "email")] == [False, True, True]


def test_topic_is_named_as_the_connector_names_it() -> None:
    table = TableName("mysql", "cdcdb", "my table")
    own = _connector(MYSQL, topic_naming_strategy="cdc.workstation.TableTopicNames")

    assert _connector(MYSQL).topic(table) == "debezium.cdcdb.my_table"
    assert own.topic(table) == "debezium.cdcdb.my-u20-table"
    # The table came second, when Kafka had a topic that it takes for the same.
    assert own.topic(table, {"debezium.cdcdb.-u6d-y-u20-table"}) == "debezium.cdcdb.-u6d-y-u20-table"
    assert own.table_of("debezium.cdcdb.my-u20-table") == own.table_of("debezium.cdcdb.-u6d-y-u20-table") == table


def test_other_connectors_are_not_looked_at() -> None:
    assert [one.name for one in connectors({"b": POSTGRES, "a": MYSQL, "files": {"connector.class": "X"}})] == [
        "a",
        "b",
    ]


TABLES = [
    TableName("mysql", "cdcdb", "products"),
    TableName("postgres", "public", "products"),
    TableName("mysql", "cdcdb", "a.b"),
    TableName("mysql", "a", "b"),
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cdcdb.products", [0]),
        ("products", [0, 1]),
        ("postgres:products", [1]),
        ("mysql:cdcdb.products", [0]),
        ("a.b", [3]),
        ("cdcdb.a.b", [2]),
        ("postgres:cdcdb.products", []),
        ("nothing", []),
    ],
)
def test_name_means_a_table(name: str, found: list[int]) -> None:
    tables, unknown = wanted(TABLES, [name])

    assert tables == sorted(TABLES[number] for number in found)
    assert unknown == ([] if found else [name])


def test_topic_without_a_table_belongs_to_the_connector_that_names_its_database() -> None:
    mysql, postgres = _connector(MYSQL, database_include_list="cdcdb,cdcdb_.*"), _connector(POSTGRES)

    assert owner_of("debezium.cdcdb.gone", [postgres, mysql]) == (mysql, TableName("mysql", "cdcdb", "gone"))
    assert owner_of("debezium.public.gone", [postgres, mysql]) == (postgres, TableName("postgres", "public", "gone"))
    assert owner_of("other.public.gone", [postgres, mysql]) is None
