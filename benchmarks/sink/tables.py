"""New tables: the first row of one, three hundred at once, and the memory that so many take."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.sink.container import MemoryPeak, SinkContainer
from benchmarks.sink.latency import RATE, Figure, fill
from benchmarks.sink.source import CHANCE, PATIENCE, Source, SourceTable, paced, source_of, until
from benchmarks.sink.throughput import BURST, BURST_KEYS, upsert
from benchmarks.sink.watch import Watcher, newest_change
from cdc_workstation.clients.source import Database
from cdc_workstation.settings import Settings

TABLES = 300
MEMORY_SECONDS = int(os.environ.get("BENCH_SINK_MEMORY_SECONDS", "120"))
_ROUNDS = 5
_OLDER_ROWS = 1000
_OLDER_RATE = 10


def first_row(settings: Settings) -> Iterator[Figure]:
    """Measure the first row of tables that are created one after the other."""
    databases: list[Database] = ["mysql", "postgres"] if settings.postgres_host else ["mysql"]
    for kind in databases:
        measured = []
        with source_of(settings, kind) as source:
            for number in range(_ROUNDS):
                table = source.table(f"new_{number}")
                with Watcher(table.path) as watcher:
                    table.create()
                    table.insert(1)
                    committed = time.time()
                    measured.append((watcher.wait_for(0) - committed) * 1000)
        what = f"first row of a new table in {source.label} -> Delta"
        yield f"{what}: median of {_ROUNDS}", statistics.median(measured), "ms", "< 500"
        yield f"{what}: slowest", max(measured), "ms", ""


def create_many(source: Source) -> tuple[list[SourceTable], float]:
    """Create tables of two rows by a few connections at once; return the tables and the seconds that it took."""
    connections = [source.connect() for _ in range(4)]
    tables = [source.table(f"many_{number:03}", connections[number % 4]) for number in range(TABLES)]

    def create(first: int) -> None:
        for table in tables[first::4]:
            table.create()
            table.insert(2)

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(4)))
    return tables, time.monotonic() - began


def has_both_rows(path: Path) -> bool:
    """Tell by a table's log whether its second row is there."""
    return any(newest_change(commit.read_text()) >= 1 for commit in (path / "_delta_log").glob("*.json"))


def wait_until_there(tables: list[SourceTable]) -> None:
    """Return once all rows of all tables are in Delta."""
    missing = list(tables)

    def arrived() -> bool:
        missing[:] = [table for table in missing if not has_both_rows(table.path)]
        return not missing

    until(arrived, "the rows of all tables", every=0.5)


@contextmanager
def older_table(table: SourceTable, latencies: list[float]) -> Iterator[None]:
    """Update a table that is there already while the block runs, then tell the latencies in milliseconds."""
    committed: dict[int, float] = {}
    ended = threading.Event()

    def update() -> None:
        for number in paced(_OLDER_RATE, PATIENCE):
            if ended.is_set():
                return
            table.update(CHANCE.randrange(_OLDER_ROWS), _OLDER_ROWS + number)
            committed[_OLDER_ROWS + number] = time.time()

    with Watcher(table.path) as watcher, ThreadPoolExecutor(1) as pool:
        updating = pool.submit(update)
        try:
            yield
        finally:
            ended.set()
        updating.result()
        watcher.wait_for(max(committed))
        latencies += watcher.latencies(committed)


def many(settings: Settings) -> Iterator[Figure]:
    """Measure how long many new tables take, and what a table that is there already has to wait meanwhile."""
    latencies: list[float] = []
    with source_of(settings, "mysql") as source:
        older = source.table(connection=source.connect())
        fill(older, _OLDER_ROWS)
        with older_table(older, latencies):
            began = time.monotonic()
            tables, taken = create_many(source)
            wait_until_there(tables)
            seconds = time.monotonic() - began
        older.check()
    yield f"{TABLES} tables of two rows, created within {taken:.1f} s: all there after", seconds, "s", "< 60"
    yield "  an older table's update meanwhile, median", statistics.median(latencies), "ms", ""
    yield "  an older table's update meanwhile, slowest", max(latencies), "ms", "< 1000"


def memory(settings: Settings) -> Iterator[Figure]:
    """Measure the memory with many tables under load: changes all over them, and a burst in one."""
    with source_of(settings, "mysql") as source:
        container = SinkContainer(settings)
        with MemoryPeak(container) as memory:
            tables, _ = create_many(source)
            wait_until_there(tables)
            burst = source.table(connection=source.connect())
            burst.create()
            with ThreadPoolExecutor(1) as pool, Watcher(burst.path) as watcher:
                written = pool.submit(upsert, burst, 0, BURST, BURST_KEYS)
                for number in paced(RATE, MEMORY_SECONDS):
                    CHANCE.choice(tables).update(CHANCE.randrange(2), 2 + number)
                written.result()
                watcher.wait_for(BURST - 1)
            count = container.tables()
    what = f"memory, {count} tables, {RATE} changes/s over {TABLES} and {BURST:,} in one, {MEMORY_SECONDS} s: peak"
    yield what, 100 * memory.peak / memory.limit, f"% of {memory.limit / 2**20:.0f} MiB", "< 80"
