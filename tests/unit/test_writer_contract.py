"""The embedded engine passes the contract of all engines; the others do in the suite, against the stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_workstation.sink.delta_rs import DeltaRsWriter
from cdc_workstation.sink.location import Location
from tests.writer_contract import WriterContract


class TestEmbedded(WriterContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        return str(tmp_path / "table")

    @pytest.fixture
    def writer(self, tmp_path: Path) -> DeltaRsWriter:
        return DeltaRsWriter(Location(str(tmp_path), "table", {}), 3600.0)
