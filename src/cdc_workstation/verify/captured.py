"""Which tables are captured, and by which connector: read from the connectors' configurations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from cdc_workstation.clients.source import Database
from cdc_workstation.sink.topic_names import topic_name

_CLASSES: dict[str, Database] = {
    "io.debezium.connector.mysql.MySqlConnector": "mysql",
    "io.debezium.connector.postgresql.PostgresConnector": "postgres",
}
# The stack's own way to name topics (roles/debezium). Debezium's writes an underscore for what Kafka does not take.
_OWN_NAMES = "cdc.workstation.TableTopicNames"
_ESCAPED = re.compile(r"-u([0-9a-f]+)-")
_NOT_IN_TOPICS = re.compile(r"[^A-Za-z0-9._-]")
_MYSQL_SYSTEM = {"mysql", "sys", "information_schema", "performance_schema"}


@dataclass(frozen=True, order=True)
class TableName:
    """A table of a source database.

    Attributes:
        database: which kind of database has it.
        namespace: its database in MySQL, its schema in PostgreSQL.
        table: its own name.
    """

    database: Database
    namespace: str
    table: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.table}"


@dataclass(frozen=True)
class Connector:
    """What a registered connector captures.

    Attributes:
        name: its name in Kafka Connect.
        database: which kind of database it reads.
        host: the database's host, as Kafka Connect reaches it.
        dbname: the database in PostgreSQL, empty for MySQL.
        prefix: how its topics begin.
        publication: the publication that it reads, empty for MySQL.
        config: its configuration.
    """

    name: str
    database: Database
    host: str
    dbname: str
    prefix: str
    publication: str
    config: Mapping[str, str]

    @classmethod
    def of(cls, name: str, config: Mapping[str, str]) -> Self | None:
        """Read a configuration; `None` if the connector reads no MySQL and no PostgreSQL database."""
        database = _CLASSES.get(config.get("connector.class", ""))
        if database is None:
            return None
        postgres = database == "postgres"
        return cls(
            name,
            database,
            config.get("database.hostname", ""),
            config.get("database.dbname", "") if postgres else "",
            config.get("topic.prefix", ""),
            config.get("publication.name", "dbz_publication") if postgres else "",
            config,
        )

    def captures(self, table: TableName) -> bool:
        """Tell whether its lists of databases, schemas and tables take a table.

        Each is a comma-separated list of regular expressions that match a whole name
        (https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-property-table-include-list).
        """
        if table.database != self.database:
            return False
        if self.database == "mysql" and table.namespace.lower() in _MYSQL_SYSTEM:
            return False
        level = "database" if self.database == "mysql" else "schema"
        return self._takes(level, table.namespace) and self._takes("table", str(table))

    def leaves_out(self, table: TableName, column: str) -> bool:
        """Tell whether its lists of columns leave out a column, or change its values."""
        name = f"{table}.{column}"
        if not self._takes("column", name):
            return True
        changed = [key for key in self.config if re.fullmatch(r"column\.(mask|truncate)\..+", key)]
        return any(_matches(self.config[key], name) for key in changed)

    def topic(self, table: TableName, topics: Collection[str] = ()) -> str:
        """Return the topic of a table's change events.

        Args:
            table: the table.
            topics: the topics that Kafka has. A table whose topic Kafka would take for another's has its first
                character escaped, which only they tell.
        """
        if self.config.get("topic.naming.strategy") != _OWN_NAMES:
            return _NOT_IN_TOPICS.sub("_", f"{self.prefix}.{table.namespace}.{table.table}")
        reserved = re.compile(self.config.get("topic.naming.reserved") or "(?!)")
        plain = topic_name(self.prefix, table.namespace, table.table, reserved=reserved)
        head, _, last = plain.rpartition(".")
        escaped = f"{head}.-u{ord(table.table[0]):x}-{last[1:]}"
        return escaped if plain not in topics and escaped in topics else plain

    def table_of(self, topic: str) -> TableName | None:
        """Return the table that a topic belongs to; `None` if it is not one of this connector's."""
        parts = topic.removeprefix(f"{self.prefix}.").split(".", 1)
        if not topic.startswith(f"{self.prefix}.") or len(parts) < 2:
            return None
        if self.config.get("topic.naming.strategy") == _OWN_NAMES:
            parts = [_ESCAPED.sub(lambda found: chr(int(found[1], 16)), part) for part in parts]
        name = TableName(self.database, *parts)
        return name if self.captures(name) else None

    def ddl_topic(self) -> str:
        """Return the topic that tells about DDL: MySQL's schema changes, PostgreSQL's messages in its log."""
        return self.prefix if self.database == "mysql" else f"{self.prefix}.message"

    def _takes(self, level: str, name: str) -> bool:
        included = self.config.get(f"{level}.include.list", "")
        excluded = self.config.get(f"{level}.exclude.list", "")
        return (not included.strip() or _matches(included, name)) and not _matches(excluded, name)


def _matches(patterns: str, name: str) -> bool:
    # A comma that is escaped belongs to the expression.
    for part in re.split(r"(?<!\\),", patterns):
        pattern = part.strip().replace(r"\,", ",")
        try:
            if pattern and re.fullmatch(pattern, name, re.IGNORECASE):
                return True
        except re.error:
            # Java's expressions are not all Python's; Debezium has checked this one.
            continue
    return False


def connectors(configs: Mapping[str, Mapping[str, str]]) -> list[Connector]:
    """Return the connectors that capture MySQL or PostgreSQL, by name."""
    found = (Connector.of(name, configs[name]) for name in sorted(configs))
    return [connector for connector in found if connector is not None]


def wanted(tables: Iterable[TableName], names: Iterable[str]) -> tuple[list[TableName], list[str]]:
    """Return the tables that a person named, and the names that fit none.

    A name is `table`, `namespace.table`, or either with a leading `mysql:` or `postgres:`.
    """
    known = sorted(tables)
    found: list[TableName] = []
    unknown = []
    for name in names:
        database, _, plain = name.rpartition(":")
        fitting = [table for table in known if database in ("", table.database) and plain in (str(table), table.table)]
        # A whole name is meant before a table whose own name has a dot.
        exact = [table for table in fitting if str(table) == plain]
        found += [table for table in exact or fitting if table not in found]
        if not fitting:
            unknown.append(name)
    return found, unknown


def meant(name: str, known: Iterable[str]) -> str:
    """Return a question that names the tables that a mistyped name may mean, nothing if none is like it."""
    near = difflib.get_close_matches(name.rpartition(":")[2], list(known), 3, 0.5)
    return f"Is it {' or '.join(near)}?" if near else ""
