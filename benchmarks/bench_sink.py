"""The sink, from a commit in a source database to a row in Delta: the figures of its design, each with its target."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator

from benchmarks.sink.footprint import idle, start
from benchmarks.sink.latency import Figure, large, latency
from benchmarks.sink.pgbench import pgbench
from benchmarks.sink.tables import first_row, many, memory
from benchmarks.sink.throughput import burst, replay, snapshot
from cdc_workstation.clients.kafka import delete_stale_topics
from cdc_workstation.settings import Settings, get_settings

# The connectors' producers may have recreated topics of tables that are gone: they ask for those of the last minutes.
_OWN_TOPICS = re.compile(r"bench_[0-9a-f]{12}")

FIGURES: dict[str, Callable[[Settings], Iterator[Figure]]] = {
    "latency": latency,
    "large": large,
    "burst": burst,
    "replay": replay,
    "snapshot": snapshot,
    "first-row": first_row,
    "many": many,
    "memory": memory,
    "pgbench": pgbench,
    "idle": idle,
    "start": start,
}


def bench_sink(wanted: Iterable[str] = ()) -> Iterator[Figure]:
    """Measure what is `wanted`, or all; yield `(name, value, unit, target)` of each figure."""
    settings = get_settings()
    if settings.mysql_host is None or settings.kafka_bootstrap_servers is None or settings.delta_sink_url is None:
        sys.exit("the stack has no MySQL, no Kafka or no Delta sink")
    try:
        for name in list(wanted) or FIGURES:
            if name != "pgbench" or settings.postgres_host:
                yield from FIGURES[name](settings)
    finally:
        delete_stale_topics(settings.kafka_bootstrap_servers, _OWN_TOPICS)
