"""PostgreSQL's own load: how long after `pgbench` all of its tables are equal in Delta."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pyarrow.compute as pc
from deltalake import DeltaTable

from benchmarks.sink.latency import Figure
from benchmarks.sink.source import Source, source_of, until
from cdc_workstation.settings import Settings

# Table to the column whose sum its changes move.
_TABLES = {
    "pgbench_accounts": "abalance",
    "pgbench_branches": "bbalance",
    "pgbench_tellers": "tbalance",
    "pgbench_history": "delta",
}
_SECONDS = 10


def run_pgbench(source: Source, *arguments: str) -> None:
    """Run `pgbench` in PostgreSQL's container, with its tables in the source's schema."""
    settings = source.settings
    container = f"{settings.compose_project_name}-postgres-1"
    # The password goes by the environment: command lines are for everybody to read.
    command = ["docker", "exec", "--env", "PGOPTIONS", "--env", "PGPASSWORD", container, "pgbench"]
    command += ["--host=127.0.0.1", f"--username={settings.postgres_user}", *arguments, settings.postgres_database]
    environment = os.environ | {
        "PGOPTIONS": f"-c search_path={source.name}",
        "PGPASSWORD": settings.postgres_password.get_secret_value(),
    }
    subprocess.run(command, check=True, capture_output=True, env=environment)


def in_postgres(source: Source) -> dict[str, tuple[int, int]]:
    """Return each table's number of rows and the sum of its balances."""
    found = {}
    for table, column in _TABLES.items():
        [(count, total)] = source.connection.execute(
            f"SELECT count(*), coalesce(sum({column}), 0)::bigint FROM {source.name}.{table}"
        )
        found[table] = (count, total)
    return found


def is_equal(source: Source, wanted: dict[str, tuple[int, int]], waited_for: list[str]) -> bool:
    """Tell whether the tables in Delta have the same; those that do are not looked at again."""
    while waited_for:
        table = waited_for[0]
        rows = DeltaTable(str(source.table(table).path))
        # The count is in the log; rows are read only once it fits.
        if rows.count() != wanted[table][0]:
            return False
        column = rows.to_pyarrow_table(columns=[_TABLES[table]])[_TABLES[table]]
        if (pc.sum(column).as_py() or 0) != wanted[table][1]:
            return False
        del waited_for[0]
    return True


def pgbench(settings: Settings) -> Iterator[Figure]:
    """Measure `pgbench -i -s 1` and ten seconds of `pgbench -c2`."""
    with source_of(settings, "postgres") as source:
        run_pgbench(source, "--initialize", "--scale=1")
        run_pgbench(source, "--client=2", f"--time={_SECONDS}")
        ended = time.monotonic()
        wanted = in_postgres(source)
        waited_for = list(_TABLES)
        until(lambda: is_equal(source, wanted, waited_for), f"pgbench's tables {waited_for}")
        seconds = time.monotonic() - ended
    what = f"pgbench -i -s 1, then {_SECONDS} s of -c2 ({wanted['pgbench_history'][0]:,} transactions)"
    yield f"{what}: equal after", seconds, "s", "< 10"
