"""Corrections that people make: merge patients, move a study, reject images, say who is right, take it back.

Durable: first the row, with everything that follows from it, then the object; nobody is answered before both. What a
killed process left out of object storage the scheduler writes there. Who asks again for what is so already gets the
same correction, and may be sure that it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.errors import Conflict, NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.corrections.amending import amend, put_record, record_amendments, record_of
from reading_queue.services.holdings.retention import checked_reason, require_recent
from reading_queue.services.hub import Hub
from reading_queue.services.motion.turns import alone_with, name_of_patient, name_of_study
from storage.catalogue.amending import find_patient, next_amendment_number
from storage.catalogue.amendment_records import (
    About,
    AmendmentRecord,
    Identity,
    KnownPatient,
    PatientMerge,
    StudyMove,
    Withdrawal,
)
from storage.catalogue.amendment_tables import Amendment, Refiling
from storage.catalogue.filing import find_merged
from storage.catalogue.indexing import next_number
from storage.catalogue.tables import Patient, Study
from storage.contract.identifiers import SiteId, Uid, new_id

LISTED_MAX: Final = 200
WITHDRAWABLE: Final = ("merge", "move", "rejection")


@dataclass(frozen=True, slots=True)
class AmendmentView:
    """One correction as people read it; `study_uid` is empty of what is about patients."""

    amendment_id: str
    site_id: str
    study_uid: str
    number: int
    kind: str
    content: dict[str, Any]
    reason: str
    made_by: str | None
    made_at: datetime
    withdrawn_by_id: str | None


def list_amendments(hub: Hub, viewer: Viewer, site_id: str, study_uid: str | None = None) -> list[AmendmentView]:
    """Return the corrections of a study, or of all of a site, the newest first, at most LISTED_MAX.

    Raises:
        NotFound: the viewer does not oversee the site.
    """
    with hub.transaction() as session:
        _require_site(session, hub, viewer, site_id)
        query = select(Amendment).where(Amendment.site_id == site_id)
        if study_uid is not None:
            query = query.where(Amendment.study_uid == study_uid)
        rows = session.scalars(query.order_by(Amendment.step.desc()).limit(LISTED_MAX)).all()
    return [
        AmendmentView(
            row.amendment_id,
            row.site_id,
            row.study_uid,
            row.number,
            row.kind,
            row.content,
            row.reason,
            row.made_by,
            row.made_at,
            row.withdrawn_by_id,
        )
        for row in rows
    ]


def merge_patients(hub: Hub, viewer: Viewer, site_id: str, from_number: str, into_number: str, reason: str) -> str:
    """Let all studies under one number, those to come too, belong to another one; return the correction's id.

    Raises:
        NotFound: the viewer does not oversee the site, or it has no patient of one of the numbers.
        Conflict: the first was merged elsewhere, or the second into the first.
        Invalid, ReauthenticationNeeded, Forbidden: as for holds.
    """

    def decide(session: Session) -> About | Amendment:
        merged, surviving = (_get_patient(session, site_id, number) for number in (from_number, into_number))
        if merged.merged_into_id is not None:
            known = _find_last(session, site_id, "", "merge", {"from_number": from_number})
            if merged.merged_into_id == surviving.patient_id and known is not None:
                return known
            raise Conflict("this patient was merged into another one; withdraw that first")
        if merged.patient_id in _chain(session, surviving):
            raise Conflict("these are one patient's numbers already")
        return PatientMerge(from_number=from_number, into_number=into_number)

    return _make(hub, viewer, site_id, None, reason, (from_number, into_number), decide)


def move_study(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, to_number: str, reason: str) -> str:
    """Let a study belong to another patient of its site; return the correction's id.

    Raises:
        NotFound: there is no such study, or no patient of this number.
        and as `merge_patients`.
    """

    def decide(session: Session) -> About | Amendment:
        study = _get_study(session, site_id, study_uid)
        patient = _get_patient(session, site_id, to_number)
        refiling = session.get(Refiling, study.study_id)
        if refiling is not None and refiling.filed_under_id == patient.patient_id:
            before = _find_last(session, site_id, study_uid, "move", {"to_number": to_number})
            if before is not None:
                return before
        if study.patient_id == patient.patient_id:
            raise Conflict("the study belongs to this patient already")
        known = KnownPatient(name=patient.name, birth_date=patient.birth_date, sex=patient.sex)
        return StudyMove(to_number=to_number, patient=known)

    return _make(hub, viewer, site_id, study_uid, reason, (to_number,), decide)


def settle_identity(hub: Hub, viewer: Viewer, site_id: str, patient_number: str, keep: str, reason: str) -> str:
    """Say of a contradicted record whether what it `held` is right or the `new` study; return the correction's id.

    Studies that say another birth date or sex are shown with the right one from now on. One that is another person's
    is moved instead.

    Raises:
        NotFound: there is no patient of this number.
        Conflict: nothing contradicts the record.
        and as `merge_patients`.
    """

    def decide(session: Session) -> About | Amendment:
        patient = _get_patient(session, site_id, patient_number)
        if patient.contradicted_at is None:
            known = _find_last(session, site_id, "", "identity", {"patient_number": patient_number, "keep": keep})
            if known is not None:
                return known
            raise Conflict("nothing contradicts this patient's record")
        return Identity.model_validate(
            {
                "patient_number": patient_number,
                "keep": keep,
                "contradicting_study_uid": patient.contradicting_study_uid,
            }
        )

    return _make(hub, viewer, site_id, None, reason, (patient_number,), decide)


def withdraw(hub: Hub, viewer: Viewer, amendment_id: str, reason: str) -> str:
    """Let a merge, move or rejection count no more; return the withdrawal's id.

    Raises:
        NotFound: there is no such correction of the sites that the viewer oversees.
        Conflict: it cannot be withdrawn, or a later one must be withdrawn first.
    """
    with hub.transaction() as session:
        row = session.get(Amendment, amendment_id)
    if row is None:
        raise NotFound("there is no such correction")

    def decide(session: Session) -> About | Amendment:
        current = session.get_one(Amendment, amendment_id, populate_existing=True)
        if current.withdrawn_by_id is not None:
            return session.get_one(Amendment, current.withdrawn_by_id)
        if current.kind not in WITHDRAWABLE:
            raise Conflict("this cannot be withdrawn; make another correction")
        return Withdrawal(amendment_id=amendment_id)

    numbers = [value for name, value in row.content.items() if name in ("from_number", "into_number", "to_number")]
    return _make(hub, viewer, row.site_id, row.study_uid or None, reason, numbers, decide)


def _make(
    hub: Hub,
    viewer: Viewer,
    site_id: str,
    study_uid: str | None,
    reason: str,
    numbers: Sequence[str],
    decide: Any,
) -> str:
    """Make the correction that `decide` says, or find the one it returns; write its object, then return its id."""
    now, words = hub.clock(), checked_reason(reason)
    with hub.transaction() as session:
        _require_site(session, hub, viewer, site_id)
    require_recent(hub, viewer, now)
    with _alone(hub, site_id, study_uid, numbers):
        with hub.transaction() as session:
            decided = decide(session)
            if isinstance(decided, Amendment):
                record = record_of(decided)
            else:
                record = AmendmentRecord(
                    amendment_id=new_id(),
                    site_id=SiteId(site_id),
                    study_uid=None if study_uid is None else Uid(study_uid),
                    number=next_amendment_number(session, site_id, study_uid),
                    step=next_number(session),
                    made_by=viewer.account_id,
                    made_at=now,
                    reason=words,
                    about=decided,
                )
                amend(session, hub, record, is_recorded=False)
        put_record(hub, record)
    record_amendments(hub)
    return record.amendment_id


@contextmanager
def _alone(hub: Hub, site_id: str, study_uid: str | None, numbers: Sequence[str]) -> Iterator[None]:
    """Be alone with the site's corrections, the study and every patient concerned, so that the order is recorded."""
    with alone_with(hub, f"amendments:{site_id}") as turn:
        with hub.transaction() as session:
            concerned = _find_concerned(session, site_id, study_uid, numbers)
        studies = () if study_uid is None else (name_of_study(site_id, study_uid),)
        with turn.also(*studies, *(name_of_patient(site_id, number) for number in concerned)):
            yield


