"""Earlier studies of a case's patient: asked for at the site's gateways, which fetch them from the PACS, and listed.

Durable: one request for each case, with how far it came. A case never waits for it. Everything may be repeated: a case
has one request, an outcome counts once, and what is done stays done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from reading_queue.db.tables import Case, CaseStudy, PriorRequest
from reading_queue.errors import Conflict, NotFound
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.hub import Hub
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import UNKNOWN_SEXES, Patient, Study
from storage.contract import priors as contract
from storage.contract.identifiers import Uid, new_id
from storage.contract.lanes import Lane
from storage.contract.priors import PRIOR_REQUESTS_PER_PAGE_MAX, PriorOutcome, PriorRequestPage
from storage.ledger.tables import Gateway

OPEN: Final = "open"
TAKEN: Final = "taken"
DONE: Final = "done"
ASKED_WITHIN: Final = timedelta(days=30)  # a gateway that has not asked for so long fetches no priors any more
TAKEN_AGAIN_AFTER: Final = timedelta(days=7)  # a gateway that took it and was lost since
NOTED_EVERY: Final = timedelta(hours=1)
HELD_MAX: Final = 500
LISTED_MAX: Final = 50
_RECORD: Final = aliased(Patient, name="record_of_one")  # made once: searches ask for it all the time


class TakenElsewhere(Conflict):
    """Another gateway of this site fetches these studies already."""

    code = "taken_elsewhere"


@dataclass(frozen=True, slots=True)
class PriorView:
    """An earlier study, as the reading desk lists it; `site_name` of another site, empty of the case's own."""

    study_uid: str
    study_date: date | None
    modalities: tuple[str, ...]
    description: str
    instance_count: int
    site_name: str = ""


@dataclass(frozen=True, slots=True)
class PriorsView:
    """What there is beside a case's own studies. `asked` is the state of its request, empty where nobody was asked.

    `disputed`: the patient's record says two birth dates or sexes, so that some studies may be left out.
    """

    studies: tuple[PriorView, ...] = ()
    asked: str = ""
    found: int = 0
    fetched: int = 0
    code: str = ""
    disputed: bool = False

    def with_linked(self, linked: Sequence[PriorView]) -> PriorsView:
        """Return the same with the patient's studies at other sites among them, newest first."""
        newest_first = sorted((*self.studies, *linked), key=lambda one: one.study_date or date.min, reverse=True)
        return replace(self, studies=tuple(newest_first))


def ask_for_priors(session: Session, now: datetime, case: Case, study: Study) -> None:
    """Write the case's request where a gateway of its site fetches priors; once per case."""
    able = exists().where(
        Gateway.site_id == case.site_id, Gateway.revoked_at.is_(None), Gateway.asked_for_priors_at > now - ASKED_WITHIN
    )
    if not session.scalar(select(able)):
        return
    patient_number = session.scalar(select(Patient.patient_number).where(Patient.patient_id == study.patient_id))
    if not shown_number(patient_number or ""):
        return  # nothing could be asked that does not find other people
    values = {
        "request_id": new_id(),
        "site_id": case.site_id,
        "case_id": case.case_id,
        "study_uid": study.study_uid,
        "requested_at": now,
        "changed_at": now,
    }
    session.execute(insert(PriorRequest).values(values).on_conflict_do_nothing(index_elements=["case_id"]))


def requests_for(hub: Hub, gateway: GatewayIdentity, after: int) -> PriorRequestPage:
    """Return the open requests of the gateway's site after a number; that it asks says that it can fetch."""
    now = hub.clock()
    waits = or_(
        PriorRequest.state == OPEN,
        and_(PriorRequest.state == TAKEN, PriorRequest.changed_at < now - TAKEN_AGAIN_AFTER),
    )
    with hub.transaction() as session:
        noted = or_(Gateway.asked_for_priors_at.is_(None), Gateway.asked_for_priors_at < now - NOTED_EVERY)
        session.execute(
            update(Gateway)
            .where(Gateway.gateway_id == gateway.gateway_id, noted)
            .values(asked_for_priors_at=now)
            .execution_options(synchronize_session=False)
        )
        rows = session.execute(
            select(PriorRequest, Case, Study, Patient)
            .join(Case, Case.case_id == PriorRequest.case_id)
            .join(Study, (Study.site_id == PriorRequest.site_id) & (Study.study_uid == PriorRequest.study_uid))
            .join(Patient, Patient.patient_id == Study.patient_id)
            .where(PriorRequest.site_id == gateway.site_id, PriorRequest.number > after, waits)
            .order_by(PriorRequest.number)
            .limit(PRIOR_REQUESTS_PER_PAGE_MAX)
        ).all()
        policy = hub.policy
        requests = tuple(
            contract.PriorRequest(
                number=request.number,
                request_id=request.request_id,
                study_uid=Uid(study.study_uid),
                study_date=study.study_date,
                held=tuple(map(Uid, session.scalars(_held(study)))),
                patient_number=patient.patient_number,
                patient_name=study.patient_name,
                birth_date=study.patient_birth_date,
                sex=study.patient_sex,
                modalities=tuple(study.modalities),
                body_part=study.body_part,
                lane=Lane(case.lane),
                studies_max=policy.priors_max,
                years_max=policy.prior_years_max,
                requested_at=request.requested_at,
            )
            for request, case, study, patient in rows
        )
    return PriorRequestPage(requests=requests, through=requests[-1].number if requests else after)


