"""What MySQL's schema change events say about tables: the statement, and the tables' new columns.

https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-schema-change-topic
"""

from __future__ import annotations

import re
from typing import Any

from cdc_workstation.sink import statements
from cdc_workstation.sink.decoder import locate
from cdc_workstation.sink.events import Record
from cdc_workstation.sink.statements import Statement, Table
from cdc_workstation.sink.table_change import ColumnDefinition, Kind, TableChange
from cdc_workstation.sink.topic_names import escaped, topic_name

# Marks of our own classes in MySQL's connector: DdlNormalizer and EventBuffer in roles/debezium.
_SET_ASIDE = "#unparsed#"
_UNDONE = "#undone#"
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT"})
_DECIMALS = frozenset({"DECIMAL", "NUMERIC", "DEC", "FIXED"})
_TEXTS = frozenset({"CHAR", "VARCHAR", "ENUM"})


def mysql_changes(record: Record, payload: dict[str, Any], headers: dict[str, str]) -> list[TableChange]:
    """Return what a schema change event says about tables, in the order in which it happened."""
    source = payload["source"]
    snapshot = "cdc.snapshot" in headers or str(source.get("snapshot") or "false") != "false"
    defined = {}
    for change in payload.get("tableChanges") or []:
        defined[_table_id(change["id"])] = (change["type"], _mysql_columns(change.get("table")))
    position = locate(source | {"row": 0})[0]
    ddl = str(payload.get("ddl") or "")

    def change_of(table: Table, kind: Kind, detail: str, **more: Any) -> TableChange:
        topic = topic_name(source["name"], *table) if table[1] else f"{source['name']}.{escaped(table[0])}.*"
        columns = defined.get(table, ("", None))[1]
        return TableChange(
            topic, kind, position, record.timestamp_ms, None, columns, snapshot, detail, table[0], table[1], **more
        )

    if snapshot:
        return [
            change_of(table, "altered", "a snapshot read the definition")
            for table, (kind, _) in defined.items()
            if kind == "CREATE"
        ]
    statement = statements.read(ddl, str(payload.get("databaseName") or ""))
    if statement.temporary:
        return []
    if statement.renames:
        changes = []
        for old, new in statement.renames:
            if new[1].startswith(_SET_ASIDE):
                detail = (
                    "Debezium cannot read a statement or rows of the table, which is not captured until its snapshot"
                )
                return [change_of(old, "unparsed", detail)]
            changes += [
                change_of(old, "dropped", f"the table is {new[0]}.{new[1]} now"),
                change_of(new, "replaced", f"the table was {old[0]}.{old[1]} before"),
            ]
        return changes
    if statement.verb == "DROP DATABASE":
        return [change_of(statement.tables[0], "dropped", "the database is dropped")]
    if statement.verb == "DROP":
        return [change_of(table, "dropped", "the table is dropped") for table in {*statement.tables, *defined}]
    if statement.verb == "CREATE":
        return _created(statement, source, defined, change_of)
    if statement.verb == "ALTER":
        table = statement.tables[0]
        if table not in defined:
            return [change_of(table, "unparsed", f"Debezium made nothing of: {ddl[:200]}")]
        reasons = [*statement.reasons, *_unknown_values(statement, defined[table][1] or ())]
        if statement.comment == _UNDONE:
            reasons.append("the changes of an XA transaction were not captured")
        more = {"added": tuple(statement.added), "dropped": tuple(statement.dropped)}
        kind: Kind = "rows_changed" if reasons else "altered"
        changes = [change_of(table, kind, "; ".join(reasons) or ddl[:200], **more)]
        return changes + [change_of(other, "rows_changed", reasons[0]) for other in statement.others]
    return [change_of(table, "altered", ddl[:200]) for table, (kind, _) in defined.items() if kind != "DROP"]


def _created(
    statement: Statement, source: dict[str, Any], defined: dict[Table, Any], change_of: Any
) -> list[TableChange]:
    table = statement.tables[0]
    if table in defined:
        return [change_of(table, "created", "the table is created")]
    # What Debezium understood names its tables, none if nothing changes; what it did not understand has no table.
    if statement.if_exists and source.get("table") == "":
        return []
    return [
        change_of(table, "unparsed", "Debezium cannot parse the statement that creates the table; it is not captured")
    ]


def _unknown_values(statement: Statement, columns: tuple[ColumnDefinition, ...]) -> list[str]:
    """Return why the values that old rows have in added columns cannot be taken from events."""
    reasons = []
    for name in statement.added:
        column = next((one for one in columns if one.name.lower() == name.lower()), None)
        if column is None:
            reasons.append(f"the added column {name} is not known")
        elif not _is_known(column):
            reasons.append(f"what rows that are older than the column {name} have there is not known")
    return reasons


def _is_known(column: ColumnDefinition) -> bool:
    base, _, rest = column.type.partition("(")
    words = base.upper().split()
    if "GENERATED" in words or "AUTO_INCREMENT" in words or "EXPRESSION" in words:
        return False
    if column.default is None:
        return column.optional
    kind = words[0] if words else ""
    number = re.fullmatch(r"[+-]?\d+(?:\.(\d+))?", column.default)
    if kind in _INTEGERS:
        return number is not None and number.group(1) is None
    if kind in _DECIMALS:
        scale = rest.rstrip(")").partition(",")[2].strip() or "0"
        return number is not None and len(number.group(1) or "") <= int(scale)
    return kind in _TEXTS and not re.search(r"['\\$,]", column.default)


def _mysql_columns(table: dict[str, Any] | None) -> tuple[ColumnDefinition, ...] | None:
    if table is None:
        return None
    return tuple(
        ColumnDefinition(
            name=one["name"],
            type=_mysql_type(one),
            optional=bool(one["optional"]),
            default=one.get("defaultValueExpression"),
            enum_values=tuple(one["enumValues"]) if one.get("enumValues") else None,
        )
        for one in table["columns"]
    )


def _mysql_type(column: dict[str, Any]) -> str:
    expression = str(column.get("typeExpression") or column["typeName"])
    size = [str(column[name]) for name in ("length", "scale") if column.get(name) is not None]
    words = [word for word in ("generated", "autoIncremented") if column.get(word)]
    marks = {"generated": "GENERATED", "autoIncremented": "AUTO_INCREMENT"}
    base = " ".join([expression, *(marks[word] for word in words)])
    return f"{base}({','.join(size)})" if size else base


def _table_id(text: str) -> Table:
    parts = [part.replace('""', '"') for part in re.findall(r'"((?:[^"]|"")*)"', text)]
    return parts[-2], parts[-1]
