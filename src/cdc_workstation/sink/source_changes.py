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
import json
import re
from dataclasses import replace
from typing import Any

from cdc_workstation.sink.decoder import locate
from cdc_workstation.sink.events import MalformedError, Position, Record
from cdc_workstation.sink.mysql_ddl import mysql_changes
from cdc_workstation.sink.table_change import ColumnDefinition, Kind, TableChange
from cdc_workstation.sink.topic_names import topic_name

# Defaults that Debezium writes into an event's schema as the values that old rows have.
_POSTGRES_CONSTANT = re.compile(r"-?\d+(\.\d+)?|true|false|'[^'\\]*'::(text|character varying|bpchar)")


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
            return mysql_changes(record, payload, headers)
        if isinstance(payload.get("message"), dict):
            return _postgres(record, payload, reserved)
        if "aggregate_type" in payload:
            return _notification(record, payload, headers, reserved)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError("source_change", f"a DDL event cannot be read: {error!r}") from error
    return []


def _payload(record: Record) -> dict[str, Any] | None:
    if record.value is None:
        return None
    try:
        document = json.loads(record.value)
    except ValueError as error:
        raise MalformedError("not_json", str(error)) from error
    payload = document.get("payload", document) if isinstance(document, dict) else None
    return payload if isinstance(payload, dict) else None


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
