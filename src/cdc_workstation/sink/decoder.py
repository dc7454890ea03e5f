"""Decodes change events: from a Kafka record to an event, and where in the source's log that was.

The envelope is https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-events, written by Kafka
Connect's JSON converter with schemas, so that every event says what its columns are.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec

from cdc_workstation.sink.events import Event, MalformedError, Position, Record, RowSchema, Tombstone
from cdc_workstation.sink.unavailable import UNAVAILABLE_BYTES, is_unavailable
from cdc_workstation.sink.values import UnknownTypeError

OPERATIONS = frozenset("crudt")
_PAYLOAD = b',"payload":'
# A row read by a snapshot is later than every change at the same binlog position.
_AFTER_CHANGES = 2**62
_FILE_BITS = 40


class _Source(msgspec.Struct):
    connector: Any = None
    ts_ms: Any = None
    snapshot: Any = None
    file: Any = None
    pos: Any = None
    row: Any = None
    gtid: Any = None
    lsn: Any = None
    sequence: Any = None
    db: Any = None
    schema: Any = None
    table: Any = None

    @property
    def collection(self) -> str:
        """The table as the source names it."""
        namespace = self.schema if self.connector == "postgresql" else self.db
        return f"{namespace}.{self.table}" if namespace and self.table else ""


class _Envelope(msgspec.Struct):
    op: Any = None
    # Parsed for deletes alone: most events carry a row that nobody looks at here.
    before: msgspec.Raw = msgspec.Raw(b"null")
    after: Any = None
    source: _Source | None = None


# Numbers with a point are decimals until their column says what they are: no digit is lost on the way.
_envelope = msgspec.json.Decoder(_Envelope, float_hook=Decimal)
_any = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Decoder:
    """Turns records into events; schemas are parsed once for each version of a table."""

    def __init__(self, limit: int = 4096) -> None:
        self._schemas: dict[bytes, RowSchema | None] = {}
        self._keys: dict[bytes, RowSchema] = {}
        self._limit = limit

    def decode(self, record: Record) -> Event | Tombstone:
        """Return what the record says.

        Raises:
            MalformedError: it is no Debezium event with a schema, or a value contradicts the schema.
        """
        key_schema, key = self._key(record.key)
        value = record.value
        if value is None:
            if key is None or key_schema is None:
                raise MalformedError("empty", "neither key nor value")
            return Tombstone(record, key_schema, key)
        prefix, payload = _split(value)
        schema = self._schemas[prefix] if prefix in self._schemas else self._parse(prefix)
        try:
            envelope = _envelope.decode(payload)
        except msgspec.ValidationError as error:
            raise MalformedError("unknown_envelope", str(error)) from error
        except msgspec.DecodeError as error:
            raise MalformedError("not_json", str(error)) from error
        op, source = envelope.op, envelope.source
        if op not in OPERATIONS or source is None:
            raise MalformedError("unknown_envelope", f"op is {op!r}; a Debezium envelope has op, source, before, after")
        row = _any.decode(envelope.before) if op == "d" else envelope.after
        if op != "t":
            if schema is None:
                raise MalformedError("unknown_envelope", "the schema has no field `after`")
            if row is None and (op != "d" or key is None):
                raise MalformedError("unknown_envelope", f"op {op} without the row")
        if row is not None and not isinstance(row, dict):
            raise MalformedError("unknown_envelope", "the row is no object")
        position, text = _locate(source)
        unavailable: frozenset[str] = frozenset()
        if source.connector == "postgresql" and row and op in "cur" and any(one in value for one in UNAVAILABLE_BYTES):
            unavailable = frozenset(name for name, raw in row.items() if is_unavailable(raw))
        return Event(
            record,
            op,
            position,
            text,
            int(source.ts_ms or 0),
            str(source.snapshot or "false"),
            schema,
            key_schema,
            key,
            row,
            str(source.connector),
            unavailable,
            collection=source.collection,
        )

    def _key(self, raw: bytes | None) -> tuple[RowSchema | None, tuple[Any, ...] | None]:
        if raw is None:
            return None, None
        prefix, text = _split(raw)
        try:
            payload = _any.decode(text)
        except msgspec.DecodeError as error:
            raise MalformedError("not_json", str(error)) from error
        if payload is None:
            return None, None
        schema = self._keys.get(prefix)
        if schema is None:
            document = _schema(prefix)
            try:
                schema = RowSchema.of(document["fields"])
            except (KeyError, TypeError, UnknownTypeError) as error:
                raise MalformedError("key", f"the key's schema cannot be read: {error}") from error
            self._keys[prefix] = schema
        try:
            return schema, tuple(one.key(payload[one.name]) for one in schema.columns)
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedError("key", f"the key contradicts its schema: {error}") from error

    def _parse(self, prefix: bytes) -> RowSchema | None:
        if len(self._schemas) >= self._limit:
            self._schemas.clear()
        document = _schema(prefix)
        schema = None
        try:
            for part in document["fields"]:
                if part["field"] == "after":
                    schema = RowSchema.of(part["fields"])
        except UnknownTypeError as error:
            raise MalformedError("unknown_type", str(error)) from error
        except (KeyError, TypeError) as error:
            raise MalformedError("unknown_envelope", f"the schema cannot be read: {error}") from error
        self._schemas[prefix] = schema
        return schema


def _split(raw: bytes) -> tuple[bytes, bytes | memoryview]:
    """Return the schema as bytes that end where the payload begins, and the payload.

    Only the payload differs from event to event, so only that is parsed; a message that another program wrote, with
    spaces or in another order, is parsed as a whole.
    """
    at = raw.find(_PAYLOAD) if raw.startswith(b'{"schema":{') and raw.endswith(b"}") else -1
    if at >= 0:
        return raw[:at], memoryview(raw)[at + len(_PAYLOAD) : -1]
    try:
        document = json.loads(raw, parse_float=Decimal)
    except ValueError as error:
        raise MalformedError("not_json", str(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), dict) or "payload" not in document:
        detail = "the message has no schema; set (key|value).converter.schemas.enable to true"
        raise MalformedError("no_schema", detail)
    return _encoder.encode({"schema": document["schema"]})[:-1], _encoder.encode(document["payload"])


def _schema(prefix: bytes) -> dict[str, Any]:
    try:
        document = json.loads(prefix + b"}", parse_float=Decimal)["schema"]
    except ValueError as error:
        raise MalformedError("not_json", f"the schema: {error}") from error
    if not isinstance(document, dict):
        raise MalformedError("no_schema", "the message's schema is no object")
    return document


def locate(source: dict[str, Any]) -> tuple[Position, str]:
    """Return the position of a change and its name for people (GTID or LSN).

    Args:
        source: the envelope's block `source`.

    Raises:
        MalformedError: the connector's positions are not known.
    """
    return _locate(_Source(**{name: source.get(name) for name in _Source.__struct_fields__}))


def _locate(source: _Source) -> tuple[Position, str]:
    connector = source.connector
    snapshot = str(source.snapshot or "false")
    try:
        if connector in ("mysql", "mariadb"):
            number = int(source.file.rsplit(".", 1)[1])
            order = (number << _FILE_BITS) | int(source.pos)
            suborder = _AFTER_CHANGES if snapshot != "false" else int(source.row or 0)
            return Position(order, suborder), source.gtid or f"{source.file}:{source.pos}"
        if connector == "postgresql":
            lsn = int(source.lsn)
            last_commit, _ = json.loads(source.sequence) if source.sequence else (None, None)
            if snapshot == "incremental":
                position = Position(lsn, lsn)
            elif snapshot != "false":
                position = Position(lsn, 0)
            else:
                position = Position(int(last_commit or 0), lsn)
            return position, f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise MalformedError("position", f"source has no log position: {error!r}") from error
    raise MalformedError("position", f"the positions of connector {connector!r} are not known")
