"""How a page names a case to who oversees it: its examination, its site, and where it stands. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.transitions import CaseState
from reading_queue.services.cases.casework import is_first_study
from reading_queue.services.local_words import site_name
from storage.catalogue.tables import Study
from storage.contract.lanes import Lane
from storage.ledger.tables import Site


@dataclass(frozen=True, slots=True)
class CaseHead:
    """One case by its first study; its patient is told elsewhere, where looking is audited."""

    case_id: str
    site_id: str
    site_name: str
    study_uid: str
    accession_number: str  # empty while its images are on the way, as the description is
    description: str
    state: CaseState
    lane: Lane
    modality: str


def load_case_head(session: Session, case: Case, language: str) -> CaseHead:
    """Return how the case is named in the language."""
    of_study = and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid)
    study_uid, name, number, description = session.execute(
        select(CaseStudy.study_uid, site_name(language), Study.accession_number, Study.description)
        .select_from(Case)
        .join(CaseStudy, CaseStudy.case_id == Case.case_id)
        .join(Site, Site.site_id == Case.site_id)
        .outerjoin(Study, of_study)
        .where(Case.case_id == case.case_id, is_first_study())
    ).one()
    return CaseHead(
        case_id=case.case_id,
        site_id=case.site_id,
        site_name=name,
        study_uid=study_uid,
        accession_number=number or "",
        description=description or "",
        state=CaseState(case.state),
        lane=Lane(case.lane),
        modality=case.modality,
    )
