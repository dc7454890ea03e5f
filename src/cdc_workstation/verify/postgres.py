"""PostgreSQL as a source: tables of a publication, rows as the server prints them, and its position (an LSN)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.databases import (
    CHUNK,
    KEYS,
    NotComparableError,
    SourceColumn,
    SourceTable,
    chunks,
    condition,
)
from cdc_workstation.verify.values import CanonicalRow, Family


class PostgreSQLDatabase:
    """One PostgreSQL database by psycopg.

    Args:
        parameters: keyword arguments of `psycopg.connect`.

    Raises:
        NotComparableError: it does not answer, or does not let the user in.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        try:
            self._connection: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
        except psycopg.Error as error:
            raise NotComparableError(
                f"PostgreSQL at {parameters.get('host')}:{parameters.get('port')} cannot be asked: "
                f"{' '.join(str(error).split())}. Is it up (`make status`), and are POSTGRES_USER and "
                "POSTGRES_PASSWORD its user's?"
            ) from error
        for statement in ("SET TIME ZONE 'UTC'", "SET intervalstyle = 'iso_8601'", "SET bytea_output = 'hex'"):
            self._connection.execute(statement)
        # Values come as the database prints them: no digit is lost on the way through Python.
        for kind in psycopg.adapters.types:
            self._connection.adapters.register_loader(kind.oid, TextLoader)
            if kind.array_oid:
                self._connection.adapters.register_loader(kind.array_oid, TextLoader)

    def tables(self, connector: Connector) -> dict[TableName, int]:
        """Return the tables of the connector's publication that its lists take."""
        found = self._query(
            "SELECT p.schemaname, p.tablename, greatest(c.reltuples, 0)::bigint FROM pg_publication_tables p"
            " JOIN pg_namespace n ON n.nspname = p.schemaname"
            " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = %s",
            (connector.publication,),
        )
        names = {TableName("postgres", str(row[0]), str(row[1])): int(row[2]) for row in found}
        return {name: rows for name, rows in names.items() if connector.captures(name)}

    def describe(self, table: TableName) -> SourceTable:
        """Return a table's columns and key."""
        known = self._query(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            (table.namespace, table.table),
        )
        if not known:
            raise NotComparableError(f"PostgreSQL has no table {table}.")
        found = self._query(
            "SELECT a.attname, t.typname, t.typtype::text, coalesce(e.typname, ''), a.attgenerated::text"
            " FROM pg_attribute a"
            # The type below a domain.
            " JOIN LATERAL (WITH RECURSIVE base AS (SELECT * FROM pg_type WHERE oid = a.atttypid UNION ALL"
            "   SELECT u.* FROM pg_type u JOIN base b ON u.oid = b.typbasetype WHERE b.typtype = 'd')"
            "   SELECT * FROM base WHERE typtype <> 'd') t ON true"
            " LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
            " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            (known[0][0],),
        )
        key = self._query(
            "SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(number, place)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
            " WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place",
            (known[0][0],),
        )
        columns = tuple(_postgres_column(*map(str, row)) for row in found)
        return SourceTable(table, columns, tuple(str(row[0]) for row in key))

    def rows(
        self,
        table: SourceTable,
        columns: Sequence[SourceColumn],
        keys: Sequence[CanonicalRow] | None = None,
        key: Sequence[SourceColumn] = (),
    ) -> Iterator[list[CanonicalRow]]:
        """Yield rows; a statement sees one snapshot and holds up no writer."""
        name = f"{_quoted(table.name.namespace)}.{_quoted(table.name.table)}"
        selected = ", ".join(column.expression for column in columns)
        statement = f"SELECT {selected} FROM {name}"  # noqa: S608 -- quoted
        if keys is None:
            yield from chunks(self._stream(statement, ()), columns)
            return
        for at in range(0, len(keys), KEYS):
            where, parameters = condition(
                [_quoted(one.name) for one in key], [one.family for one in key], keys[at : at + KEYS]
            )
            yield from chunks(self._stream(f"{statement} WHERE {where}", parameters), columns)

    def position(self) -> str:
        """Return the position behind all that was committed (an LSN)."""
        return str(self._query("SELECT pg_current_wal_insert_lsn()::text")[0][0])

    def has_passed(self, offset: Mapping[str, Any], position: str) -> bool:
        """Tell whether the connector's last commit lies at or behind the position."""
        if offset.get("snapshot") and not offset.get("last_snapshot_record"):
            return False
        reached = max(int(offset.get(name) or 0) for name in ("lsn_commit", "lsn_proc", "lsn"))
        high, _, low = position.partition("/")
        return reached >= (int(high, 16) << 32 | int(low, 16))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection.execute(statement.encode(), parameters).fetchall())
        except psycopg.Error as error:
            raise NotComparableError(f"PostgreSQL answered: {' '.join(str(error).split())}") from error

    def _stream(self, statement: str, parameters: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
        try:
            # A cursor of the server, so that rows come in chunks.
            with self._connection.transaction(), self._connection.cursor(name="verify") as cursor:
                cursor.execute(statement.encode(), parameters or None)
                while chunk := cursor.fetchmany(CHUNK):
                    yield chunk
        except psycopg.Error as error:
            raise NotComparableError(f"PostgreSQL answered: {' '.join(str(error).split())}") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _postgres_column(name: str, kind: str, category: str, item: str, generated: str) -> SourceColumn:
    """Return a column of one type.

    Args:
        name: its name.
        kind: the type's name in `pg_type`.
        category: `typtype`: `b` base, `e` enumeration, `r` range, `m` multirange, `c` composite.
        item: the name of an array's items' type, empty if it is none.
        generated: `attgenerated`: pgoutput leaves out columns that are generated.
    """
    quoted = _quoted(name)
    if item:
        if item in _TEXT_ITEMS or not (item in _POSTGRES or item in _POSTGRES_TEXT):
            family = Family("interval" if item == "interval" else "text")
            return SourceColumn(name, kind, Family("list", family), f"to_json({quoted}::text[])", not generated)
        family, _ = _POSTGRES.get(item, (Family("text"), "{}"))
        source = f"{quoted}::float8[]" if item == "float4" else quoted
        return SourceColumn(name, kind, Family("list", family), f"to_json({source})", not generated)
    family, expression = _POSTGRES.get(kind, (Family("text"), "{}"))
    known = kind in _POSTGRES or kind in _POSTGRES_TEXT or category in "erm"
    return SourceColumn(name, kind, family, expression.format(quoted), known and not generated)


# Microseconds since the epoch, whatever the calendar and however far away.
_EPOCH = "trunc(extract(epoch FROM {}) * 1000000)"
_POSTGRES: dict[str, tuple[Family, str]] = (
    dict.fromkeys(("int2", "int4", "int8", "numeric", "oid"), (Family("number"), "{}"))
    | dict.fromkeys(("date", "timestamp", "timestamptz"), (Family("moment"), _EPOCH))
    | {
        "money": (Family("number"), "{}::numeric"),
        "bool": (Family("number"), "{}::int"),
        "float4": (Family("float"), "{}::float8"),
        "float8": (Family("float"), "{}"),
        "json": (Family("json"), "{}"),
        "jsonb": (Family("json"), "{}"),
        "hstore": (Family("json"), "{}::json"),
        "bytea": (Family("bytes"), "{}"),
        "bit": (Family("bits"), "{}"),
        # Its length counts, so it is text in Delta.
        "varbit": (Family("text"), "{}::text"),
        "time": (Family("time"), "{}"),
        "timetz": (Family("timetz"), "{}"),
        "interval": (Family("interval"), "{}"),
        "point": (Family("point"), "{}"),
    }
)
# As items of an array they are text in Delta, as the database writes them; so are items of types not listed here.
_TEXT_ITEMS = {"bit", "varbit", "interval", "money", "point"}
_POSTGRES_TEXT = {
    *("text", "varchar", "bpchar", "name", "citext", "char", "uuid", "xml", "ltree"),
    *("inet", "cidr", "macaddr", "macaddr8", "tsvector"),
}
