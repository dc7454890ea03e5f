"""From a commit to Delta at a steady rate, and beside it a plain consumer under the same load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.sink.source import CHANCE, SourceTable, paced, source_of
from benchmarks.sink.watch import Watcher, percentile
from cdc_workstation.clients.source import Database
from cdc_workstation.settings import Settings

Figure = tuple[str, float, str, str]

RATE = 50
SECONDS = int(os.environ.get("BENCH_SINK_SECONDS", "40"))
ROWS = 20_000
LARGE_ROWS = int(os.environ.get("BENCH_SINK_LARGE_ROWS", "1000000"))
_CONSUMER = Path(__file__).parents[1] / "delta_rs_consumer.py"


def fill(table: SourceTable, rows: int) -> float:
    """Create and fill a table; return the seconds until all rows are in Delta."""
    with Watcher(table.path) as watcher:
        began = time.time()
        table.create()
        table.insert(rows)
        return watcher.wait_for(rows - 1) - began


def steady(table: SourceTable, rows: int, *, rate: float = RATE, seconds: float = SECONDS) -> list[float]:
    """Update rows in no order, one a commit; return each change's milliseconds until it was visible."""
    committed: dict[int, float] = {}
    with Watcher(table.path) as watcher:
        for number in paced(rate, seconds):
            table.update(CHANCE.randrange(rows), rows + number)
            committed[rows + number] = time.time()
        watcher.wait_for(max(committed))
        return watcher.latencies(committed)


def latency(settings: Settings) -> Iterator[Figure]:
    """Measure a 20,000-row table of each database, then the plain consumer."""
    databases: list[Database] = ["mysql"]
    if settings.postgres_host:
        databases.append("postgres")
    mysql: list[float] = []
    for kind in databases:
        with source_of(settings, kind) as source:
            table = source.table()
            fill(table, ROWS)
            measured = steady(table, ROWS)
            table.check()
        mysql = mysql or measured
        what = f"{source.label} commit -> Delta, {RATE} changes/s, {ROWS:,} rows"
        yield f"{what}: p50", percentile(measured, 50), "ms", "< 120"
        yield f"{what}: p95", percentile(measured, 95), "ms", "< 250"
        yield f"{what}: p99", percentile(measured, 99), "ms", "< 500"
        yield f"{what}: slowest", max(measured), "ms", ""
    theirs = consumer_latency(settings)
    for percent in (50, 95):
        yield f"plain delta-rs consumer, the same load: p{percent}", percentile(theirs, percent), "ms", ""
    for percent in (50, 95):
        ratio = percentile(mysql, percent) / percentile(theirs, percent)
        yield f"sink / plain delta-rs consumer, MySQL: p{percent}", ratio, "times", "< 2"


def large(settings: Settings) -> Iterator[Figure]:
    """Measure a table of a million rows."""
    with source_of(settings, "mysql") as source:
        table = source.table()
        filled = fill(table, LARGE_ROWS)
        measured = steady(table, LARGE_ROWS)
        table.check()
    what = f"MySQL commit -> Delta, {RATE} changes/s, {LARGE_ROWS:,} rows of 100 bytes"
    yield f"{what}: p50", percentile(measured, 50), "ms", ""
    yield f"{what}: p95", percentile(measured, 95), "ms", "< 2000"
    yield "  its rows inserted and in Delta", LARGE_ROWS / filled, "rows/s", ""


def consumer_latency(settings: Settings) -> list[float]:
    """Return the latencies of a consumer that only does the work itself, on a table that the sink leaves alone."""
    with source_of(settings, "mysql") as source:
        table = source.uncaptured()
        table.create()
        table.insert(ROWS)
        with consumer(source.servers, table.topic, table.path):
            with Watcher(table.path) as watcher:
                watcher.wait_for(ROWS - 1)
            return steady(table, ROWS)


@contextmanager
def consumer(brokers: str, topic: str, path: Path) -> Iterator[None]:
    """Run `delta_rs_consumer.py` on the host."""
    process = subprocess.Popen([sys.executable, _CONSUMER, brokers, topic, path])
    try:
        yield
    finally:
        process.kill()
        process.wait()
