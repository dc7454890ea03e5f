"""Evidence of a failed test: one screen that says which stage of the pipeline has the change, and a file of details.

The screen is a section of pytest's report, written before the fixtures clean up. Collecting never fails a test, takes a
bounded time and yields bounded texts without secrets.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cdc_workstation.clients.pipeline import CdcPipeline

EVIDENCE_INI = "cdc_workstation_evidence"
DIRECTORY_INI = "cdc_workstation_report_dir"
TITLE = "cdc-workstation"

# The fixtures that tell which services a test used; a fixture stands for those that it is made of as well.
_SERVICES = {
    "mysql_parameters": {"mysql"},
    "postgres_parameters": {"postgres"},
    "kafka_bootstrap_servers": {"kafka"},
    "connect_client": {"debezium"},
    "spark_session": {"spark-master", "spark-worker"},
    "spark_connect_session": {"spark-connect"},
    "alertmanager_client": {"alertmanager"},
    "webhook_receiver": {"webhook-receiver"},
    "prometheus_client": {"prometheus"},
}
_UNFIT_FOR_A_FILE = re.compile(r"[^\w.-]+")
_FILE_NAME_CHARACTERS = 150


@dataclass
class Used:
    """What a test, or a fixture of a wider scope, used of the stack."""

    topics: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    connectors: list[str] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    pipelines: list[CdcPipeline] = field(default_factory=list)

    def add(self, other: Used) -> None:
        """Add what another one has."""
        self.topics += [one for one in other.topics if one not in self.topics]
        self.tables += [one for one in other.tables if one not in self.tables]
        self.connectors += [one for one in other.connectors if one not in self.connectors]
        self.pipelines += [one for one in other.pipelines if one not in self.pipelines]
        self.services |= other.services


_used = pytest.StashKey[Used]()
_started = pytest.StashKey[float]()
_collected = pytest.StashKey[bool]()


def uses(
    request: pytest.FixtureRequest,
    *,
    topic: str | None = None,
    table: str | Path | None = None,
    connector: str | None = None,
    pipeline: CdcPipeline | None = None,
    services: Iterable[str] = (),
) -> None:
    """Note what a fixture gives to a test, so that the evidence is about that.

    Args:
        request: the fixture's request.
        topic: the name of a topic.
        table: the path of a Delta table.
        connector: the name of a connector.
        pipeline: a captured table.
        services: services of the stack, by their names in compose.
    """
    used = request.node.stash.setdefault(_used, Used())
    used.add(
        Used(
            topics=[topic] if topic else [],
            tables=[Path(table)] if table else [],
            connectors=[connector] if connector else [],
            pipelines=[pipeline] if pipeline else [],
            services=set(services),
        )
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the ini options of the evidence."""
    parser.addini(
        EVIDENCE_INI,
        help="say in the report of a failed test which stage of the pipeline has the change",
        type="bool",
        default=True,
    )
    parser.addini(
        DIRECTORY_INI,
        help="where the details of failed tests are written, below the root directory",
        default="build/cdc-workstation",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the evidence to the report of a phase that failed."""
    report = yield
    began = item.stash.setdefault(_started, call.start)
    if report.failed and not item.stash.get(_collected, False) and item.config.getini(EVIDENCE_INI):
        item.stash[_collected] = True
        used = used_by(item)
        if used.services:
            from cdc_workstation.evidence.report import write

            directory = item.config.rootpath / item.config.getini(DIRECTORY_INI)
            file = directory / f"{_UNFIT_FOR_A_FILE.sub('-', item.nodeid)[-_FILE_NAME_CHARACTERS:]}.txt"
            report.sections.append(
                (TITLE, write(used, file, since=began, shown_from=item.config.invocation_params.dir))
            )
    return report


def used_by(item: pytest.Item) -> Used:
    """Return what a test used: noted by its fixtures, and told by their names."""
    used = Used()
    for node in item.listchain():
        used.add(node.stash.get(_used, Used()))
    for name in getattr(item, "fixturenames", ()):
        used.services |= _SERVICES.get(name, set())
    return used
