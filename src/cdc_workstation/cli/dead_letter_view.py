"""Dead letters as people read them. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_KEY_CHARACTERS = 120


@dataclass(frozen=True)
class Letter:
    """One event that could not be applied.

    Attributes:
        topic: its topic.
        partition: the topic's partition.
        offset: its offset there.
        table: the table, as the sink names it.
        reason: why, in a word.
        detail: why, in a sentence.
        written_at: when it was sent to the dead-letter table.
        key: the record's key.
        value: the record's value.
    """

    topic: str
    partition: int
    offset: int
    table: str
    reason: str
    detail: str
    written_at: datetime
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the record is in Kafka."""
        return self.topic, self.partition, self.offset

    def shown_key(self) -> str:
        """Return the key's columns, or the key as text."""
        if self.key is None:
            return "(no key)"
        try:
            document = json.loads(self.key)
            payload = document.get("payload", document) if isinstance(document, dict) else document
        except ValueError:
            payload = self.key.decode(errors="replace")
        text = (
            " ".join(f"{name}={value}" for name, value in payload.items())
            if isinstance(payload, dict)
            else str(payload)
        )
        return text if len(text) <= _KEY_CHARACTERS else f"{text[:_KEY_CHARACTERS]}..."

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "table": self.table,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
            "written_at": self.written_at.isoformat(),
            "key": self.shown_key(),
            "value": None if self.value is None else self.value.decode(errors="replace"),
        }


@dataclass(frozen=True)
class Reason:
    """How many dead letters a table has for one reason, and when the newest was written."""

    table: str
    reason: str
    count: int
    newest: datetime


def render(letters: Sequence[Letter], reasons: Sequence[Reason], table: str | None) -> RenderableType:
    """Return what `dead-letters` prints: how many there are of each kind, and the newest of them.

    Args:
        letters: the newest ones.
        reasons: all of them, by table and reason.
        table: the table that was asked for; `None` if all were.
    """
    about = f" of {table}" if table else ""
    total = sum(one.count for one in reasons)
    if not total:
        return Text(f"There are no dead letters{about}.", style="green")
    counted = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("table", "reason", "dead letters", "newest"):
        counted.add_column(column, justify="right" if column == "dead letters" else "left", overflow="fold")
    for one in reasons:
        counted.add_row(
            Text(one.table), Text(one.reason, style="red"), f"{one.count:,}", f"{one.newest:%Y-%m-%d %H:%M:%S}"
        )
    closing = (
        f"{total:,} dead letter{'s' if total != 1 else ''}{about}. Remove the cause, then try again with --replay."
    )
    shown = f"The newest {len(letters)}:" if len(letters) < total else "Each of them:"
    return Group(counted, f"\n{shown}", *map(_lines, letters), f"\n{closing}")


def again(letters: Sequence[Letter]) -> RenderableType:
    """Return what `--replay` says of events that are dead letters again."""
    return Group("These are dead letters again:", *map(_lines, letters))


def _lines(letter: Letter) -> Text:
    return Text.assemble(
        (f"{letter.written_at:%Y-%m-%d %H:%M:%S} ", "dim"),
        (f"{letter.table} ", "bold"),
        f"{letter.shown_key()} ",
        (f"{letter.topic} {letter.partition}:{letter.offset}", "dim"),
        "\n    ",
        (f"{letter.reason}: ", "red"),
        letter.detail,
    )
