"""Who may see what: the one authorisation function of pages, JSON API, DICOMweb and objects.

The rule is a single SQL condition, so that a list and a look at one study can never disagree: `may_see` for images,
`may_follow` for cases, reports and the ledger. They differ in one thing: who may see the images of a case may see those
of the same patient's other studies, those of other sites by a link and while the case is at hand. What a viewer may not
see does not exist for them: `require_study` and `require_case` raise NotFound, not Forbidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from typing import cast as cast_to

from sqlalchemy import ColumnElement, Date, Select, and_, cast, exists, false, func, literal, null, or_, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from reading_queue.db.consult_tables import Consult
from reading_queue.db.tables import (
    Account,
    Agreement,
    Case,
    CaseStudy,
    Offer,
    Organisation,
    Physician,
    ReadingTask,
    Report,
    Submission,
)
from reading_queue.domain.consults import CONSULTANT_TITLES, ConsultState
from reading_queue.domain.roles import LEAD_TITLES, Role
from reading_queue.errors import Forbidden, NotFound
from reading_queue.services.patients.linked_studies import is_linked, links_in_force
from reading_queue.services.reading.priors import same_person
from storage.catalogue.tables import Patient, Study
from storage.ledger.tables import Site

_WHOSE = ("study_id", "study_date", "site_id", "patient_id", "patient_birth_date", "patient_sex")  # of a study
# Made once: an alias costs more than all conditions that are built with it, and each request builds some.
_ASKED: Final = aliased(Study, name="asked")
_OWN: Final = aliased(Study, name="own")
_OTHER: Final = aliased(Study, name="other")
_HOLDER: Final = aliased(Physician, name="holder")
_LEAD: Final = aliased(Physician, name="lead")
_CONSULTANT: Final = aliased(Physician, name="consultant")
ColumnOrValue = ColumnElement[str] | InstrumentedAttribute[str] | str


@dataclass(frozen=True, slots=True)
class Viewer:
    """A logged-in person, as every service knows them."""

    account_id: str
    login: str
    display_name: str
    role: Role
    organisation_id: str
    site_id: str | None  # of the organisation, when it sends studies
    physician_id: str | None
    language: str
    authenticated_at: datetime  # when the password was last given


def viewer_of(account: Account, site_id: str | None, physician_id: str | None, authenticated_at: datetime) -> Viewer:
    """Return an account as services know it; `site_id` is that of its organisation."""
    return Viewer(
        account_id=account.account_id,
        login=account.login,
        display_name=account.display_name,
        role=Role(account.role),
        organisation_id=account.organisation_id,
        site_id=site_id,
        physician_id=physician_id,
        language=account.language,
        authenticated_at=authenticated_at,
    )


def may_see(viewer: Viewer, site_id: ColumnOrValue, study_uid: ColumnOrValue, now: datetime) -> ColumnElement[bool]:
    """Return the condition under which `viewer` may see the images of a study; the arguments are columns or values.

    What `may_add_to` allows, and, for a case that is offered to or held by them, studies of the same person at other
    sites, by a link.
    """
    at_site = may_add_to(viewer, site_id, study_uid, now)
    if viewer.role is not Role.PHYSICIAN:
        return at_site
    asked, own = _ASKED, _OWN
    links = links_in_force()
    linked_with_theirs = (
        select(asked.study_id)
        .join(links, links.c.other_id == asked.patient_id)
        .join(own, is_linked(own, asked, links))
        .join(CaseStudy, and_(CaseStudy.site_id == own.site_id, CaseStudy.study_uid == own.study_uid))
        .where(
            asked.site_id == _expression(site_id),
            asked.study_uid == _expression(study_uid),
            has_at_hand(viewer, CaseStudy.case_id, now),
        )
        .exists()
    )
    return or_(at_site, linked_with_theirs)


def may_add_to(viewer: Viewer, site_id: ColumnOrValue, study_uid: ColumnOrValue, now: datetime) -> ColumnElement[bool]:
    """Return the condition under which `viewer` may see a study and store what belongs to it.

    What `may_follow` allows, and the other studies of the same patient at the same site: one patient record, and no
    birth date or sex in their own headers that differs.
    """
    follows = may_follow(viewer, site_id, study_uid, now)
    if viewer.role is not Role.PHYSICIAN:
        return follows
    asked, own = _ASKED, _OWN
    beside_theirs = (
        select(asked.study_id)
        .join(own, same_person(asked, own))
        .where(
            asked.site_id == _expression(site_id),
            asked.study_uid == _expression(study_uid),
            may_follow(viewer, own.site_id, own.study_uid, now),
        )
        .exists()
    )
    return or_(follows, beside_theirs)


def select_seen(viewer: Viewer, now: datetime) -> Select[str, date | None] | None:
    """Select id and date of all studies whose images a physician may see: those that `may_see` allows, and no other.

    A physician sees few of all studies, so that a search is quicker that begins with these. None for everybody else:
    their right is to whole sites.
    """
    if viewer.role is not Role.PHYSICIAN:
        return None
    at_hand = union(*_cases_at_hand(viewer, now)).cte("cases_at_hand")
    cases = union(*_their_cases(viewer, now)).cte("their_cases")
    is_at_hand = exists().where(at_hand.c.case_id == CaseStudy.case_id).label("is_at_hand")
    followed = (
        select(*(getattr(Study, name) for name in _WHOSE), is_at_hand, Patient.contradicted_at)
        .join(Patient, Patient.patient_id == Study.patient_id)
        .join(CaseStudy, and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid))
        .join(cases, cases.c.case_id == CaseStudy.case_id)
        .cte("followed")
        .prefix_with("MATERIALIZED")  # found once, by its keys, whatever comes of it
    )
    own, other = cast_to("type[Study]", followed.c), _OTHER
    beside_theirs = select(other.study_id, other.study_date).join(
        followed, same_person(other, own, undisputed=followed.c.contradicted_at.is_(None))
    )
    links = links_in_force()
    linked_with_theirs = (
        select(other.study_id, other.study_date)
        .join(links, links.c.other_id == other.patient_id)
        .join(followed, and_(is_linked(own, other, links), followed.c.is_at_hand))
    )
    theirs = select(followed.c.study_id, followed.c.study_date)
    seen = union(theirs, beside_theirs, linked_with_theirs).subquery("seen")
    return select(seen.c.study_id, seen.c.study_date)


def may_follow(viewer: Viewer, site_id: ColumnOrValue, study_uid: ColumnOrValue, now: datetime) -> ColumnElement[bool]:
    """Return the condition under which `viewer` may see a study's cases, with their reports, and its ledger.

    Technician: the studies of their own site. Physician: studies of cases offered to them, held by them, or written
    or signed by them; that their organisation reads it is not enough, but a senior one sees what colleagues hold now.
    Coordinator and administrator: the studies of
    the sites of the organisations below their own, and of those it assists by an agreement in force.
    """
    site, uid = _expression(site_id), _expression(study_uid)
    match viewer.role:
        case Role.TECHNICIAN:
            return site == viewer.site_id if viewer.site_id is not None else false()
        case Role.PHYSICIAN:
            return _case_is_theirs(viewer, site, uid, now)
        case Role.COORDINATOR | Role.ADMINISTRATOR:
            return site.in_(_overseen(viewer, now))


def may_follow_study(session: Session, viewer: Viewer, site_id: str, study_uid: str, now: datetime) -> bool:
    """Return whether `viewer` may follow the study of this site."""
    return bool(session.scalar(select(may_follow(viewer, site_id, study_uid, now))))


def may_follow_case(
    viewer: Viewer, case_id: ColumnOrValue, site_id: ColumnOrValue, now: datetime
) -> ColumnElement[bool]:
    """Return the condition under which `viewer` may see a case of this site: that of `may_follow`, for a case."""
    its_id, site = _expression(case_id), _expression(site_id)
    match viewer.role:
        case Role.TECHNICIAN:
            return site == viewer.site_id if viewer.site_id is not None else false()
        case Role.PHYSICIAN:
            return or_(*(its_id.in_(cases) for cases in _their_cases(viewer, now)))
        case Role.COORDINATOR | Role.ADMINISTRATOR:
            return site.in_(_overseen(viewer, now))


def has_at_hand(viewer: Viewer, case_id: ColumnOrValue, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a case is offered to or held by the viewer now; of a physician only."""
    case = _expression(case_id)
    return or_(*(case.in_(cases) for cases in _cases_at_hand(viewer, now)))


