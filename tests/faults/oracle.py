"""The oracle of the fault tests: `make verify` for a few tables."""

from __future__ import annotations

import pytest
from captured import CapturedTable
from fault_injection import HEALTHY_SECONDS


def assert_equal(tables: list[CapturedTable], timeout: float = HEALTHY_SECONDS) -> None:
    """Wait until changes so far are in Delta, and compare each table with its source by count and checksum."""
    from cdc_workstation.verify.stack import Stack
    from cdc_workstation.verify.verdict import Verdict
    from cdc_workstation.verify.verify import Verifier

    labels = {table.label for table in tables}
    with Stack(tables[0].database.settings) as stack:
        verifier = Verifier(stack)
        found = [table for table in verifier.tables() if str(table.name) in labels]
        results = verifier.verify(found, timeout=timeout, named=True)
    unknown = labels - {result.table for result in results}
    wrong = [result for result in results if result.verdict is not Verdict.EQUAL]
    if unknown or wrong:
        lines = [f"{label}: not captured" for label in sorted(unknown)]
        for result in wrong:
            lines.append(f"{result.table}: {result.verdict}. {result.reason}")
            lines += [f"  {difference}" for difference in result.differences]
        pytest.fail("\n".join(lines), pytrace=False)
    assert sum(result.source_rows or 0 for result in results) > 0
