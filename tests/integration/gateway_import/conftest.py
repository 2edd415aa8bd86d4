"""A receiving gateway with its importer, on a fresh spool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import SpoolFull
from gateway.importing import Importer
from gateway.journal import imports
from gateway.journal.imports import ImportRow, ImportState
from gateway.spool.durable import DurableFile
from storage.contract.lanes import Lane
from tests.integration.gateway_receive.receiving import ReceivingGateway, utc_now

OBJECT_BYTES_MAX = 1024 * 1024


@dataclass
class ImportingGateway:
    """Spool, journal, watcher and importer; `run` does what waits in the calling thread."""

    receiving: ReceivingGateway
    disk_is_full: bool = False

    def importer(self) -> Importer:
        return Importer(
            self.receiving.journal,
            self.receiving.server.receiver,
            self._begin,
            object_bytes_max=OBJECT_BYTES_MAX,
            clock=utc_now,
            on_end=self.receiving.watcher.notice_change,
        )

    def _begin(self) -> DurableFile:
        if self.disk_is_full:
            raise SpoolFull("no room in this test")
        return self.receiving.spool.begin()

    def ask(
        self, source: Path, lane: Lane | None = None, *, remove_source: bool = False, order_id: str | None = None
    ) -> str:
        return imports.add_import(
            self.receiving.journal,
            source,
            started_by="t1",
            now=utc_now(),
            lane=lane,
            remove_source=remove_source,
            order_id=order_id,
        )

    def run(self, source: Path, lane: Lane | None = None, *, order_id: str | None = None) -> ImportRow:
        import_id = self.ask(source, lane, order_id=order_id)
        self.importer().step()
        return self.row(import_id)

    def row(self, import_id: str) -> ImportRow:
        row = imports.find_import(self.receiving.journal, import_id)
        assert row is not None
        return row

    def reasons(self, row: ImportRow) -> dict[str, int]:
        return {finding.reason: finding.files for finding in imports.findings_of(self.receiving.journal, row.import_id)}

    def held_uids(self) -> set[str]:
        return {row["sop_instance_uid"] for row in self.receiving.journal.read("SELECT * FROM instances")}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ImportingGateway]:
    receiving = ReceivingGateway(tmp_path / "gateway").start()
    yield ImportingGateway(receiving)
    receiving.stop()


def assert_done(row: ImportRow, **counts: int) -> None:
    assert row.state is ImportState.DONE
    assert {name: getattr(row, name) for name in counts} == counts
