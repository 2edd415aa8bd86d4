"""Key images and measurements as part of a case: who adds them, what the desk shows, what a report was signed with.

Durable: a row for each document, written in the transaction that commits its bytes. The document itself stays in the
study for ever; `removed_at` only takes it out of the report. What a report was signed with never changes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from reading_queue.db.tables import CaseEvidence, CaseStudy, ReadingTask
from reading_queue.domain.evidence_content import Finding, MarkedImage
from reading_queue.errors import NotFound, NotHolder
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import PATIENT_RECORD, audit, get_task_locked
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import require_holder
from storage.catalogue.tables import Instance, Series, Study
from storage.contract.manifest import InstanceEntry
from storage.contract.rejection_codes import KEY_OBJECT_SELECTION
from storage.contract.signed_report import ReportedEvidence, ReportedFinding


@dataclass(frozen=True, slots=True)
class Holding:
    """A physician's claim of the case that evidence is added to."""

    viewer: Viewer
    case_id: str
    reading_task_id: str


class Document(Protocol):
    """What `keep_for_case` needs to know of one document."""

    @property
    def entry(self) -> InstanceEntry:
        """Which instance it is."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What it says."""


class Place(NamedTuple):
    """Where an image stands in its study; numbers as the headers say."""

    study_uid: str
    series_uid: str
    series_number: int | None
    instance_number: int | None
    sop_class_uid: str


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """A key image or measurement with where its image stands in the study; empty where the catalogue has none."""

    finding: Finding
    study_uid: str = ""
    series_uid: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    sop_class_uid: str = ""

    @property
    def image(self) -> MarkedImage | None:
        """Return the image that it is about."""
        return self.finding.image


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """One document as the desk shows it; `report_id` is that of the version it was signed with."""

    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    is_key_images: bool
    findings: tuple[ShownFinding, ...]
    added_at: datetime
    report_id: str | None


def find_holdings(session: Session, viewer: Viewer, study_uid: str, now: datetime) -> dict[str, Holding]:
    """Return by site the cases with this study that the viewer holds at this moment."""
    held = (
        select(CaseStudy.site_id, ReadingTask.case_id, ReadingTask.reading_task_id)
        .join(ReadingTask, ReadingTask.case_id == CaseStudy.case_id)
        .where(CaseStudy.study_uid == study_uid, ReadingTask.holder_id == viewer.physician_id)
        .where(ReadingTask.state == "in_progress", ReadingTask.lease_expires_at > now)
    )
    return {site_id: Holding(viewer, case_id, task_id) for site_id, case_id, task_id in session.execute(held)}


def keep_for_case(
    session: Session, holding: Holding, site_id: str, documents: Iterable[Document], now: datetime
) -> None:
    """Write that the documents belong to the case. Raises NotHolder when the claim has ended."""
    task, _ = get_task_locked(session, holding.reading_task_id)
    author_id = require_holder(holding.viewer, task)
    if task.lease_expires_at is None or task.lease_expires_at <= now:
        raise NotHolder
    for document in documents:
        row = CaseEvidence(
            site_id=site_id,
            sop_instance_uid=document.entry.sop_instance_uid,
            sop_class_uid=document.entry.sop_class_uid,
            case_id=holding.case_id,
            reading_task_id=holding.reading_task_id,
            author_id=author_id,
            findings=[finding.as_json() for finding in document.findings],
            added_at=now,
            removed_at=None,
            report_id=None,
        )
        session.merge(row)  # the bytes of a damaged one may come again


def list_evidence(session: Session, case_id: str) -> tuple[EvidenceView, ...]:
    """Return what is in the case's report, oldest first; only what the catalogue holds."""
    rows = session.execute(
        select(CaseEvidence, Study.study_uid)
        .join(
            Instance,
            (Instance.site_id == CaseEvidence.site_id) & (Instance.sop_instance_uid == CaseEvidence.sop_instance_uid),
        )
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .where(CaseEvidence.case_id == case_id, CaseEvidence.removed_at.is_(None))
        .order_by(CaseEvidence.added_at, CaseEvidence.sop_instance_uid)
    ).all()
    found = {row.sop_instance_uid: [Finding.from_json(one) for one in row.findings] for row, _ in rows}
    uids = {one.image.sop_instance_uid for findings in found.values() for one in findings if one.image is not None}
    places = _find_places(session, case_id, uids)
    return tuple(
        EvidenceView(
            study_uid=study_uid,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            is_key_images=row.sop_class_uid == KEY_OBJECT_SELECTION,
            findings=tuple(_show(one, places) for one in found[row.sop_instance_uid]),
            added_at=row.added_at,
            report_id=row.report_id,
        )
        for row, study_uid in rows
    )


def remove_evidence(hub: Hub, viewer: Viewer, reading_task_id: str, sop_instance_uid: str) -> None:
    """Take a document out of the report of a held case; it stays in the study, and doing so twice is fine.

    Raises:
        NotHolder: the claim has ended.
        NotFound: the case has no such document, or a report was signed with it.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        row = session.get(CaseEvidence, (case.site_id, sop_instance_uid))
        if row is None or row.case_id != case.case_id or row.report_id is not None:
            raise NotFound("there is no such key image or measurement in this report")
        if row.removed_at is None:
            row.removed_at = now
            audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="evidence_removed")


def load_reported(session: Session, case_id: str) -> tuple[ReportedEvidence, ...]:
    """Return the key images and measurements that are in the report now, in the form in which they are signed."""
    return tuple(
        ReportedEvidence(
            study_uid=view.study_uid,
            sop_class_uid=view.sop_class_uid,
            sop_instance_uid=view.sop_instance_uid,
            findings=tuple(map(_reported, view.findings)),
        )
        for view in list_evidence(session, case_id)
        if view.findings
    )


def sign_evidence(session: Session, case_id: str, report_id: str) -> None:
    """Tie what is in the report now to the version that is being signed; the caller has locked the case."""
    open_ones = (CaseEvidence.case_id == case_id, CaseEvidence.removed_at.is_(None), CaseEvidence.report_id.is_(None))
    session.execute(update(CaseEvidence).where(*open_ones).values(report_id=report_id))


def _find_places(session: Session, case_id: str, uids: Iterable[str]) -> dict[str, Place]:
    """Return where images of the case stand, by UID."""
    place = Study.study_uid, Series.series_uid, Series.number, Instance.number, Instance.sop_class_uid
    rows = session.execute(
        select(Instance.sop_instance_uid, *place)
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .join(CaseStudy, (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid))
        .where(CaseStudy.case_id == case_id, Instance.sop_instance_uid.in_(sorted(uids)))
    )
    return {uid: Place(*found) for uid, found in ((row[0], row[1:]) for row in rows)}


def _show(finding: Finding, places: Mapping[str, Place]) -> ShownFinding:
    place = places.get(finding.image.sop_instance_uid) if finding.image is not None else None
    return ShownFinding(finding, *place) if place is not None else ShownFinding(finding)


def _reported(shown: ShownFinding) -> ReportedFinding:
    finding = shown.finding
    return ReportedFinding(
        sop_class_uid=shown.sop_class_uid,
        sop_instance_uid=finding.image.sop_instance_uid if finding.image is not None else "",
        frame=finding.image.frame if finding.image is not None else None,
        series_number=shown.series_number,
        instance_number=shown.instance_number,
        concept=finding.concept,
        code=finding.code,
        value=finding.value,
        unit=finding.unit,
    )
