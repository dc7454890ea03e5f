"""What happened to a source's tables besides changes of rows: from DDL events and snapshot notifications.

MySQL's connector writes schema change events to the topic that is named like its prefix, with the statement and the
tables' new columns (https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-schema-change-topic).
PostgreSQL's event triggers (roles/postgres) write messages with the prefix `cdc_ddl`, which its connector brings to
`<prefix>.message`. Notifications tell of snapshots that read no row. The headers `cdc.snapshot` and `cdc.position` come
from our own transformation (roles/debezium, SourcePosition). Where it is not certain that old rows kept their values, a
change is `rows_changed`: a new snapshot too many costs little, a missing one is silent corruption.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from cdc_workstation.sink import statements
from cdc_workstation.sink.events import MalformedError, Position, Record, locate
from cdc_workstation.sink.statements import Statement, Table

Kind = Literal["created", "replaced", "rows_changed", "altered", "dropped", "snapshot_empty", "unparsed"]

# Marks of our own classes in MySQL's connector: DdlNormalizer and EventBuffer in roles/debezium.
_SET_ASIDE = "#unparsed#"
_UNDONE = "#undone#"
_LONGEST_TOPIC = 249
_HASH = 16
_PLAIN = re.compile(r"[A-Za-z0-9_]")
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "INTEGER", "BIGINT"})
_DECIMALS = frozenset({"DECIMAL", "NUMERIC", "DEC", "FIXED"})
_TEXTS = frozenset({"CHAR", "VARCHAR", "ENUM"})
# Defaults that Debezium writes into an event's schema as the values that old rows have.
_POSTGRES_CONSTANT = re.compile(r"-?\d+(\.\d+)?|true|false|'[^'\\]*'::(text|character varying|bpchar)")


@dataclass(frozen=True)
class ColumnDefinition:
    """A column after the statement."""

    name: str
    type: str
    optional: bool
    default: str | None
    """The default as the source writes it; None also if it is an expression (MySQL)."""
    enum_values: tuple[str, ...] | None = None
    """Literals with their quotes, as MySQL writes them."""
    missing: str | None = None
    """PostgreSQL: the value as text that rows have which are older than the column."""


@dataclass(frozen=True)
class TableChange:
    """Something that happened to a table."""

    topic: str
    """The table's topic; ends in `.*` if all tables of a database are gone."""
    kind: Kind
    position: Position | None
    """Where in the source's log; None for an empty snapshot whose notification does not say."""
    timestamp_ms: int
    """Kafka's timestamp of the record."""
    source_id: int | None
    """PostgreSQL's oid of the table."""
    columns: tuple[ColumnDefinition, ...] | None
    snapshot: bool
    """Whether a snapshot wrote it, which tells the table's definition and nothing else."""
    detail: str
    """A sentence for people."""
    namespace: str = ""
    """The table's database (MySQL) or schema, and its name, as the source writes them."""
    table: str = ""
    added: tuple[str, ...] = ()
    """Columns that the statement adds. If Delta has one already (it was dropped before), old rows have wrong values."""
    dropped: tuple[str, ...] = ()


def table_changes(record: Record, reserved: re.Pattern[str] | None = None) -> list[TableChange]:
    """Return what a record of a DDL or notification topic says about tables, in the order in which it happened.

    Args:
        record: any record; one that is no DDL event and no notification says nothing.
        reserved: PostgreSQL's schemas whose topics are escaped, as `topic.naming.reserved` of its connector says.

    Raises:
        MalformedError: it is a DDL event that cannot be read.
    """
    payload = _payload(record)
    if payload is None:
        return []
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    try:
        if "ddl" in payload:
            return _mysql(record, payload, headers)
        if isinstance(payload.get("message"), dict):
            return _postgres(record, payload, reserved)
        if "aggregate_type" in payload:
            return _notification(record, payload, headers, reserved)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError("source_change", f"a DDL event cannot be read: {error!r}") from error
    return []


def topic_name(prefix: str, namespace: str, table: str, *, reserved: re.Pattern[str] | None = None) -> str:
    """Return a table's topic, as the class TableTopicNames in roles/debezium computes it.

    A table that would collide with another one's topic in Kafka (`.` and `_` are the same there) has its first
    character escaped, too, which cannot be told from its name: its events say what it is called.
    """
    escape_first = reserved is not None and reserved.fullmatch(namespace) is not None
    topic = f"{prefix}.{_escaped(namespace, first=escape_first)}.{_escaped(table)}"
    if len(topic) <= _LONGEST_TOPIC:
        return topic
    digest = hashlib.sha256(topic.encode()).hexdigest()[:_HASH]
    return f"{topic[: _LONGEST_TOPIC - _HASH - 1]}-{digest}"


def _escaped(name: str, *, first: bool = False) -> str:
    result = []
    for at, character in enumerate(name):
        plain = _PLAIN.fullmatch(character) or (character == "-" and name[at + 1 : at + 2] != "u")
        escape = not plain or (first and not at)
        result.append(f"-u{ord(character):x}-" if escape else character)
    return "".join(result)


