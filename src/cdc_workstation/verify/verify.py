"""Verifies captured tables: compares each with its source by count and checksum, without stopping writes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from cdc_workstation.verify.captured import Connector, TableName
from cdc_workstation.verify.comparison import TableComparison
from cdc_workstation.verify.databases import NotComparableError, WithoutKeyError
from cdc_workstation.verify.lake import READ_ERRORS
from cdc_workstation.verify.log import Ends, reached
from cdc_workstation.verify.stack import SinkView, Stack
from cdc_workstation.verify.verdict import TableResult, Verdict

# How long changes may take from the source to Delta before a table that differs counts as one that was not compared.
TIMEOUT = 120.0
_INTERVAL = 0.25
_STOPPED = "The sink has stopped this table; its log and the dead letters say why. Remove the cause, then run:"


@dataclass(frozen=True)
class CapturedTable:
    """A table to verify.

    Attributes:
        name: the table.
        connector: the connector that captures it.
        topic: the topic of its change events.
        rows: how many rows it has, as its database estimates; those in Delta if the source has no such table.
        in_source: whether the source has it; Delta alone may, after it was dropped or renamed.
    """

    name: TableName
    connector: Connector
    topic: str
    rows: int = 0
    in_source: bool = True


class Verifier:
    """Finds the captured tables of a stack and compares them.

    Args:
        stack: the stack.
        say: called with what is being done, for people who wait.
    """

    def __init__(self, stack: Stack, say: Callable[[str], None] = lambda text: None) -> None:
        self._stack = stack
        self._say = say
        self.unreadable: list[TableResult] = []
        """Connectors whose tables cannot be listed; filled by `tables`."""

    def tables(self) -> list[CapturedTable]:
        """Return the tables that are captured and go to Delta.

        Raises:
            NotComparableError: Kafka Connect or Kafka does not answer.
        """
        self.unreadable = []
        is_applied = re.compile(self._stack.sink_settings.topics).fullmatch
        found: list[CapturedTable] = []
        known = self._stack.connectors()
        topics = self._stack.log.topics()
        for connector in known:
            if not is_applied(f"{connector.prefix}.database.table"):
                # The sink takes no topic of it.
                continue
            try:
                tables = self._stack.database(connector).tables(connector)
            except NotComparableError as error:
                # A server of the user's own is not ours to compare; one of the stack's that does not answer is.
                verdict = Verdict.LEFT_OUT if "no user" in str(error) else Verdict.NOT_COMPARED
                self.unreadable.append(
                    TableResult(f"(all of {connector.name})", connector.name, connector.database, verdict, str(error))
                )
                continue
            named = {name: connector.topic(name, topics) for name in tables}
            found += [
                CapturedTable(name, connector, named[name], rows)
                for name, rows in tables.items()
                if is_applied(named[name])
            ]
        found += self._without_source(known, topics - {table.topic for table in found})
        return sorted(found, key=lambda table: (table.name, table.connector.name))

    def verify(
        self,
        tables: Collection[CapturedTable],
        *,
        timeout: float = TIMEOUT,
        max_rows: int | None = None,
        budget: float | None = None,
        named: bool = False,
    ) -> list[TableResult]:
        """Compare tables.

        Args:
            tables: the tables.
            timeout: seconds that changes may take until they are in Delta.
            max_rows: leave out tables that have more rows, in the source or in Delta.
            budget: seconds that reading all tables may take; those left then are left out.
            named: whether a person named the tables; one without a key then counts as not compared.
        """
        results: list[TableResult] = []
        open_: list[TableComparison] = []
        began = time.monotonic()
        for number, table in enumerate(tables, 1):
            self._say(f"{table.name} ({number} of {len(tables)})")
            comparison = self._comparison(table)
            started = time.monotonic()
            with self._caught(comparison, named=named):
                if not table.in_source:
                    _keep(comparison.result, table.rows)
                elif budget is not None and started - began > budget:
                    comparison.result.verdict = Verdict.LEFT_OUT
                    comparison.result.reason = "no time was left for it"
                elif max_rows is not None and self._rows(table) > max_rows:
                    comparison.result.verdict = Verdict.LEFT_OUT
                    comparison.result.reason = f"it has more than {max_rows:,} rows; name it to compare it"
                else:
                    comparison.look()
                    comparison.result.position = comparison.source.position()
                    comparison.look_again()
            comparison.result.seconds = time.monotonic() - started
            if comparison.result.verdict is Verdict.EQUAL and not comparison.is_settled:
                open_.append(comparison)
            else:
                results.append(comparison.finish())
        results += self._prove(open_, timeout)
        return sorted(results, key=lambda result: (result.database, result.table, result.connector))

    # What is on its way

    def _prove(self, open_: list[TableComparison], timeout: float) -> list[TableResult]:
        """Wait until what differs is drift or was on its way."""
        results: list[TableResult] = []
        deadline: float | None = None
        while open_:
            self._say(f"{len(open_)} tables differ: waiting until all changes so far are applied")
            active = self._begin_round(open_)
            # Reading the sources takes its own time.
            deadline = deadline or time.monotonic() + timeout
            self._end_round(active, deadline)
            in_time = time.monotonic() < deadline
            for comparison in list(open_):
                if comparison.is_settled or comparison.result.verdict is not Verdict.EQUAL or not in_time:
                    open_.remove(comparison)
                    results.append(comparison.finish())
        return results

    def _begin_round(self, open_: list[TableComparison]) -> list[TableComparison]:
        active: list[TableComparison] = []
        with self._caught(*open_):
            view = self._stack.sink_view()
            ends = self._stack.log.ends({topic for comparison in open_ for topic in comparison.topics})
            for comparison in open_:
                with self._caught(comparison):
                    if view.has_stopped(self._stack.label(comparison.topic)):
                        comparison.declare_drift(_STOPPED + f" make resnapshot TABLE={comparison.name}")
                    else:
                        comparison.begin_round(ends)
                        active.append(comparison)
        return active

    def _end_round(self, active: list[TableComparison], deadline: float) -> None:
        for connector in {comparison.connector.name: comparison.connector for comparison in active}.values():
            mine = [comparison for comparison in active if comparison.connector.name == connector.name]
            with self._caught(*mine):
                position = self._wait_for_connector(connector, deadline)
                for comparison in mine:
                    comparison.result.position = position
        active = [comparison for comparison in active if comparison.result.verdict is Verdict.EQUAL]
        with self._caught(*active):
            ends = self._stack.log.ends({topic for comparison in active for topic in comparison.topics})
            view = self._stack.sink_view()
            for comparison in active:
                with self._caught(comparison):
                    self._wait_for_sink(comparison, ends, view, deadline)
                    comparison.end_round()

    def _wait_for_connector(self, connector: Connector, deadline: float) -> str:
        """Wait until everything is in Kafka that was committed in the source until now; return the position."""
        database = self._stack.database(connector)
        position = database.position()
        while not database.has_passed(self._stack.offset(connector), position):
            problem = self._stack.connector_problem(connector)
            if problem:
                raise NotComparableError(f"The table differs, and changes may be on their way: {problem}")
            if time.monotonic() > deadline:
                raise NotComparableError(
                    f"The table differs, and {connector.name} has not passed the position {position} in time: it is "
                    "behind, or takes a snapshot. `make status` shows its lag; give it more time (--timeout)."
                )
            time.sleep(_INTERVAL)
        return position

    def _wait_for_sink(
        self, comparison: TableComparison, ends: dict[str, Ends], view: SinkView, deadline: float
    ) -> None:
        while not self._is_applied(comparison, ends, view):
            if time.monotonic() > deadline:
                problem = self._stack.sink.problem() or "it is behind; `make status` shows its lag"
                raise NotComparableError(
                    f"The table differs, and the sink has not applied all changes in time: {problem}. Give it more "
                    "time (--timeout)."
                )
            time.sleep(_INTERVAL)
            view = self._stack.sink_view()

    def _is_applied(self, comparison: TableComparison, ends: dict[str, Ends], view: SinkView) -> bool:
        """Tell whether the sink has applied a table's topic, and the one about DDL, up to their ends."""
        ddl = comparison.connector.ddl_topic()
        told = view.applied(ddl)
        # Nothing is waited for of a topic that the sink does not tell about.
        if told and not reached({0: told}, ends.get(ddl, {})):
            return False
        return reached(self._stack.applied(comparison.topic, view), ends.get(comparison.topic, {}))

    # Parts

    def _comparison(self, table: CapturedTable) -> TableComparison:
        open_lake = partial(self._stack.lake, table.topic)
        database = self._stack.database(table.connector)
        return TableComparison(table.name, table.connector, table.topic, database, open_lake, self._stack.log)

    def _rows(self, table: CapturedTable) -> int:
        lake = self._stack.lake(table.topic)
        return max(table.rows, lake.count() if lake else 0)

    @contextmanager
    def _caught(self, *comparisons: TableComparison, named: bool = False) -> Iterator[None]:
        """Keep what goes wrong with a table from the others."""
        try:
            yield
        except WithoutKeyError as error:
            for comparison in comparisons:
                _not_compared(comparison, str(error), Verdict.NOT_COMPARED if named else Verdict.LEFT_OUT)
        except NotComparableError as error:
            for comparison in comparisons:
                _not_compared(comparison, str(error))
        except READ_ERRORS as error:
            for comparison in comparisons:
                _not_compared(comparison, f"its Delta table cannot be read: {error}")

    def _without_source(self, known: list[Connector], topics: Collection[str]) -> list[CapturedTable]:
        """Return tables that have rows in Delta, and one of these topics, and are no longer in their source."""
        found = []
        for topic in topics:
            if not re.fullmatch(self._stack.sink_settings.topics, topic):
                continue
            owner = owner_of(topic, known)
            if owner is None:
                continue
            connector, name = owner
            lake = self._stack.lake(topic)
            if lake is not None and lake.count():
                found.append(CapturedTable(name, connector, topic, lake.count(), in_source=False))
        return found


def owner_of(topic: str, known: Collection[Connector]) -> tuple[Connector, TableName] | None:
    """Return the connector that a topic's table belonged to, and the table; `None` if none would capture it.

    One that names the databases or schemas it takes goes before one that takes all.
    """
    candidates = []
    for connector in known:
        name = connector.table_of(topic)
        if name is not None:
            candidates.append((connector, name))
    return max(candidates, key=lambda one: any("include.list" in key for key in one[0].config), default=None)


def _keep(result: TableResult, rows: int) -> None:
    """Say that Delta alone has a table: the sink leaves it as it was when the source's was dropped or renamed."""
    result.verdict = Verdict.LEFT_OUT
    result.delta_rows = rows
    result.reason = (
        f"The source has no such table (any more), and Delta keeps its {rows:,} rows. If nobody needs them, remove its "
        "topic and its Delta table."
    )


def _not_compared(comparison: TableComparison, reason: str, verdict: Verdict = Verdict.NOT_COMPARED) -> None:
    comparison.result.verdict = verdict
    comparison.result.reason = reason
