"""Names of topics: how Debezium makes one of a table's name."""

from __future__ import annotations

import re

# What Kafka takes in a topic's name; Debezium writes an underscore for anything else.
_NOT_IN_TOPICS = re.compile(r"[^A-Za-z0-9._-]")


def topic_name(prefix: str, namespace: str, table: str) -> str:
    """Return the topic of a table's change events.

    Args:
        prefix: the connector's `topic.prefix`.
        namespace: the table's database in MySQL, its schema in PostgreSQL.
        table: its own name.
    """
    return _NOT_IN_TOPICS.sub("_", f"{prefix}.{namespace}.{table}")
