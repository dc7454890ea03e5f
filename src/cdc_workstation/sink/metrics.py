"""What Prometheus reads from the sink, and whether it is ready."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app

ROWS_APPLIED = Counter("cdc_sink_rows_applied", "Changes applied to a Delta table", ["table", "op"])
STALE_EVENTS = Counter("cdc_sink_stale_events", "Events that were older than the table and skipped", ["table"])
DEAD_LETTERED = Counter("cdc_sink_dead_lettered_rows", "Events sent to the dead-letter table", ["table"])
ERRORS = Counter("cdc_sink_errors", "Records or batches that failed, retried ones included", ["table"])
LAG_SECONDS = Gauge(
    "cdc_sink_lag_seconds", "From the newest change's commit in the source to its commit in Delta", ["table"]
)
LAG_OFFSETS = Gauge("cdc_sink_lag_offsets", "Records in Kafka that are not applied yet", ["table"])
APPLIED_OFFSET = Gauge(
    "cdc_sink_applied_offset", "The offset behind the last record that was applied", ["topic", "partition"]
)
UNREPRESENTABLE = Counter(
    "cdc_sink_unrepresentable_values", "Values that are NULL because Delta has no place for them", ["table", "column"]
)
TABLE_VERSION = Gauge("cdc_sink_table_version", "Last commit's version", ["table"])
TABLE_STOPPED = Gauge("cdc_sink_table_stopped", "1 where changes are no longer applied to the table", ["table"])
COMMIT_SECONDS = Histogram(
    "cdc_sink_commit_seconds",
    "Time that one batch takes a table",
    ["table"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
)
SNAPSHOT_DUE = Gauge(
    "cdc_sink_snapshot_due", "How often a snapshot was asked for that a table needs and has not got", ["table"]
)
NOT_CAPTURED = Gauge("cdc_sink_table_not_captured", "1 if the connector captures nothing of the table", ["table"])
READY = Gauge("cdc_sink_ready", "1 when a canary row has reached Delta since the start")


def expose(table: str) -> None:
    """Show a table's counters from zero on: an increase needs a sample before it."""
    for metric in (STALE_EVENTS, DEAD_LETTERED, ERRORS, TABLE_STOPPED, LAG_OFFSETS):
        metric.labels(table)


def show_requests(attempts: Mapping[str, int], not_captured: Iterable[str]) -> None:
    """Show the tables that need a snapshot, each with the number of requests, and those that are not captured."""
    SNAPSHOT_DUE.clear()
    for table, count in attempts.items():
        SNAPSHOT_DUE.labels(table).set(count)
    NOT_CAPTURED.clear()
    for table in not_captured:
        NOT_CAPTURED.labels(table).set(1)


def forget(table: str, topic: str) -> None:
    """Show nothing of a table any more."""
    for labels in [labels for labels in _children(APPLIED_OFFSET) if labels[0] == topic]:
        _remove(APPLIED_OFFSET, *labels)
    for labels in [labels for labels in _children(UNREPRESENTABLE) if labels[0] == table]:
        _remove(UNREPRESENTABLE, *labels)
    for metric in (STALE_EVENTS, DEAD_LETTERED, ERRORS, LAG_SECONDS, LAG_OFFSETS, TABLE_VERSION, TABLE_STOPPED):
        _remove(metric, table)
    _remove(COMMIT_SECONDS, table)
    for op in "crudt":
        _remove(ROWS_APPLIED, table, op)


def _children(metric: Counter | Gauge) -> list[tuple[str, ...]]:
    return [
        tuple(sample.labels.values())
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def _remove(metric: Counter | Gauge | Histogram, *labels: str) -> None:
    # One without such a sample: releases of the library before 0.23 raise.
    with contextlib.suppress(KeyError):
        metric.remove(*labels)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Do not log requests: the health check asks every other second."""


def serve(port: int, problem: Callable[[], str], names: Collection[str] = ()) -> None:
    """Answer `/metrics`, and `/ready` with 200 where `problem` returns nothing, else 503 with what it returns.

    Args:
        port: where to listen, on all addresses.
        problem: says why the sink is not ready.
        names: the host names to answer to, so that no website can have a name of its own lead here; empty for all.
    """
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if names and host and host not in names:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This is not a name of the sink.\n"]
        if environ.get("PATH_INFO") != "/ready":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        text = problem()
        start_response("503 Service Unavailable" if text else "200 OK", [("Content-Type", "text/plain")])
        return [(text or "ready").encode() + b"\n"]

    server = make_server("0.0.0.0", port, app, handler_class=_Quiet)  # noqa: S104 -- published on loopback only
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
