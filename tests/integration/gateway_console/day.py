"""A day at a clinic as its journal has it: studies at every place of their road, a report, what went wrong."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from datetime import timedelta

from pydicom.dataset import Dataset, FileMetaDataset

from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.custody import add_custody
from gateway.journal.database import to_text
from gateway.journal.hub_news import add_hub_events
from gateway.journal.instances import InstanceRow, add_instance, add_quarantine
from gateway.journal.returns import announce, mark_fetched
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from reading_queue.documents.envelope import build_signed_report
from reading_queue.domain.report import ReportContent
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, SiteId, Uid, new_id, new_uid
from storage.contract.wire import DocumentDescriptor, DocumentKind, HubEvent, SignedDescriptor
from tests.integration.gateway_console.conftest import Clinic
from tests.support.reports import report_content, reported_study

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")
MEGABYTE = 1_000_000
PDF = b"%PDF-1.7 the report\n%%EOF"


@dataclass
class Day:
    """Fills the journal of one clinic; every study gets the next number."""

    clinic: Clinic
    number: int = 0
    events: int = 0
    cursor: int = 0
    studies: list[Uid] = field(default_factory=list)
    order_id: str = ""

    def study(self, name: str = "Zhang^San=张^三", *, images: int = 3, state: str = "incoming", **columns: str) -> Uid:
        """Put a study into the journal with its instances in this place."""
        self.number += 1
        now, study_uid, series_uid = self.clinic.clock(), new_uid(), new_uid()
        with self.clinic.journal.transaction() as connection:
            connection.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    study_uid,
                    columns.get("patient_number", f"P{self.number:04}"),
                    name,
                    "1962-05-04",
                    "M",
                    columns.get("accession_number", f"T01{self.number:04}"),
                    "",
                    columns.get("description", "胸部CT平扫"),
                    "2026-03-02",
                    "080000",
                    "",
                    "GB18030",
                    columns.get("repair"),
                    to_text(now),
                ),
            )
            connection.execute(
                "INSERT INTO series VALUES (?, ?, 'CT', 1, '肺窗 5mm', 'CHEST')", (series_uid, study_uid)
            )
            for number in range(images):
                row = self._instance(study_uid, series_uid, number, state)
                add_instance(connection, row)
            add_custody(connection, Hop.RECEIVED, study_uid, now, {"instances": images, "calling_ae_title": "CT1"})
        self.studies.append(study_uid)
        self.clinic.clock.advance(1)
        return study_uid

    def transfer(self, study_uid: Uid, state: str, *, lane: str = "routine", sent: int = 0, packs: int = 4) -> None:
        """Put a transfer of the study into the journal, `sent` of its packs of a megabyte uploaded."""
        now = to_text(self.clinic.clock())
        manifest = json.dumps({"instances": [{}, {}, {}]})
        with self.clinic.journal.transaction() as connection:
            connection.execute(
                "INSERT INTO transfers (study_uid, revision, lane, manifest, state, completed_at, next_attempt_at,"
                " needed_bytes) VALUES (?, 1, ?, ?, ?, ?, ?, ?)",
                (study_uid, lane, manifest, state, now, now, packs * MEGABYTE),
            )
            connection.executemany(
                "INSERT INTO packs (study_uid, revision, pack_sha256, size_bytes, sop_instance_uids, state)"
                " VALUES (?, 1, ?, ?, '[]', ?)",
                [(study_uid, new_id(), MEGABYTE, "uploaded" if n < sent else "planned") for n in range(packs)],
            )
            add_custody(connection, Hop.COMPLETED, study_uid, self.clinic.clock(), {"because": "quiet_period"})
            place = "kept" if state == "confirmed" else "ready"
            connection.execute("UPDATE instances SET state = ?, revision = 1 WHERE study_uid = ?", (place, study_uid))

    def problem(self, study_uid: Uid, words: str, attempts: int = 5) -> None:
        with self.clinic.journal.transaction() as connection:
            connection.execute(
                "UPDATE transfers SET problem = ?, attempts = ? WHERE study_uid = ?", (words, attempts, study_uid)
            )

    def at_hub(self, study_uid: Uid, *hops: str) -> None:
        """Have the hub tell these events of the study."""
        told = []
        for hop in hops:
            self.events += 1
            at = self.clinic.clock.advance(1)
            told.append(HubEvent(event_id=self.events, study_uid=study_uid, hop=hop, at=at, actor_name="李明"))
        add_hub_events(self.clinic.journal, told, self.clinic.clock())

    def report(
        self,
        study_uid: Uid,
        *,
        version: int = 1,
        case_id: str = "case1",
        targets: tuple[str, ...] = (),
        own_targets: tuple[str, ...] = (),
        content: ReportContent | None = None,
    ) -> str:
        """Have a signed report come home, its PDF for `targets`, its JSON for `own_targets`; return the JSON's id."""
        about = {"case_id": case_id, "report_version": version, "studies": (reported_study(study_uid=study_uid),)}
        content = (content or report_content()).model_copy(update=about)
        signature = {"role": "verifier", "alg": "Ed25519", "key_id": "k", "value": "v"}
        envelope = build_signed_report(content.canonical(), [signature])
        json_id = self._document(study_uid, case_id, version, DocumentKind.REPORT_JSON, envelope, own_targets)
        self._document(study_uid, case_id, version, DocumentKind.PDF, _encapsulated(PDF), targets)
        return json_id

    def refuse(self, ae_title: str = "CT9", reason: str = "", remedy: str = "") -> None:
        refusal = Refusal(
            at=self.clinic.clock(),
            calling_ae_title=ae_title,
            peer_address="192.168.1.9",
            status=None,
            reason=reason or "The calling AE title is not on this gateway's list",
            remedy=remedy or "Set COUNTERPART as the destination's AE title on the device.",
        )
        with self.clinic.journal.transaction() as connection:
            record_refusal(connection, refusal)

    def quarantine(self, study_uid: Uid | None) -> str:
        arriving = self.clinic.desk.spool.begin()
        arriving.write(new_id().encode())
        arriving.seal()
        reason = QuarantineReason(
            code="dataset_truncated",
            words="Dataset ends in the middle of an element",
            remedy="The file is cut off at the sender; export it again. The object is in quarantine.",
            at=to_text(self.clinic.clock()),
            study_uid=study_uid,
            sop_instance_uid=None,
            calling_ae_title="CT1",
        )
        quarantine_id = self.clinic.desk.spool.quarantine(arriving.path, reason)
        with self.clinic.journal.transaction() as connection:
            add_quarantine(connection, quarantine_id, reason, self.clinic.clock())
        return quarantine_id

    def _instance(self, study_uid: Uid, series_uid: Uid, number: int, state: str) -> InstanceRow:
        digest = Sha256Hex(hashlib.sha256(f"{study_uid} {number}".encode()).hexdigest())
        return InstanceRow(
            sop_instance_uid=new_uid(),
            study_uid=study_uid,
            series_uid=series_uid,
            sop_class_uid=CT,
            transfer_syntax_uid=EXPLICIT,
            received_sha256=digest,
            stored_sha256=digest,
            pixel_sha256=None,
            size_bytes=MEGABYTE,
            received_at=self.clinic.clock(),
            calling_ae_title="CT1",
            association_id="a1",
            state=SpoolState(state),
            revision=None,
        )

    def _document(
        self, study_uid: Uid, case_id: str, version: int, kind: DocumentKind, content: bytes, targets: tuple[str, ...]
    ) -> str:
        self.cursor += 1
        now = self.clinic.clock.advance(1)
        descriptor = DocumentDescriptor(
            document_id=f"{case_id}-{version}-{kind}".replace("_", "-"),
            site_id=SiteId("qinghe"),
            case_id=case_id,
            report_version=version,
            study_uids=(study_uid,),
            kind=kind,
            media_type="application/json",
            sop_instance_uid=None,
            sha256=Sha256Hex(hashlib.sha256(content).hexdigest()),
            size_bytes=len(content),
            created_at=now.isoformat(),
        )
        signed = SignedDescriptor(
            cursor=self.cursor, canonical=descriptor.model_dump_json(), hub_key_id="hub", signature="s"
        )
        announce(self.clinic.journal, signed, descriptor, now)
        self.clinic.desk.documents.save_document(descriptor, content)
        mark_fetched(self.clinic.journal, descriptor, targets, now)
        return descriptor.document_id


