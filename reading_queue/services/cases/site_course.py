"""What a site's gateway is told of cases that wait for the site, and what people do about them at its console.

Durable: nothing of its own; each act is the use case that the clinic's desk calls, in the name of the same account.
Acts may come again after a lost answer and then change nothing. A site learns of and touches its own cases alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import structlog
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Account, Case, Organisation
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import BEING_READ, CaseState
from reading_queue.errors import Forbidden, HubError, NotFound, Unavailable
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.access.visibility import Viewer, viewer_of
from reading_queue.services.cases import holds, site_returns, withdrawals
from reading_queue.services.cases.casework import find_case_of, study_uids
from reading_queue.services.hub import Hub
from reading_queue.services.reports import site_preliminaries
from storage.contract.course import (
    COURSES_PER_ANSWER_MAX,
    CaseCourse,
    CoursesAnswer,
    SiteAct,
    SiteActKind,
    SiteActRefusal,
    SiteActs,
    SiteActsAnswer,
    SiteQuestion,
)
from storage.contract.identifiers import Uid

MAY_ACT: Final = (Role.TECHNICIAN, Role.COORDINATOR)

log = structlog.get_logger(__name__)


class NotOfThisSite(Forbidden):
    """This account is not known at the hub as one of this site; log in with an account that the hub gave out."""

    code = "not_of_this_site"


def courses_for_site(hub: Hub, site_id: str) -> CoursesAnswer:
    """Return the site's cases that wait for the site, or for the reader's answer to it."""
    waits = or_(
        Case.state.in_((CaseState.ON_HOLD, CaseState.RETURNED)),
        and_(
            Case.state.in_(sorted(BEING_READ)),
            or_(Case.withdrawal_asked_at.is_not(None), Case.withdrawal_refusal != ""),
        ),
    )
    found = select(Case).where(Case.site_id == site_id, waits).order_by(Case.created_at.desc(), Case.case_id)
    with hub.transaction() as session:
        cases = session.scalars(found.limit(COURSES_PER_ANSWER_MAX)).all()
        questions = _load_questions(session, [case.case_id for case in cases])
        return CoursesAnswer(courses=tuple(_view(session, case, questions.get(case.case_id)) for case in cases))


def accept_acts(hub: Hub, gateway: GatewayIdentity, batch: SiteActs) -> SiteActsAnswer:
    """Do what people did at the console, in its order; an act that is refused holds up no other.

    Raises:
        Unavailable: a part of the hub cannot be reached; send all of it again.
    """
    return do_each(batch.acts, lambda act: _do(hub, gateway, act))


class _Act(Protocol):
    @property
    def act_id(self) -> str:
        """The act's own id, by which it is known when it comes again."""

    @property
    def kind(self) -> StrEnum:
        """What is done."""


ActT = TypeVar("ActT", bound=_Act)


def do_each(acts: Iterable[ActT], do: Callable[[ActT], None]) -> SiteActsAnswer:
    """Do each act in its order; one that is refused is told with the reason and holds up no other.

    Raises:
        Unavailable: a part of the hub cannot be reached; nothing is known of this act and those after it.
    """
    done: list[str] = []
    refused: list[SiteActRefusal] = []
    for act in acts:
        try:
            do(act)
        except Unavailable:
            raise
        except HubError as exc:
            log.info("site_act_refused", act_id=act.act_id, kind=act.kind.value, code=exc.code)
            refused.append(SiteActRefusal(act_id=act.act_id, code=exc.code, reason=exc.detail))
        else:
            done.append(act.act_id)
    return SiteActsAnswer(done=tuple(done), refused=tuple(refused))


def _do(hub: Hub, gateway: GatewayIdentity, act: SiteAct) -> None:
    with hub.transaction() as session:
        viewer = load_actor(session, gateway.site_id, act.account_id, act.at)
        case_id = find_case_of(session, gateway.site_id, act.study_uid)
        if case_id is None:
            raise NotFound("the hub has no case of this study")
        if act.kind is SiteActKind.ANSWER:
            _require_request(session, act.request_id, case_id)
    match act.kind:
        case SiteActKind.ACKNOWLEDGE:
            site_preliminaries.acknowledge(hub, viewer, act.request_id, act.words, act.at)
        case SiteActKind.ANSWER:
            holds.answer_site_request(hub, viewer, act.request_id, act.words)
        case SiteActKind.WITHDRAW:
            withdrawals.withdraw(hub, viewer, case_id, act.words, act_id=act.act_id)
        case SiteActKind.RESUBMIT:
            site_returns.resubmit(hub, viewer, case_id, act.words)


def _require_request(session: Session, request_id: str, case_id: str) -> None:
    request = session.get(InformationRequest, request_id)
    if request is None or request.case_id != case_id:
        raise NotFound("there is no such question")


def load_actor(session: Session, site_id: str, account_id: str, at: datetime) -> Viewer:
    """Return the account as whom an act is done: the gateway has checked the password, the hub checks the right.

    Raises:
        NotOfThisSite: it is no account of the site. Forbidden: its role does not act for the site.
    """
    row = session.execute(
        select(Account, Organisation)
        .join(Organisation, Organisation.organisation_id == Account.organisation_id)
        .where(Account.account_id == account_id)
    ).one_or_none()
    if row is None or row[1].site_id != site_id or row[0].disabled_at is not None:
        raise NotOfThisSite
    account = row[0]
    if account.role not in MAY_ACT:
        raise Forbidden
    return viewer_of(account, site_id, None, at)


def _load_questions(session: Session, case_ids: list[str]) -> dict[str, SiteQuestion]:
    rows = session.execute(
        select(InformationRequest, Account.display_name)
        .join(Account, Account.account_id == InformationRequest.asked_by)
        .where(InformationRequest.case_id.in_(case_ids), InformationRequest.ended_at.is_(None))
    )
    return {
        row.case_id: SiteQuestion(
            request_id=row.request_id,
            wants=tuple(row.wants),
            question=row.question,
            asked_by=name,
            asked_at=row.asked_at,
        )
        for row, name in rows
    }


def _view(session: Session, case: Case, question: SiteQuestion | None) -> CaseCourse:
    is_returned = case.state == CaseState.RETURNED
    return CaseCourse(
        study_uids=tuple(Uid(one) for one in study_uids(session, case.case_id)),
        question=question,
        returned_code=(case.return_code or "") if is_returned else "",
        returned_words=case.return_words if is_returned else "",
        withdrawal_asked=case.withdrawal_asked_at is not None,
        withdrawal_refusal=case.withdrawal_refusal,
    )
