"""A gateway's spool, journal and link on a real file system against a real HTTP peer."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from gateway.clock import utc_now
from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.hub import HubClient
from gateway.identity import enrol, load_signing_identity
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow, add_instance
from gateway.link import HubLink
from gateway.operations import Asker, change_study_lane
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid, new_uid
from storage.contract.lanes import Lane
from tests.integration.gateway_link.hub_stand_in import CODE, HubStandIn

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")


def make_settings(spool_dir: Path, url: str, **changes: object) -> GatewaySettings:
    return GatewaySettings(
        **{
            "spool_dir": spool_dir,
            "hub": {"url": url, "long_poll_s": 1, "retry_delay_max_s": 0.3, "custody_report_s": 0.5},
            "dicom": {"port": 0, "host": "127.0.0.1", "allowed_calling_ae_titles": ["CT1"], "disk_floor_bytes": 0},
            "quiet_period_s": 0.2,
            "console": {"enabled": False},
            **changes,
        }
    )


@dataclass
class Clinic:
    """An enrolled gateway's parts, as one process would hold them."""

    spool_dir: Path
    hub: HubStandIn
    journal: Journal
    spool: Spool
    links: list[HubLink] = field(default_factory=list)

    def connect(self, *, clock: Callable[[], datetime] = utc_now, **changes: object) -> HubLink:
        settings = make_settings(self.spool_dir, self.hub.url, **changes)
        loaded = load_signing_identity(self.journal, self.spool_dir)
        assert loaded is not None
        link = HubLink(settings, self.journal, self.spool, *loaded, clock=clock)
        self.links.append(link)
        link.start()
        return link

    def client(self) -> HubClient:
        loaded = load_signing_identity(self.journal, self.spool_dir)
        assert loaded is not None
        return HubClient(self.hub.url, loaded[1], clock=utc_now, connect_timeout_s=60, read_timeout_s=60)

    def disconnect(self) -> None:
        for link in self.links:
            link.stop()
        for link in self.links:
            link.join(time.monotonic() + 60)
        self.links.clear()

    def add_study(
        self,
        *,
        instances: int = 3,
        size_bytes: int = 4000,
        lane: Lane = Lane.ROUTINE,
        chosen: Lane | None = None,
        complete: bool = True,
        wake: HubLink | None = None,
    ) -> Uid:
        """Put a study into the spool the way the receiving side does; `lane` is the scanner's, `chosen` a person's."""
        study_uid, series_uid = new_uid(), new_uid()
        for _ in range(instances):
            self._add_instance(study_uid, series_uid, size_bytes)
        if chosen is not None:
            change_study_lane(self.journal, Asker("technician-1", utc_now()), study_uid, chosen)
        if complete:
            watcher = self.new_watcher(lane, wake)
            watcher.force(study_uid)
            watcher.evaluate_all()
        return study_uid

    def new_watcher(self, lane: Lane = Lane.ROUTINE, wake: HubLink | None = None) -> CompletionWatcher:
        """Return a watcher that knows only what the journal says."""
        settings = CompletionSettings(Patience(60, 60), {"CT1": lane})
        on_ready = wake.study_became_ready if wake else lambda: None
        return CompletionWatcher(self.spool, self.journal, settings, utc_now, on_ready)

    def state_of(self, study_uid: Uid) -> str:
        rows = self.journal.read("SELECT state FROM transfers WHERE study_uid = ?", (study_uid,))
        return rows[0]["state"] if rows else "gone"

    def problem_of(self, study_uid: Uid) -> str:
        rows = self.journal.read("SELECT problem FROM transfers WHERE study_uid = ?", (study_uid,))
        return rows[0]["problem"] or ""

    def _add_instance(self, study_uid: Uid, series_uid: Uid, size_bytes: int) -> None:
        uid = new_uid()
        content = part10(uid, study_uid, series_uid, size_bytes)
        digest = hashlib.sha256(content).hexdigest()
        arriving = self.spool.begin()
        arriving.write(content)
        self.spool.store_incoming(arriving, study_uid, uid)
        row = InstanceRow(
            sop_instance_uid=uid,
            study_uid=study_uid,
            series_uid=series_uid,
            sop_class_uid=CT,
            transfer_syntax_uid=EXPLICIT,
            received_sha256=digest,
            stored_sha256=digest,
            pixel_sha256=None,
            size_bytes=len(content),
            received_at=datetime.now(UTC),
            calling_ae_title="CT1",
            association_id="a1",
            state=SpoolState.INCOMING,
            revision=None,
        )
        with self.journal.transaction() as connection:
            add_instance(connection, row)


def part10(uid: Uid, study_uid: Uid, series_uid: Uid, size_bytes: int) -> bytes:
    """Return an object of about `size_bytes` that no packing makes smaller."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.EncapsulatedDocument = os.urandom(size_bytes)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = CT, uid
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    objects = tmp_path / "objects"
    objects.mkdir()
    stand_in = HubStandIn(objects)
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def clinic(tmp_path: Path, hub: HubStandIn) -> Iterator[Clinic]:
    spool_dir = tmp_path / "spool"
    spool = Spool(spool_dir, RealFiles())
    journal = Journal(spool_dir / "journal.sqlite")
    client = HubClient(hub.url, None, clock=utc_now, connect_timeout_s=60, read_timeout_s=60)
    enrol(journal, spool_dir, client, CODE, clock=utc_now)
    client.close()
    parts = Clinic(spool_dir, hub, journal, spool)
    yield parts
    parts.disconnect()
