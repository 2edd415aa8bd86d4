"""What a site's gateway is told of doubts whose a case is, and how people settle them at its console.

Durable: nothing of its own; each settlement is the use case that the clinic's desk calls, in the name of the same
account. It may come again after a lost answer and then changes nothing. A site learns of and settles its own alone.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Case, ClinicOrder
from reading_queue.domain.identity import may_wait
from reading_queue.errors import NotFound
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.cases.site_course import do_each, load_actor
from reading_queue.services.hub import Hub
from reading_queue.services.patients.identity_doubts import OVER
from reading_queue.services.patients.identity_settling import (
    AtConsole,
    PersonOfOrder,
    confirm_identity,
    correct_order,
    unlink_order,
)
from reading_queue.services.patients.identity_views import mask
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.course import SiteActsAnswer
from storage.contract.identifiers import Sha256Hex, Uid
from storage.contract.identity_doubts import (
    DOUBTS_PER_ANSWER_MAX,
    IdentityDoubt,
    IdentityDoubtsAnswer,
    IdentitySettlement,
    IdentitySettlements,
    PersonTold,
    SettlementKind,
)
from storage.contract.orders import Order

NAME_CHARACTERS_MAX: Final = 400  # of PersonTold
NUMBER_CHARACTERS_MAX: Final = 64
SEX_CHARACTERS_MAX: Final = 16


def doubts_for_site(hub: Hub, site_id: str) -> IdentityDoubtsAnswer:
    """Return what nobody has settled of the site's cases, the newest first."""
    found = (
        select(IdentityConflict, Case.lane, Study, Patient, ClinicOrder)
        .join(Case, Case.case_id == IdentityConflict.case_id)
        .join(Study, (Study.site_id == Case.site_id) & (Study.study_uid == IdentityConflict.study_uid))
        .join(Patient, Patient.patient_id == Study.patient_id)
        .outerjoin(ClinicOrder, ClinicOrder.order_id == IdentityConflict.order_id)
        .where(
            Case.site_id == site_id,
            Case.identity_doubted_at.is_not(None),
            Case.state.not_in(sorted(OVER)),
            IdentityConflict.ended_at.is_(None),
        )
        .order_by(IdentityConflict.found_at.desc(), IdentityConflict.conflict_id)
        .limit(DOUBTS_PER_ANSWER_MAX)
    )
    with hub.transaction() as session:
        rows = session.execute(found).all()
        return IdentityDoubtsAnswer(doubts=tuple(_view(*row) for row in rows))


def accept_settlements(hub: Hub, gateway: GatewayIdentity, batch: IdentitySettlements) -> SiteActsAnswer:
    """Do what people decided at the console, in its order; one that is refused holds up no other.

    Raises:
        Unavailable: a part of the hub cannot be reached; send all of it again.
    """
    return do_each(batch.settlements, lambda one: _settle(hub, gateway, one))


def _settle(hub: Hub, gateway: GatewayIdentity, act: IdentitySettlement) -> None:
    with hub.transaction() as session:
        viewer = load_actor(session, gateway.site_id, act.account_id, act.at)
        _require_of_site(session, gateway.site_id, act)
    seen = AtConsole(act.act_id, act.facts_sha256)
    match act.kind:
        case SettlementKind.CONFIRM:
            confirm_identity(hub, viewer, act.conflict_id, act.reason, console=seen)
        case SettlementKind.UNLINK:
            unlink_order(hub, viewer, act.conflict_id, act.reason, console=seen)
        case SettlementKind.CORRECT if act.person is not None:
            person = PersonOfOrder(**act.person.model_dump())
            correct_order(hub, viewer, act.conflict_id, person, act.reason, console=seen)


def _require_of_site(session: Session, site_id: str, act: IdentitySettlement) -> None:
    """Let pass doubts about this study of this site: a coordinator's right may reach further than their gateway's."""
    doubted = (
        select(IdentityConflict.study_uid)
        .join(Case, Case.case_id == IdentityConflict.case_id)
        .where(IdentityConflict.conflict_id == act.conflict_id, Case.site_id == site_id)
    )
    if session.scalar(doubted) != act.study_uid:
        raise NotFound("there is no such doubt about a study of this site")


def _view(row: IdentityConflict, lane: str, study: Study, patient: Patient, held: ClinicOrder | None) -> IdentityDoubt:
    images = facts_of(study, patient)
    order = Order.model_validate(held.content) if held is not None else None
    return IdentityDoubt(
        conflict_id=row.conflict_id,
        study_uid=Uid(row.study_uid),
        order_id=row.order_id,
        accession_number=order.accession_number if order is not None else study.accession_number,
        mismatches=tuple(row.mismatches),
        facts_sha256=Sha256Hex(row.facts_sha256),
        found_at=row.found_at,
        holds=may_wait(lane),
        in_images=PersonTold(
            patient_number=images.number[:NUMBER_CHARACTERS_MAX],
            name=images.name[:NAME_CHARACTERS_MAX],
            birth_date=images.birth_date,
            sex=images.sex[:SEX_CHARACTERS_MAX],
        ),
        in_order=_told(order) if order is not None else None,
    )


def _told(order: Order) -> PersonTold:
    return PersonTold(
        patient_number=order.patient_number,
        name=order.person_name(),
        birth_date=order.birth_date,
        sex=order.sex,
        identity_kind=order.identity_kind,
        identity_number=mask(order.identity_number),
    )
