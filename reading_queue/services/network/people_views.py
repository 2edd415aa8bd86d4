"""Those of an organisation who are no physicians, as its page shows them. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import NetworkVersion
from reading_queue.db.tables import Account
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.roles import Role
from reading_queue.services.access.oversight import managed_roles
from reading_queue.services.access.visibility import Viewer


@dataclass(frozen=True, slots=True)
class PersonLine:
    """Somebody of an organisation who is no physician; `managed` says whether the viewer may change the account."""

    account_id: str
    login: str
    name: str
    role: Role
    disabled: bool
    last_day: date | None
    language: str
    version: int
    managed: bool


def load_people(session: Session, viewer: Viewer, organisation_id: str, *, editable: bool) -> tuple[PersonLine, ...]:
    """Return those who are no physicians, with the version of each."""
    of_account = (NetworkVersion.kind == Kind.PERSON, NetworkVersion.subject_id == Account.account_id)
    rows = session.execute(
        select(Account, func.coalesce(NetworkVersion.number, 0))
        .outerjoin(NetworkVersion, and_(*of_account, NetworkVersion.replaced_at.is_(None)))
        .where(Account.organisation_id == organisation_id, Account.role != Role.PHYSICIAN)
        .order_by(Account.disabled_at.is_not(None), Account.role, Account.login)
    ).all()
    managed = managed_roles(viewer) if editable else frozenset()
    return tuple(
        PersonLine(
            account_id=account.account_id,
            login=account.login,
            name=account.display_name,
            role=Role(account.role),
            disabled=account.disabled_at is not None,
            last_day=account.last_day,
            language=account.language,
            version=version,
            managed=Role(account.role) in managed,
        )
        for account, version in rows
    )
