"""Which tables are compared: all that are captured, or those that a person names."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_workstation.verify.captured import meant, wanted
from cdc_workstation.verify.verdict import TableResult, Verdict
from cdc_workstation.verify.verify import TIMEOUT, CapturedTable, Verifier


def compare(
    verifier: Verifier, names: Sequence[str], *, timeout: float = TIMEOUT, max_rows: int | None = None
) -> list[TableResult]:
    """Compare the captured tables with these names, all if there are none.

    Args:
        verifier: what compares them.
        names: `table`, `namespace.table`, or either with a leading `mysql:` or `postgres:`.
        timeout: seconds that changes may take until they are in Delta.
        max_rows: leave out tables that have more rows.

    Raises:
        NotComparableError: a service that tells about all tables does not answer.
    """
    tables, unknown = chosen(verifier, names)
    results = verifier.verify(tables, timeout=timeout, max_rows=max_rows, named=bool(names))
    return results + unknown + ([] if names else verifier.unreadable)


def chosen(verifier: Verifier, names: Sequence[str]) -> tuple[list[CapturedTable], list[TableResult]]:
    """Return the captured tables with these names, all if there are none; and a result for each name that fits none."""
    tables = verifier.tables()
    if not names:
        return tables, []
    known = [str(table.name) for table in tables]
    found, unknown = wanted([table.name for table in tables], names)
    missing = []
    for name in unknown:
        hint = meant(name, known) or f"Captured are {len(known)} tables; `make verify` lists them."
        reasons = [result.reason for result in verifier.unreadable if result.verdict is Verdict.NOT_COMPARED]
        reason = " ".join([f"no connector captures it, or the sink takes no changes of it. {hint}", *reasons])
        missing.append(TableResult(name, "", "", Verdict.NOT_COMPARED, reason))
    return [table for table in tables if table.name in found], missing