def _find_concerned(session: Session, site_id: str, study_uid: str | None, numbers: Sequence[str]) -> list[str]:
    """Return the numbers of all records that the correction may change, or that were merged into one of them."""
    of_number = (Patient.site_id == site_id) & Patient.patient_number.in_(numbers)
    ids = set(session.scalars(select(Patient.patient_id).where(of_number)))
    if study_uid is not None:
        study = _get_study(session, site_id, study_uid)
        refiling = session.get(Refiling, study.study_id)
        ids |= {study.patient_id} | ({refiling.own_patient_id} if refiling is not None else set())
    every = {merged for one in ids for merged in find_merged(session, one)}
    found = session.scalars(select(Patient.patient_number).where(Patient.patient_id.in_(every)))
    return sorted({*found, *numbers})


def _chain(session: Session, patient: Patient) -> list[str]:
    """Return the id of the record, and of those that it was merged into, one after the other."""
    ids = [patient.patient_id]
    while patient.merged_into_id is not None:
        patient = session.get_one(Patient, patient.merged_into_id)
        ids.append(patient.patient_id)
    return ids


def _find_last(session: Session, site_id: str, study_uid: str, kind: str, content: dict[str, str]) -> Amendment | None:
    """Return the last correction that counts and says this."""
    query = select(Amendment).where(
        Amendment.site_id == site_id,
        Amendment.study_uid == study_uid,
        Amendment.kind == kind,
        Amendment.withdrawn_by_id.is_(None),
        Amendment.content.contains(content),
    )
    return session.scalars(query.order_by(Amendment.number.desc()).limit(1)).one_or_none()


def _require_site(session: Session, hub: Hub, viewer: Viewer, site_id: str) -> None:
    require(viewer, *WITH_OVERSIGHT)
    if site_id not in visible_sites(session, viewer, hub.clock()):
        raise NotFound("there is no such site, or you do not oversee it")


def _get_study(session: Session, site_id: str, study_uid: str) -> Study:
    of_study = (Study.site_id == site_id) & (Study.study_uid == study_uid)
    study = session.scalars(select(Study).where(of_study)).one_or_none()
    if study is None:
        raise NotFound("there is no such study, or you may not see it")
    return study


def _get_patient(session: Session, site_id: str, number: str) -> Patient:
    patient = find_patient(session, site_id, number)
    if patient is None:
        raise NotFound("this site has no patient of this number")
    return patient