def _payload(record: Record) -> dict[str, Any] | None:
    if record.value is None:
        return None
    try:
        document = json.loads(record.value)
    except ValueError as error:
        raise MalformedError("not_json", str(error)) from error
    payload = document.get("payload", document) if isinstance(document, dict) else None
    return payload if isinstance(payload, dict) else None


def _mysql(record: Record, payload: dict[str, Any], headers: dict[str, str]) -> list[TableChange]:
    source = payload["source"]
    snapshot = "cdc.snapshot" in headers or str(source.get("snapshot") or "false") != "false"
    defined = {}
    for change in payload.get("tableChanges") or []:
        defined[_table_id(change["id"])] = (change["type"], _mysql_columns(change.get("table")))
    position = locate(source | {"row": 0})[0]
    ddl = str(payload.get("ddl") or "")

    def change_of(table: Table, kind: Kind, detail: str, **more: Any) -> TableChange:
        topic = topic_name(source["name"], *table) if table[1] else f"{source['name']}.{_escaped(table[0])}.*"
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
            reasons.append("an XA transaction was rolled back after its changes were captured")
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


def _postgres(record: Record, payload: dict[str, Any], reserved: re.Pattern[str] | None) -> list[TableChange]:
    message = payload["message"]
    if message.get("prefix") != "cdc_ddl":
        return []
    source = payload["source"]
    content = json.loads(base64.b64decode(message["content"]))
    last_commit, lsn = locate(source)[0]
    # The message's LSN is its end, which is the next change's: it comes before that one.
    position = Position(last_commit, lsn - 1)
    event, tag = content["event"], content["tag"]
    name = (content["schema"], content["table"])
    columns = _postgres_columns(content.get("columns"))
    added = tuple(one["name"] for one in content.get("columns") or [] if one["added"])
    dropped = tuple(content.get("dropped_columns") or ())
    change = TableChange(
        topic_name(source["name"], *name, reserved=reserved),
        "altered", position, record.timestamp_ms, content["oid"], columns, False, tag, *name,
    )  # fmt: skip
    if event == "created":
        # CREATE TABLE AS writes its rows before the message.
        high, low = (int(half, 16) for half in content["start"].split("/"))
        begin = Position(last_commit, (high << 32) | low)
        return [replace(change, kind="created", position=begin, detail=f"the table is created ({tag})", added=added)]
    if event == "dropped":
        return [replace(change, kind="dropped", detail=f"the table is dropped ({tag})")]
    if event == "rewritten":
        return [replace(change, kind="rows_changed", detail=f"{tag} changed values in all rows without change events")]
    if event == "unlogged":
        detail = "the table is UNLOGGED now: its changes are not captured until ALTER TABLE ... SET LOGGED"
        return [replace(change, kind="rows_changed", detail=detail)]
    if event == "renamed":
        old = (content["old_schema"], content["old_table"])
        gone = replace(
            change,
            topic=topic_name(source["name"], *old, reserved=reserved),
            kind="dropped",
            columns=None,
            namespace=old[0],
            table=old[1],
            detail=f"the table is {name[0]}.{name[1]} now",
        )
        return [gone, replace(change, kind="replaced", detail=f"the table was {old[0]}.{old[1]} before")]
    reasons = []
    if content.get("renamed_columns"):
        reasons.append("a column is renamed")
    for one in content.get("columns") or []:
        if one["added"] and one["name"] in dropped:
            reasons.append(f"column {one['name']} is dropped and added")
        elif one["added"] and one["missing"] is not None and not _POSTGRES_CONSTANT.fullmatch(one["default"] or ""):
            reasons.append(f"what rows that are older than the column {one['name']} have there is not known")
    kind: Kind = "rows_changed" if reasons else "altered"
    return [replace(change, kind=kind, detail="; ".join(reasons) or tag, added=added, dropped=dropped)]


def _postgres_columns(columns: list[dict[str, Any]] | None) -> tuple[ColumnDefinition, ...] | None:
    if columns is None:
        return None
    return tuple(
        ColumnDefinition(one["name"], one["type"], one["optional"], one["default"], missing=one["missing"])
        for one in columns
    )


def _notification(
    record: Record, payload: dict[str, Any], headers: dict[str, str], reserved: re.Pattern[str] | None
) -> list[TableChange]:
    data = payload.get("additional_data") or {}
    if payload.get("type") != "TABLE_SCAN_COMPLETED" or data.get("status") != "SUCCEEDED":
        return []
    if data.get("total_rows_scanned") != "0":
        return []
    namespace, _, table = data["scanned_collection"].partition(".")
    position = None
    place = headers.get("cdc.position", "")
    if place.isdigit():
        position = Position(int(place), 0)
    elif place:
        file, _, offset = place.rpartition(":")
        position = locate({"connector": "mysql", "snapshot": "true", "file": file, "pos": offset})[0]
        reserved = None
    return [
        TableChange(
            topic_name(data["connector_name"], namespace, table, reserved=reserved),
            "snapshot_empty", position, record.timestamp_ms, None, None, True,
            "a snapshot of the table read no row", namespace, table,
        )
    ]  # fmt: skip
