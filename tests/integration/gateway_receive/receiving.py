"""The receiving half of a gateway, started on port 0."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.journal.database import Journal
from gateway.lanes import requested_by_order
from gateway.scp import DicomServer, ScpSettings
from gateway.scp.services import DicomService
from gateway.spool import FileOperations, RealFiles, Spool
from gateway.spool.rebuild import RebuildReport, rebuild

SETTINGS = ScpSettings(
    ae_title="GATEWAY",
    host="127.0.0.1",
    port=0,
    allowed_calling_ae_titles=frozenset({"CT1", "US1"}),
    associations_max=10,
    object_bytes_max=64 * 1024 * 1024,
    network_timeout_s=60,
    acse_timeout_s=60,
)
PATIENCE = Patience(quiet_period_s=0.3, open_association_max_s=600)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class ReceivingGateway:
    """Spool, journal, listener and watcher over one directory; `forwarded` is set when a study is handed over."""

    directory: Path
    settings: ScpSettings = SETTINGS
    patience: Patience = PATIENCE
    files: FileOperations = field(default_factory=RealFiles)
    disk_floor_bytes: int = 0
    forwarded: threading.Event = field(default_factory=threading.Event)

    def start(self) -> ReceivingGateway:
        self.directory.mkdir(exist_ok=True)
        self.spool = Spool(self.directory / "spool", self.files)
        self.spool.limit(floor_bytes=self.disk_floor_bytes, low_bytes=0, make_room=lambda _: 0)
        self.journal = Journal(self.directory / "journal.sqlite3")
        self.rebuilt: RebuildReport = rebuild(self.spool, self.journal, utc_now)
        self.watcher = CompletionWatcher(
            self.spool,
            self.journal,
            CompletionSettings(self.patience, requested=requested_by_order),
            utc_now,
            self.forwarded.set,
        )
        services = self.make_services()
        self.server = DicomServer(
            self.settings,
            self.spool,
            self.journal,
            utc_now,
            on_instance=self.watcher.notice_instance,
            on_association_end=self.watcher.notice_change,
            services=services,
        )
        self.watcher.start()
        self.port = self.server.start()
        return self

    def make_services(self) -> Sequence[DicomService]:
        """Return what is served beside C-ECHO and C-STORE."""
        return ()

    def stop(self) -> None:
        self.server.stop()
        self.watcher.stop()
        self.journal.close()

    def enrol(self) -> None:
        """Write the identity that enrolment would write: without it nothing is handed over."""
        with self.journal.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO identity VALUES (1, 'g1', 'site-1', 'Site', 'hub', 'k', 'p', ?)",
                (utc_now().isoformat(),),
            )
        self.watcher.notice_change()


def with_settings(**changed: object) -> ScpSettings:
    return replace(SETTINGS, **changed)  # type: ignore[arg-type]


def tmp_is_empty(gateway: ReceivingGateway) -> None:
    """Nothing is left once the association has ended."""
    assert list((gateway.spool.root / "tmp").iterdir()) == []