def record_outcome(hub: Hub, gateway: GatewayIdentity, request_id: str, outcome: PriorOutcome) -> None:
    """Write how far a request came; the same again changes nothing, and what is done stays done.

    Raises:
        NotFound: the site has no such request.
        TakenElsewhere: another gateway of the site has it.
    """
    now = hub.clock()
    with hub.transaction() as session:
        request = session.scalars(
            select(PriorRequest).where(PriorRequest.request_id == request_id).with_for_update()
        ).one_or_none()
        if request is None or request.site_id != gateway.site_id:
            raise NotFound("there is no such request of this site")
        lost = request.state == TAKEN and request.changed_at < now - TAKEN_AGAIN_AFTER
        if request.gateway_id not in (None, gateway.gateway_id) and not lost:
            raise TakenElsewhere
        if request.state == DONE:
            return
        request.gateway_id = gateway.gateway_id
        request.state = outcome.state
        request.found, request.fetched, request.left_out = outcome.found, outcome.fetched, outcome.left_out
        request.code, request.reason = outcome.code, outcome.reason
        request.changed_at = now


def same_person(
    one: type[Study], other: type[Study], *, undisputed: ColumnElement[bool] | None = None
) -> ColumnElement[bool]:
    """Return the condition that two studies are one patient's: record of the site, birth date and sex as each says.

    A birth date or sex that one of them lacks does not count against it; one that differs does. In a record whose
    studies contradict each other, which may be two people's, both must say both, and the same. `undisputed`: that their
    record is none of these, where a query knows it already.
    """
    same_date = one.patient_birth_date == other.patient_birth_date
    same_sex = one.patient_sex == other.patient_sex
    if undisputed is None:
        contradicted_at = select(_RECORD.contradicted_at).where(_RECORD.patient_id == one.patient_id).correlate(one)
        undisputed = contradicted_at.scalar_subquery().is_(None)  # one look by key, where EXISTS may read all records
    return and_(
        one.site_id == other.site_id,
        one.patient_id == other.patient_id,
        or_(one.patient_birth_date.is_(None), other.patient_birth_date.is_(None), same_date),
        or_(_is_unknown(one.patient_sex), _is_unknown(other.patient_sex), same_sex),
        or_(and_(same_date, same_sex, ~_is_unknown(one.patient_sex)), undisputed),
    )


def list_priors(session: Session, case_id: str) -> PriorsView:
    """Return the other studies of the patient of a case that the viewer may see, newest first, and its request."""
    own, other = aliased(Study), aliased(Study)
    of_case = (CaseStudy.site_id == own.site_id) & (CaseStudy.study_uid == own.study_uid)
    rows: Sequence[Study] = session.scalars(
        select(other)
        .distinct()
        .join(own, same_person(other, own))
        .join(CaseStudy, of_case)
        .where(CaseStudy.case_id == case_id, ~_is_of_case(other, case_id), other.revision > 0)
        .order_by(other.study_date.desc().nulls_last(), other.study_uid)
        .limit(LISTED_MAX)
    ).all()
    asked = session.scalars(select(PriorRequest).where(PriorRequest.case_id == case_id)).one_or_none()
    studies = tuple(map(view_prior, rows))
    disputed = bool(session.scalar(select(_is_disputed(case_id))))
    if asked is None:
        return PriorsView(studies, disputed=disputed)
    return PriorsView(studies, asked.state, asked.found, asked.fetched, asked.code, disputed)


def view_prior(study: Study, site_name: str = "") -> PriorView:
    """Return a study as an earlier one."""
    modalities = tuple(study.modalities)
    return PriorView(study.study_uid, study.study_date, modalities, study.description, study.instance_count, site_name)


def _held(study: Study) -> Select[str]:
    """Select the studies of this patient record that the hub holds, the study itself among them."""
    of_patient = (Study.site_id == study.site_id) & (Study.patient_id == study.patient_id)
    return select(Study.study_uid).where(of_patient, Study.revision > 0).order_by(Study.study_uid).limit(HELD_MAX)


def _is_disputed(case_id: str) -> ColumnElement[bool]:
    of_case = (Study.site_id == CaseStudy.site_id) & (Study.study_uid == CaseStudy.study_uid)
    return (
        select(Patient.patient_id)
        .join(Study, Study.patient_id == Patient.patient_id)
        .join(CaseStudy, of_case)
        .where(CaseStudy.case_id == case_id, Patient.contradicted_at.is_not(None))
        .exists()
    )


def _is_of_case(study: type[Study], case_id: str) -> ColumnElement[bool]:
    of_case = aliased(CaseStudy)
    return exists().where(
        of_case.case_id == case_id, of_case.site_id == study.site_id, of_case.study_uid == study.study_uid
    )


def _is_unknown(sex: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return sex.in_(UNKNOWN_SEXES)