def visible_sites(session: Session, viewer: Viewer, now: datetime) -> frozenset[str]:
    """Return the sites all of whose studies `viewer` may see. A physician has none: their right is to cases."""
    match viewer.role:
        case Role.TECHNICIAN:
            return frozenset({viewer.site_id} if viewer.site_id is not None else ())
        case Role.COORDINATOR | Role.ADMINISTRATOR:
            return frozenset(session.scalars(_overseen(viewer, now)))
        case _:
            return frozenset()


def require(viewer: Viewer, *roles: Role) -> None:
    """Raise Forbidden unless `viewer` has one of `roles`."""
    if viewer.role not in roles:
        raise Forbidden


def require_study(session: Session, viewer: Viewer, site_id: str, study_uid: str, now: datetime) -> None:
    """Raise NotFound unless `viewer` may see the study."""
    if not may_follow_study(session, viewer, site_id, study_uid, now):
        raise NotFound("there is no such study, or you may not see it")


def require_case(session: Session, viewer: Viewer, case_id: str, now: datetime) -> None:
    """Raise NotFound unless `viewer` may see a study of the case."""
    its_study_is_seen = exists().where(
        CaseStudy.case_id == case_id, may_follow(viewer, CaseStudy.site_id, CaseStudy.study_uid, now)
    )
    if not session.scalar(select(its_study_is_seen)):
        raise NotFound("there is no such case, or you may not see it")


