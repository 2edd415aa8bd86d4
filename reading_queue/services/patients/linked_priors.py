"""Studies of a case's patient at other sites, as the reading desk lists them: by links, while the case is at hand.

Reads only.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from reading_queue.db.tables import CaseStudy
from reading_queue.services.access.visibility import Viewer, has_at_hand
from reading_queue.services.local_words import site_name
from reading_queue.services.patients.linked_studies import is_linked, links_in_force
from reading_queue.services.reading.priors import LISTED_MAX, PriorView, view_prior
from storage.catalogue.tables import Study
from storage.ledger.tables import Site


def list_linked_priors(session: Session, viewer: Viewer, case_id: str, now: datetime) -> tuple[PriorView, ...]:
    """Return the patient's studies at other sites, newest first, while the case is offered to or held by `viewer`."""
    own, other = aliased(Study), aliased(Study)
    links = links_in_force()
    of_case = (CaseStudy.site_id == own.site_id) & (CaseStudy.study_uid == own.study_uid)
    found = (
        select(other, site_name(viewer.language))
        .distinct()
        .join(Site, Site.site_id == other.site_id)
        .join(links, links.c.other_id == other.patient_id)
        .join(own, is_linked(own, other, links))
        .join(CaseStudy, of_case)
        .where(CaseStudy.case_id == case_id, has_at_hand(viewer, CaseStudy.case_id, now), other.revision > 0)
        .order_by(other.study_date.desc().nulls_last(), other.study_uid)
        .limit(LISTED_MAX)
    )
    return tuple(view_prior(study, name) for study, name in session.execute(found))
