"""The topic of a table, as the class TableTopicNames in roles/debezium computes it."""

from __future__ import annotations

import hashlib
import re

_LONGEST_TOPIC = 249
_HASH = 16
_PLAIN = re.compile(r"[A-Za-z0-9_]")


def topic_name(prefix: str, namespace: str, table: str, *, reserved: re.Pattern[str] | None = None) -> str:
    """Return a table's topic, as the class TableTopicNames in roles/debezium computes it.

    A table that would collide with another one's topic in Kafka (`.` and `_` are the same there) has its first
    character escaped, too, which cannot be told from its name: its events say what it is called.
    """
    escape_first = reserved is not None and reserved.fullmatch(namespace) is not None
    topic = f"{prefix}.{escaped(namespace, first=escape_first)}.{escaped(table)}"
    if len(topic) <= _LONGEST_TOPIC:
        return topic
    digest = hashlib.sha256(topic.encode()).hexdigest()[:_HASH]
    return f"{topic[: _LONGEST_TOPIC - _HASH - 1]}-{digest}"


def escaped(name: str, *, first: bool = False) -> str:
    """Return the part of a topic's name that a database, schema or table makes.

    Args:
        name: its name.
        first: whether the first character is escaped, whatever it is.
    """
    result = []
    for at, character in enumerate(name):
        plain = _PLAIN.fullmatch(character) or (character == "-" and name[at + 1 : at + 2] != "u")
        escape = not plain or (first and not at)
        result.append(f"-u{ord(character):x}-" if escape else character)
    return "".join(result)
