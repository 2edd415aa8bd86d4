"""A study, or all of its patient's, handed out: who may, who did and why, as a folder or as one ZIP archive.

Durable: the audit trail says before the first byte who took what and why, and after the last one what came of it. A
folder or an archive is written beside its place, fsynced, and renamed when it is whole; what breaks off leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from reading_queue.db.tables import CaseStudy, Document, Report
from reading_queue.errors import Conflict, NotFound, Unavailable
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.clinic import EXPORT
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.holdings.export_contents import Contents, Form, ReportFile, StoredInstance, members
from reading_queue.services.holdings.retention import checked_reason
from reading_queue.services.hub import Hub
from reading_queue.services.reading.priors import same_person
from reading_queue.services.reports.report_documents import object_key
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.wire import DocumentKind
from storage.dicom.person_name import display_name
from storage.ledger.tables import AuditEvent
from storage.media.names import safe_name
from storage.media.zip_stream import zip_pieces

DISK_FLOOR_BYTES: Final = 256 * 1024**2  # what an export leaves free where it is written


class NoRoom(Unavailable):
    """There is not enough room for the export where it is to be written."""

    code = "no_room"


class DestinationTaken(Conflict):
    """Something of this name is there already; an export replaces nothing."""

    code = "destination_taken"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be exported, why, and how."""

    site_id: str
    study_uid: str
    reason: str
    form: Form = Form.RECEIVED
    whole_patient: bool = False
    with_reports: bool = False
    with_names: bool = False


class Export:
    """One export, allowed and in the audit trail."""

    def __init__(self, hub: Hub, viewer: Viewer, wish: Wish, contents: Contents) -> None:
        self._hub, self._viewer, self._wish, self.contents = hub, viewer, wish, contents

    def zip(self) -> Generator[bytes]:
        """Yield the export as a ZIP archive; how it ended is in the audit trail even when nobody takes all of it.

        Raises:
            StoreUnavailable: object storage did not answer; what was yielded is no archive.
        """
        with self._told():
            yield from zip_pieces(members(self._hub, self.contents), self.contents.begun_at)

    def write_zip(self, target: Path) -> None:
        """Write the archive under this name, whole or not at all.

        Raises:
            NoRoom, DestinationTaken: nothing was written.
            StoreUnavailable: as `zip`.
        """
        aside = self._aside(target)
        try:
            with aside.open("xb") as file:
                for piece in self.zip():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(target)
            _sync(target.parent)
        finally:
            aside.unlink(missing_ok=True)

    def write_folder(self, target: Path) -> None:
        """Write the files into a new folder of this name, all or none.

        Raises:
            NoRoom, DestinationTaken: nothing was written.
            StoreUnavailable: as `zip`.
        """
        aside = self._aside(target)
        try:
            with self._told():
                for member in members(self._hub, self.contents):
                    path = aside.joinpath(*member.path)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with member.file, path.open("xb") as file:
                        file.writelines(member.chunks())
                        file.flush()
                        os.fsync(file.fileno())
            for folder, _, _ in os.walk(aside):
                _sync(Path(folder))
            aside.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _aside(self, target: Path) -> Path:
        if target.exists():
            raise DestinationTaken
        folder = target.parent
        if not folder.is_dir():
            raise NotFound("there is no folder to write the export into")
        needed = self.contents.expected_bytes + DISK_FLOOR_BYTES
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise NoRoom(f"the export needs about {needed >> 20} MiB where it is to be written; {free >> 20} are free")
        return folder / f".{target.name}.{uuid.uuid4().hex}.partial"

    @contextmanager
    def _told(self) -> Iterator[None]:
        outcome = "failure"
        try:
            yield
            outcome = "success"
        finally:
            found = self.contents
            if found.problems:
                outcome = "failure"
            with self._hub.transaction() as session:
                now = self._hub.clock()
                detail = {"step": "ended", "exported": found.exported, "left_out": len(found.problems)}
                _audit(session, now, self._viewer, self._wish, outcome, detail)


