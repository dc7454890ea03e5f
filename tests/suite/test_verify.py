"""`cdc-workstation verify` and `resnapshot`: drift is found by key and column and repaired, and only drift is found."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from captured import CapturedDatabase, CapturedTable, until

from cdc_workstation.cli import main

COLUMNS = "id INT PRIMARY KEY, customer VARCHAR(50), total DECIMAL(10,2), placed DATE"
ROWS = 60


def _fill(table: CapturedTable) -> None:
    values = ", ".join(f"({number}, 'customer {number}', {number}.50, '2024-02-29')" for number in range(ROWS))
    table.execute(f"INSERT INTO {{t}} VALUES {values}")


def _verify(capsys: pytest.CaptureFixture[str], *tables: CapturedTable) -> tuple[int, dict[str, dict[str, Any]]]:
    capsys.readouterr()
    code = main(["verify", "--json", "--timeout", "60", *(table.source for table in tables)])
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    return code, {table["table"]: table for table in found["tables"]}


@contextmanager
def _writer(database: CapturedDatabase, table: CapturedTable) -> Iterator[None]:
    """Change rows all the time."""
    stopping = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        choose = random.Random(7)
        try:
            for number in range(1_000_000):
                if stopping.is_set():
                    return
                key = choose.randrange(ROWS)
                table.execute(f"UPDATE {{t}} SET total = {number % 1000} WHERE id = {key}")
                table.execute(f"DELETE FROM {{t}} WHERE id = {key + 1}")
                table.execute(f"INSERT INTO {{t}} VALUES ({key + 1}, 'again', {number % 1000}, NULL)")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
    assert not failures


def test_drift_is_found_and_repaired(
    captured_mysql: CapturedDatabase, captured_postgres: CapturedDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [captured_mysql.table(COLUMNS), captured_postgres.table(COLUMNS)]
    for table in tables:
        _fill(table)
    for table in tables:
        table.settle()
    assert _verify(capsys, *tables)[0] == 0

    for table in tables:
        table.delta().delete("id = 3")
        table.delta().update({"total": "9.99"}, predicate="id = 5")

    code, found = _verify(capsys, *tables)

    assert code == 1
    for table in tables:
        result = found[table.source]
        assert (result["verdict"], result["differing"]) == ("drift", 2), result
        assert (result["source_rows"], result["delta_rows"]) == (ROWS, ROWS - 1)
        assert result["source_checksum"] != result["delta_checksum"]
        missing, changed = result["differences"]
        assert missing == {"key": {"id": "3"}, "problem": "is missing in Delta", "columns": {}}, result
        assert changed == {"key": {"id": "5"}, "problem": "differs", "columns": {"total": ["5.5", "9.99"]}}, result

    # It ends well only if a comparison finds the table equal.
    for table in tables:
        assert main(["resnapshot", "--timeout", "60", table.source]) == 0, capsys.readouterr()


def test_no_drift_is_found_while_rows_change(captured: CapturedDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    table = captured.table(COLUMNS)
    _fill(table)
    table.settle()
    with _writer(captured, table):
        before = table.metric("rows_applied_total")
        until(lambda: table.metric("rows_applied_total") > before, "changes come")
        code, found = _verify(capsys, table)

    assert code == 0, found
    assert found[table.source]["source_checksum"] == found[table.source]["delta_checksum"]


def test_table_that_nobody_captures_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "cdcdb.produkts"]) == 2
    assert "Is it cdcdb.products" in " ".join(capsys.readouterr().out.split())

    assert main(["resnapshot", "cdcdb.produkts"]) == 2
    assert "no connector captures it" in " ".join(capsys.readouterr().err.split())
