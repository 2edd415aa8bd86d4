"""The facts of cases that every list shows, read for a whole page of cases at once. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.transitions import CaseState
from reading_queue.services.cases.case_views import CaseSummary, PatientView, StudyView
from reading_queue.services.cases.images_seen import images_token
from reading_queue.services.cases.waiting import is_late, load_waiting
from reading_queue.services.local_words import site_name
from reading_queue.services.reading.notices import load_notices
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from storage.dicom.person_name import patient_display_name
from storage.ledger.tables import Site

_Studies = list[tuple[Study, Patient]]


def summarise(session: Session, found: Case, language: str, now: datetime) -> CaseSummary:
    """Return the facts of one case, names in the language of the reader."""
    return summarise_all(session, [found], language, now)[found.case_id]


def summarise_all(session: Session, cases: Collection[Case], language: str, now: datetime) -> Mapping[str, CaseSummary]:
    """Return the facts of cases by their ids, names in the language of the reader."""
    if not cases:
        return {}
    studies = _load_studies(session, [found.case_id for found in cases])
    sites = _load_sites(session, {found.site_id for found in cases}, language)
    waiting = load_waiting(session, cases)
    return {
        found.case_id: _summarise(
            session,
            found,
            studies[found.case_id],
            sites[found.site_id],
            language,
            now,
            late=is_late(found, waiting, now),
        )
        for found in cases
    }


def age_years(birth_date: date, today: date) -> int:
    """Return the completed years of life."""
    return today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))


def _load_studies(session: Session, case_ids: Collection[str]) -> defaultdict[str, _Studies]:
    found: defaultdict[str, _Studies] = defaultdict(list)
    rows = (
        select(CaseStudy.case_id, Study, Patient)
        .join(Study, (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid))
        .join(Patient, Patient.patient_id == Study.patient_id)
        .where(CaseStudy.case_id.in_(case_ids))
        .order_by(Study.study_uid)
    )
    for case_id, study, patient in session.execute(rows):
        found[case_id].append((study, patient))
    return found


def _load_sites(session: Session, site_ids: Collection[str], language: str) -> dict[str, tuple[str, ZoneInfo]]:
    rows = select(Site.site_id, site_name(language), Site.time_zone).where(Site.site_id.in_(site_ids))
    return {site_id: (name, ZoneInfo(zone)) for site_id, name, zone in session.execute(rows)}


def _summarise(
    session: Session,
    found: Case,
    studies: _Studies,
    site: tuple[str, ZoneInfo],
    language: str,
    now: datetime,
    *,
    late: bool,
) -> CaseSummary:
    name, zone = site
    today = now.astimezone(zone).date()
    unsigned = found.signed_at is None and found.state not in (CaseState.CANCELLED, CaseState.RETURNED)
    return CaseSummary(
        case_id=found.case_id,
        state=CaseState(found.state),
        lane=Lane(found.lane),
        modality=found.modality,
        body_region=found.body_region,
        site_id=found.site_id,
        site_name=name,
        patient=_view_patient(facts_of(*studies[0]), today, language) if studies else None,
        studies=tuple(view_study(study) for study, _ in studies),
        exam_started_at=found.exam_started_at,
        due_at=found.due_at,
        late=unsigned and late,
        images_unacknowledged=found.images_unacknowledged,
        images_version=images_token(found, (study.instance_count for study, _ in studies)),
        notices=load_notices(session, found),
        green_channel=GreenChannel(found.green_channel) if found.green_channel is not None else None,
    )


def _view_patient(patient: PatientFacts, today: date, language: str) -> PatientView:
    return PatientView(
        patient_number=patient.number,
        name=patient.name,
        patient_display_name=patient_display_name(patient.name, language),
        sex=patient.sex,
        birth_date=patient.birth_date,
        age_years=age_years(patient.birth_date, today) if patient.birth_date is not None else None,
    )


def view_study(study: Study) -> StudyView:
    """Return a study as cases show it."""
    return StudyView(
        study_uid=study.study_uid,
        accession_number=study.accession_number,
        description=study.description,
        body_part=study.body_part,
        modalities=tuple(study.modalities),
        study_date=study.study_date,
        series_count=study.series_count,
        instance_count=study.instance_count,
    )