def begin(hub: Hub, viewer: Viewer, wish: Wish) -> Export:
    """Return the export, after its beginning was written to the audit trail with who and why.

    Raises:
        Forbidden: the viewer is neither coordinator nor administrator.
        NotFound: there is no such study of the sites that the viewer oversees, or nothing of it is stored.
        Invalid: the reason says nothing.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    reason = checked_reason(wish.reason)
    with hub.transaction() as session:
        if wish.site_id not in visible_sites(session, viewer, now):
            raise NotFound("there is no such study, or you may not see it")
        asked = session.scalars(
            select(Study).where(Study.site_id == wish.site_id, Study.study_uid == wish.study_uid)
        ).one_or_none()
        if asked is None:
            raise NotFound("there is no such study, or you may not see it")
        studies = _studies(session, asked) if wish.whole_patient else [asked.study_id]
        contents = Contents(
            instances=_instances(session, studies),
            reports=_reports(session, studies) if wish.with_reports else [],
            form=wish.form,
            patient_folder=_patient_folder(session, asked) if wish.with_names else None,
            begun_at=now,
        )
        detail = {
            "step": "begun",
            "reason": reason,
            "form": wish.form.value,
            "studies": len(studies),
            "instances": len(contents.instances),
            "reports": wish.with_reports,
            "names": wish.with_names,
        }
        _audit(session, now, viewer, wish, "success", detail)
    return Export(hub, viewer, wish, contents)


def _studies(session: Session, asked: Study) -> list[str]:
    """Return all studies that are surely the same patient's, as readers are shown them."""
    own, other = aliased(Study), aliased(Study)
    beside = select(other.study_id).join(own, same_person(own, other)).where(own.study_id == asked.study_id)
    return sorted({asked.study_id, *session.scalars(beside)})


def _instances(session: Session, studies: list[str]) -> list[StoredInstance]:
    """Return the instances that are shown in the order of their names: by day, series and number."""
    query = (
        select(
            Study.study_uid,
            Study.study_date,
            Study.description,
            Series.modality,
            Series.series_uid,
            Series.number,
            Series.description,
            Instance.sop_instance_uid,
            Instance.transfer_syntax_uid,
            Instance.received_transfer_syntax_uid,
            Instance.received_sha256,
            Instance.stored_sha256,
            Pack.object_key,
            Instance.offset_bytes,
            Instance.size_bytes,
        )
        .join_from(Instance, Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(Study.study_id.in_(studies), Instance.rejection.is_(None))
        .order_by(
            Study.study_date.nulls_last(),
            Study.study_uid,
            Series.number.nulls_last(),
            Series.series_uid,
            Instance.number.nulls_last(),
            Instance.sop_instance_uid,
        )
    )
    return [StoredInstance(*cast("tuple[Any, ...]", row)) for row in session.execute(query)]


def _reports(session: Session, studies: list[str]) -> list[ReportFile]:
    """Return the signed JSON and the printable PDF of every rendered report, oldest version first."""
    query = (
        select(Report, Document)
        .join(Document, Document.report_id == Report.report_id)
        .join(CaseStudy, CaseStudy.case_id == Report.case_id)
        .join(Study, (Study.site_id == CaseStudy.site_id) & (Study.study_uid == CaseStudy.study_uid))
        .where(Study.study_id.in_(studies), Document.kind == DocumentKind.REPORT_JSON)
        .order_by(Report.case_id, Report.report_version)
        .distinct()
    )
    found = []
    for report, document in session.execute(query):
        found.append(ReportFile(document.object_key, "JSN", document.sha256))
        found.append(ReportFile(object_key(report, "report.pdf"), "PDF", None))
    return found


def _patient_folder(session: Session, study: Study) -> str:
    number = session.get_one(Patient, study.patient_id).patient_number
    return safe_name(number, display_name(study.patient_name, "zh"))


def _audit(
    session: Session, now: datetime, viewer: Viewer, wish: Wish, outcome: str, detail: Mapping[str, object]
) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=EXPORT,
            action="R",
            account_id=viewer.account_id,
            object_kind="study",
            object_id=wish.study_uid,
            site_id=wish.site_id,
            outcome=outcome,
            detail=dict(detail),
        )
    )


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
