"""What is agreed and what was: every change of an agreement is a new version, dated and audited; none is lost.

The row in `agreements` holds the present terms, which routing reads each time; `agreement_versions` holds all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Agreement
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author
from reading_queue.services.network.rights import rights_changed
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
        among(AgreementVersion.agreement_id, agreement_ids), AgreementVersion.replaced_at.is_(None)
    )
    return dict(session.execute(present).all())


def record_agreement(
    session: Session, agreement_id: str, terms: Mapping[str, Any], now: datetime, author: Author = NOBODY_KNOWN
) -> bool:
    """Make these the present terms of the agreement; return whether they are new. The same terms change nothing."""
    return bool(record_agreements(session, {agreement_id: terms}, now, author))


def record_agreements(
    session: Session, terms_of: Mapping[str, Mapping[str, Any]], now: datetime, author: Author = NOBODY_KNOWN
) -> int:
    """Make these the present terms of the agreements, by their ids; return how many are new."""
    rows = {
        row.agreement_id: row
        for row in session.scalars(select(Agreement).where(among(Agreement.agreement_id, terms_of)))
    }
    changed: dict[str, list[str]] = {}
    for agreement_id, terms in terms_of.items():
        row = rows.get(agreement_id)
        before = {} if row is None else {name: getattr(row, name) for name in TERMS}
        differing = [name for name in TERMS if name not in before or before[name] != terms[name]]
        if not differing:
            continue
        changed[agreement_id] = differing
        if row is None:
            row = Agreement(agreement_id=agreement_id)
            session.add(row)
        for name in TERMS:
            setattr(row, name, terms[name])
        row.recorded_at = now
    if not changed:
        return 0
    session.flush()
    numbers = _replace_present(session, changed, now)
    by = {"recorded_at": now, "recorded_by": author.account_id, "recorded_as": author.command_as, "replaced_at": None}
    versions = [
        {"agreement_id": one, "number": numbers.get(one, 0) + 1, **by} | {name: terms_of[one][name] for name in TERMS}
        for one in changed
    ]
    session.execute(insert(AgreementVersion), versions)
    session.add_all(_audit(one, numbers.get(one, 0) + 1, names, now, author) for one, names in changed.items())
    session.flush()
    rights_changed(session, now, agreements=changed)
    return len(changed)


def _replace_present(session: Session, agreement_ids: Collection[str], now: datetime) -> dict[str, int]:
    """End the present versions, before their successors: only one is the present one. Return their numbers."""
    present = present_versions(session, agreement_ids)
    ended = update(AgreementVersion).where(
        among(AgreementVersion.agreement_id, present), AgreementVersion.replaced_at.is_(None)
    )
    session.execute(ended.values(replaced_at=now).execution_options(synchronize_session=False))
    return present


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