def whole_day(clinic: Clinic) -> Day:
    """Return a day with a study at every place of the road."""
    day = Day(clinic)
    clinic.clock.advance(3600)
    for number, (name, hops) in enumerate(
        [
            ("Wang^Wu=王^五", ("offered",)),
            ("Zhao^Yan=赵^䶮", ("offered", "claimed")),
            ("Qian^Qi=钱^七", ("claimed", "submitted", "review_offered", "review_claimed")),
            ("Sun^Ba=孙^八", ("unroutable",)),
        ]
    ):
        study_uid = day.study(name, images=120 + number, description="头颅CT平扫" if number % 2 else "胸部CT平扫")
        day.transfer(study_uid, "confirmed", sent=4)
        day.at_hub(study_uid, *hops)
    reported = day.study("Zhang^San=张^三", images=64)
    day.transfer(reported, "confirmed", sent=4)
    day.at_hub(reported, "offered", "claimed", "submitted", "signed", "rendered")
    day.report(reported, targets=("pacs:main",))
    stuck = day.study("Zhou^Jiu=周^九", images=200)
    day.transfer(stuck, "declared", sent=1)
    day.problem(stuck, "hub.example cannot be reached: TimeoutError")
    stat = day.study("Wu^Shi=吴^十", images=80, repair="GB18030", description="胸腹主动脉CTA")
    day.transfer(stat, "declared", lane="stat", sent=3)
    waiting = day.study("Ouyang^Ruo Lan=欧阳^若兰", images=320, description="双膝关节MR平扫+压脂序列")
    day.transfer(waiting, "ready")
    day.study("Li^Si=李^四", images=17)
    day.refuse()
    day.refuse()
    day.quarantine(stuck)
    clinic.clock.advance(60)
    with clinic.journal.transaction() as connection:
        connection.execute(
            "UPDATE line SET measured_bytes_per_s = 500000, streams = 2, unreachable_since = ?,"
            " unreachable_because = 'hub.example cannot be reached: TimeoutError', reached_at = ?",
            (to_text(clinic.clock() - timedelta(minutes=5)), to_text(clinic.clock() - timedelta(minutes=6))),
        )
    return day


def _encapsulated(pdf: bytes) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.104.1", new_uid()
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
