"""What is agreed and what was: every change of an agreement is a new version, dated and audited; none is lost.

The row in `agreements` holds the present terms, which routing reads each time; `agreement_versions` holds all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Agreement, Offer
from reading_queue.services.cases.casework import launch_route
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author
from storage.ledger.tables import AuditEvent

RIGHTS_CHANGED: Final = "110113"  # DCM: security alert
TERMS: Final = (
    "requesting_organisation_id",
    "assisting_organisation_id",
    "modalities",
    "body_regions",
    "services",
    "stage",
    "time_limits_min",
    "valid_from",
    "valid_until",
    "cases_per_day_max",
    "single_physician",
)


def agreements_as_of(session: Session, moment: datetime) -> list[AgreementVersion]:
    """Return the terms of every agreement as they were recorded at the moment, by agreement."""
    recorded = select(AgreementVersion).where(
        AgreementVersion.recorded_at <= moment,
        or_(AgreementVersion.replaced_at.is_(None), AgreementVersion.replaced_at > moment),
    )
    return list(session.scalars(recorded.order_by(AgreementVersion.agreement_id)))


def present_versions(session: Session, agreement_ids: Collection[str]) -> dict[str, int]:
    """Return the number of the version that counts now, by agreement."""
    present = select(AgreementVersion.agreement_id, AgreementVersion.number).where(
        AgreementVersion.agreement_id.in_(agreement_ids), AgreementVersion.replaced_at.is_(None)
    )
    return dict(session.execute(present).all())


def record_agreement(
    session: Session, agreement_id: str, terms: Mapping[str, Any], now: datetime, author: Author = NOBODY_KNOWN
) -> bool:
    """Make these the present terms of the agreement; return whether they are new. The same terms change nothing."""
    row = session.get(Agreement, agreement_id)
    before = {} if row is None else {name: getattr(row, name) for name in TERMS}
    changed = [name for name in TERMS if name not in before or before[name] != terms[name]]
    if not changed:
        return False
    if row is None:
        row = Agreement(agreement_id=agreement_id)
        session.add(row)
    for name in TERMS:
        setattr(row, name, terms[name])
    row.recorded_at = now
    session.flush()
    number = _replace_present(session, agreement_id, now) + 1
    session.add(
        AgreementVersion(
            agreement_id=agreement_id,
            number=number,
            recorded_at=now,
            recorded_by=author.account_id,
            recorded_as=author.command_as,
            replaced_at=None,
            **terms,
        )
    )
    session.add(_audit(agreement_id, number, changed, now, author))
    session.flush()
    _route_again(session, agreement_id, now)
    return True


def _route_again(session: Session, agreement_id: str, now: datetime) -> None:
    """Have what is offered under the agreement routed by its new terms: who may not read it any more hands it on."""
    offered = select(Offer.reading_task_id).distinct().where(Offer.agreement_id == agreement_id, Offer.state == "open")
    for reading_task_id in session.scalars(offered.order_by(Offer.reading_task_id)).all():
        launch_route(session, now, reading_task_id)


def _replace_present(session: Session, agreement_id: str, now: datetime) -> int:
    """End the present version, if there is one, and return its number or 0."""
    present = session.scalar(
        select(AgreementVersion).where(
            AgreementVersion.agreement_id == agreement_id, AgreementVersion.replaced_at.is_(None)
        )
    )
    if present is None:
        return 0
    present.replaced_at = now
    session.flush()  # before its successor: only one version is the present one
    return present.number


def _audit(agreement_id: str, number: int, changed: list[str], now: datetime, author: Author) -> AuditEvent:
    return AuditEvent(
        at=now,
        event_code=RIGHTS_CHANGED,
        action="C" if number == 1 else "U",
        account_id=author.account_id,
        object_kind="agreement",
        object_id=agreement_id,
        site_id=None,
        outcome="success",
        detail={"version": number, "changed": changed, **author.audited},
    )
