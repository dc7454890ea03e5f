"""MySQL as a source: tables, rows as the server prints them, and the transactions (GTIDs) that it executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import mysql.connector

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


class MySQLDatabase:
    """MySQL by mysql-connector-python.

    Args:
        parameters: keyword arguments of `mysql.connector.connect`.

    Raises:
        NotComparableError: it does not answer, or does not let the user in.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        try:
            self._connection: Any = mysql.connector.connect(
                **parameters, autocommit=True, time_zone="+00:00", charset="utf8mb4"
            )
        except mysql.connector.Error as error:
            raise NotComparableError(
                f"MySQL at {parameters.get('host')}:{parameters.get('port')} cannot be asked: {error}. "
                "Is it up (`make status`), and are MYSQL_USER and MYSQL_PASSWORD its user's?"
            ) from error

    def tables(self, connector: Connector) -> dict[TableName, int]:
        """Return the captured tables."""
        found = self._query(
            "SELECT table_schema, table_name, COALESCE(table_rows, 0) FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE'"
        )
        names = {TableName("mysql", str(row[0]), str(row[1])): int(row[2]) for row in found}
        return {name: rows for name, rows in names.items() if connector.captures(name)}

    def describe(self, table: TableName) -> SourceTable:
        """Return a table's columns and key."""
        found = self._query(
            "SELECT column_name, data_type, column_key, column_type FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (table.namespace, table.table),
        )
        if not found:
            raise NotComparableError(f"MySQL has no table {table}, or its user may not read it.")
        key = self._query(
            "SELECT column_name FROM information_schema.key_column_usage WHERE table_schema = %s AND table_name = %s"
            " AND constraint_name = 'PRIMARY' ORDER BY ordinal_position",
            (table.namespace, table.table),
        )
        columns = tuple(self._column(str(row[0]), str(row[1]).lower()) for row in found)
        return SourceTable(table, columns, tuple(str(row[0]) for row in key))

    def _column(self, name: str, kind: str) -> SourceColumn:
        quoted = _backquoted(name)
        # FLOAT prints six digits; as DOUBLE it prints all that it has.
        expression = f"CAST({quoted} AS DOUBLE)" if kind == "float" else quoted
        return SourceColumn(name, kind, _MYSQL.get(kind, Family("text")), expression)

    def rows(
        self,
        table: SourceTable,
        columns: Sequence[SourceColumn],
        keys: Sequence[CanonicalRow] | None = None,
        key: Sequence[SourceColumn] = (),
    ) -> Iterator[list[CanonicalRow]]:
        """Yield rows; a single SELECT is a consistent read and holds up no writer."""
        binary = [column.family.kind in _MYSQL_BINARY for column in columns]
        name = f"{_backquoted(table.name.namespace)}.{_backquoted(table.name.table)}"
        selected = ", ".join(column.expression for column in columns) or "1"
        statement = f"SELECT {selected} FROM {name}"  # noqa: S608 -- quoted
        if keys is None:
            yield from chunks(self._stream(statement, (), binary), columns)
            return
        for at in range(0, len(keys), KEYS):
            where, parameters = condition(
                [_backquoted(one.name) for one in key], [one.family for one in key], keys[at : at + KEYS]
            )
            yield from chunks(self._stream(f"{statement} WHERE {where}", parameters, binary), columns)

    def position(self) -> str:
        """Return the transactions (GTIDs) that were executed."""
        found = str(self._query("SELECT @@GLOBAL.gtid_executed")[0][0]).replace("\n", "")
        if not found:
            raise NotComparableError("MySQL has no GTIDs: set gtid_mode=ON, which changes are compared by.")
        return found

    def has_passed(self, offset: Mapping[str, Any], position: str) -> bool:
        """Tell whether the connector's GTIDs hold the position's."""
        if offset.get("snapshot"):
            return False
        subset = self._query("SELECT GTID_SUBSET(%s, %s)", (position, str(offset.get("gtids") or "")))
        return bool(subset[0][0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(statement, tuple(parameters))
                return [
                    tuple(bytes(one).decode() if isinstance(one, bytes | bytearray) else one for one in row)
                    for row in cursor.fetchall()
                ]
        except mysql.connector.Error as error:
            raise NotComparableError(f"MySQL answered: {error}") from error

    def _stream(
        self, statement: str, parameters: Sequence[str], binary: Sequence[bool]
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        cursor = self._connection.cursor(raw=True, buffered=False)
        try:
            cursor.execute(statement, tuple(parameters))
            while chunk := cursor.fetchmany(CHUNK):
                yield _decoded(chunk, binary)
        except mysql.connector.Error as error:
            raise NotComparableError(f"MySQL answered: {error}") from error
        finally:
            # Rows that nobody fetched would be taken for the next query's.
            if self._connection.unread_result:
                self._connection.close()
                self._connection.reconnect()
            else:
                cursor.close()


def _decoded(rows: Sequence[tuple[Any, ...]], binary: Sequence[bool]) -> list[tuple[Any, ...]]:
    """Return rows with text as `str`, column by column."""
    columns = [
        values
        if is_binary
        else [None if value is None else value.decode("utf-8", "surrogateescape") for value in values]
        for is_binary, values in zip(binary, zip(*rows, strict=True), strict=False)
    ]
    return list(zip(*columns, strict=True))


def _backquoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


_MYSQL_BINARY = {"bytes", "bits", "geometry", "vector"}
_MYSQL: dict[str, Family] = (
    dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"), Family("number"))
    | dict.fromkeys(("float", "double"), Family("float"))
    | dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Family("bytes"))
    | dict.fromkeys(("date", "datetime", "timestamp"), Family("moment"))
    | dict.fromkeys(
        (
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geomcollection",
            "geometrycollection",
        ),
        Family("geometry"),
    )
    | {"json": Family("json"), "bit": Family("bits"), "time": Family("time"), "vector": Family("vector")}
)