def _expression(column_or_value: ColumnOrValue) -> ColumnElement[str]:
    return literal(column_or_value) if isinstance(column_or_value, str) else column_or_value.expression


def _case_is_theirs(
    viewer: Viewer, site: ColumnElement[str], uid: ColumnElement[str], now: datetime
) -> ColumnElement[bool]:
    """Return the condition that a case of the study is theirs."""
    theirs = (CaseStudy.case_id.in_(cases) for cases in _their_cases(viewer, now))
    return exists().where(CaseStudy.site_id == site, CaseStudy.study_uid == uid, or_(*theirs))


def _cases_at_hand(viewer: Viewer, now: datetime) -> tuple[Select[str], ...]:
    """Select the cases that are offered to the physician, and those that they hold and have not done yet."""
    if viewer.physician_id is None:
        return (select(Case.case_id).where(false()),)
    offered = select(ReadingTask.case_id).join(Offer, Offer.reading_task_id == ReadingTask.reading_task_id)
    offered = offered.where(
        Offer.physician_id == viewer.physician_id,
        Offer.state == "open",
        Offer.expires_at > now,
        ReadingTask.state == "scheduled",
    )
    held = select(ReadingTask.case_id).where(
        ReadingTask.holder_id == viewer.physician_id, ReadingTask.state == "in_progress"
    )
    return offered, held, _consulted(viewer.physician_id)


def _their_cases(viewer: Viewer, now: datetime) -> tuple[Select[str], ...]:
    """Select the cases that are offered to, held by, written or signed by the physician."""
    if viewer.physician_id is None:
        return _cases_at_hand(viewer, now)
    done = select(ReadingTask.case_id).where(
        ReadingTask.holder_id == viewer.physician_id, ReadingTask.state == "completed"
    )
    written = select(Submission.case_id).where(Submission.author_id == viewer.physician_id)
    signed = select(Report.case_id).where(Report.verifier_id == viewer.physician_id)
    consulted = select(Consult.case_id).where(
        Consult.accepted_by == viewer.physician_id, Consult.state == ConsultState.ANSWERED
    )
    return *_cases_at_hand(viewer, now), done, written, signed, consulted, _led(viewer.physician_id)


def _consulted(physician_id: str) -> Select[str]:
    """Select the cases on which the physician's hospital is asked for its opinion now, or which they have taken."""
    theirs = or_(
        and_(
            Consult.state == ConsultState.ASKED,
            or_(
                Consult.organisation_id == _CONSULTANT.organisation_id,
                _CONSULTANT.also_at.contains(func.to_jsonb(Consult.organisation_id)),
            ),
        ),
        Consult.accepted_by == physician_id,
    )
    return (
        select(Consult.case_id)
        .join(_CONSULTANT, and_(_CONSULTANT.physician_id == physician_id, _CONSULTANT.title.in_(CONSULTANT_TITLES)))
        .where(Consult.ended_at.is_(None), theirs)
    )


def _led(physician_id: str) -> Select[str]:
    """Select the cases that are in the hands of colleagues whom the physician leads, and may have to be taken over."""
    return (
        select(ReadingTask.case_id)
        .join(_HOLDER, _HOLDER.physician_id == ReadingTask.holder_id)
        .join(_LEAD, _LEAD.organisation_id == _HOLDER.organisation_id)
        .where(
            ReadingTask.state == "in_progress",
            _LEAD.physician_id == physician_id,
            _LEAD.title.in_(LEAD_TITLES),
        )
    )


def _overseen(viewer: Viewer, now: datetime) -> Select[str]:
    """Select the sites of the organisations below the viewer's own, and of those it assists by agreement.

    An agreement with an organisation covers all below it, from its first to its last day at the site.
    """
    no_date = cast(null(), Date)
    own = select(Organisation.organisation_id, no_date.label("valid_from"), no_date.label("valid_until"))
    own = own.where(Organisation.organisation_id == viewer.organisation_id)
    assisted = select(Agreement.requesting_organisation_id, Agreement.valid_from, Agreement.valid_until)
    assisted = assisted.where(Agreement.assisting_organisation_id == viewer.organisation_id)
    overseen = select(own.union_all(assisted).subquery()).cte("overseen", recursive=True)
    below = select(Organisation.organisation_id, overseen.c.valid_from, overseen.c.valid_until)
    below = below.where(Organisation.parent_id == overseen.c.organisation_id)
    overseen = overseen.union(below)
    today = cast(func.timezone(Site.time_zone, now), Date)
    return (
        select(Site.site_id)
        .distinct()
        .join(Organisation, Organisation.site_id == Site.site_id)
        .join(overseen, overseen.c.organisation_id == Organisation.organisation_id)
        .where(or_(overseen.c.valid_from.is_(None), today.between(overseen.c.valid_from, overseen.c.valid_until)))
    )
