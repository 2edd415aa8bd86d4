"""Rejecting images as a person's act: the hub makes the note and stores it in their study, where it takes effect.

Durable: the note, in a pack of the study, with the correction that it is; nobody is answered before both. Done again
after a crash it makes another note, which changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.documents.rejection_note import build_rejection_note
from reading_queue.errors import Conflict, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival.deposit_packs import Destination, bring_home
from reading_queue.services.arrival.inspection import Inspected, inspect
from reading_queue.services.holdings.retention import checked_reason, get_overseen, require_recent
from reading_queue.services.hub import Hub
from storage.catalogue.amendment_tables import Amendment, Refiling
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import Instance, Patient, Series, Study
from storage.contract.identifiers import new_uid
from storage.contract.rejection_codes import REJECTIONS
from storage.dicom.document_parts import EvidenceInstance
from storage.dicomweb.store_answer import ReceivedFile
from storage.ledger.tables import Site


def reject(
    hub: Hub,
    viewer: Viewer,
    site_id: str,
    study_uid: str,
    code: str,
    reason: str,
    *,
    series_uid: str | None = None,
    sop_instance_uids: Collection[str] = (),
) -> str:
    """Reject a study, or one series or some instances of it, for a reason of CID 7011; return the correction's id.

    Raises:
        NotFound: there is no such study of the sites that the viewer oversees, or nothing of it is shown.
        Invalid: the code is none of REJECTIONS, or the reason says nothing.
        Conflict: the note could not be stored.
        StoreUnavailable: do it again later.
    """
    now, words = hub.clock(), checked_reason(reason)
    if code not in REJECTIONS:
        raise Invalid(f"reject for one of {', '.join(REJECTIONS)}")
    with hub.transaction() as session:
        study = get_overseen(session, viewer, site_id, study_uid, now)
        require_recent(hub, viewer, now)
        rejected = _find_rejected(session, study, series_uid, sop_instance_uids)
        patient = _own_patient(session, study)
        zone = ZoneInfo(session.get_one(Site, site_id).time_zone)
    note_uid = new_uid()
    note = build_rejection_note(
        patient,
        rejected,
        rejection=code,
        reason=words,
        sop_instance_uid=note_uid,
        series_uid=new_uid(),
        created_at=now.astimezone(zone),
    )
    refused = _store(hub, Destination(site_id, study_uid, "evidence", viewer.account_id), note, now)
    if refused:
        raise Conflict(f"the rejection note was not stored: {refused}")
    with hub.transaction() as session:
        return _find_amendment(session, site_id, study_uid, note_uid)


def _find_rejected(
    session: Session, study: Study, series_uid: str | None, sop_instance_uids: Collection[str]
) -> list[EvidenceInstance]:
    """Return the instances that are shown now and that the note is to name; raises NotFound when one is not there."""
    query = (
        select(Series.series_uid, Instance.sop_class_uid, Instance.sop_instance_uid)
        .join(Series, Series.series_id == Instance.series_id)
        .where(Series.study_id == study.study_id, Instance.rejection.is_(None))
    )
    if series_uid is not None:
        query = query.where(Series.series_uid == series_uid)
    if sop_instance_uids:
        query = query.where(Instance.sop_instance_uid.in_(sop_instance_uids))
    found = [EvidenceInstance(study.study_uid, *row) for row in session.execute(query)]
    if not found or (sop_instance_uids and len(found) < len(set(sop_instance_uids))):
        raise NotFound("there are no such images in this study, or they are rejected already")
    return found


def _own_patient(session: Session, study: Study) -> PatientFacts:
    """Return the patient as the study's images name them, whoever it belongs to by now."""
    own = session.get(Refiling, study.study_id)
    patient_id = study.patient_id if own is None else own.own_patient_id
    number = shown_number(session.get_one(Patient, patient_id).patient_number)
    if own is None:
        return PatientFacts(number, study.patient_name, study.patient_birth_date, study.patient_sex)
    return PatientFacts(number, own.own_name, own.own_birth_date, own.own_sex)


def _store(hub: Hub, destination: Destination, note: bytes, now: datetime) -> str:
    """Store the note as a person's evidence is stored; return in words why not, empty when it is."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "note.dcm"
        path.write_bytes(note)
        inspected = inspect(ReceivedFile(1, path, len(note)), now)
        if not isinstance(inspected, Inspected):
            return "it is no whole instance"
        return bring_home(hub, destination, {inspected.uid: inspected}).get(inspected.uid, "")


def _find_amendment(session: Session, site_id: str, study_uid: str, note_uid: str) -> str:
    of_note = select(Amendment.amendment_id).where(
        Amendment.site_id == site_id,
        Amendment.study_uid == study_uid,
        Amendment.content["note_uid"].as_string() == note_uid,
    )
    return session.scalars(of_note).one()
