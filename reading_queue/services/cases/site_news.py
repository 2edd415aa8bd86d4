"""What a gateway learns for its clinic's console: who may use it, and what the hub has done with the site's studies.

Reads only, but for the audit line of each hand-over of accounts. A site learns of nobody and nothing but its own.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import select

from reading_queue.db.tables import Account, Organisation
from reading_queue.domain.roles import Role
from reading_queue.errors import Forbidden
from reading_queue.services.hub import Hub
from storage.contract.wire import (
    ACCOUNTS_PER_SITE_MAX,
    HUB_EVENTS_PER_ANSWER_MAX,
    AccountRecord,
    AccountsAnswer,
    HubEvent,
    HubEventsAnswer,
)
from storage.ledger.custody import PLACE_HUB
from storage.ledger.tables import AuditEvent, CustodyEvent

SECURITY_ALERT: Final = "110113"  # DCM, PS3.16 CID 400
# Administrators' hashes never leave the hub: a stolen box must not open the network.
ROLES_AT_THE_CLINIC: Final = (Role.TECHNICIAN, Role.PHYSICIAN, Role.COORDINATOR)
# No transaction that writes an event lasts longer; later events of this time are told again, so none slips through.
TRANSACTION_MAX_S: Final = 60


class LineNotPrivate(Forbidden):
    """People reach this hub without TLS, so accounts do not travel. Set public_url to an https address."""

    code = "line_not_private"


def accounts_for_site(hub: Hub, gateway_id: str, site_id: str, known: str) -> AccountsAnswer:
    """Return the accounts of the site's own organisation, without them when `known` is still their digest.

    Raises:
        LineNotPrivate: the hub is not behind TLS.
    """
    if not _is_private(hub.public_url):
        raise LineNotPrivate
    with hub.transaction() as session:
        rows = session.scalars(
            select(Account)
            .join(Organisation, Organisation.organisation_id == Account.organisation_id)
            .where(Organisation.site_id == site_id, Account.role.in_(ROLES_AT_THE_CLINIC))
            .order_by(Account.account_id)
            .limit(ACCOUNTS_PER_SITE_MAX)
        ).all()
        records = tuple(_record(account) for account in rows)
        version = _digest(records)
        if version == known:
            return AccountsAnswer(version=version)
        session.add(
            AuditEvent(
                at=hub.clock(),
                event_code=SECURITY_ALERT,
                action="R",
                account_id=None,
                object_kind="gateway",
                object_id=gateway_id,
                site_id=site_id,
                detail={"handed_over": "accounts", "accounts": len(records)},
            )
        )
    return AccountsAnswer(version=version, accounts=records)


def events_for_site(hub: Hub, site_id: str, since: datetime) -> HubEventsAnswer:
    """Return the hub's own events about the site's studies since a time of the hub's clock, oldest first."""
    now = hub.clock()
    newer = (
        select(CustodyEvent, Account.display_name)
        .outerjoin(Account, Account.account_id == CustodyEvent.actor)
        .where(CustodyEvent.site_id == site_id, CustodyEvent.place == PLACE_HUB, CustodyEvent.received_at >= since)
        .order_by(CustodyEvent.received_at, CustodyEvent.event_id)
        .limit(HUB_EVENTS_PER_ANSWER_MAX)
    )
    with hub.transaction() as session:
        rows = session.execute(newer).all()
    more = len(rows) == HUB_EVENTS_PER_ANSWER_MAX
    settled = now - timedelta(seconds=TRANSACTION_MAX_S)
    events = tuple(
        HubEvent(
            event_id=event.event_id,
            study_uid=event.study_uid,
            hop=event.hop,
            at=event.at,
            actor_name=name or "",
            detail=event.detail,
        )
        for event, name in rows
    )
    return HubEventsAnswer(events=events, through=rows[-1][0].received_at if more else max(since, settled), more=more)


def _record(account: Account) -> AccountRecord:
    return AccountRecord.model_validate(
        {
            "account_id": account.account_id,
            "login": account.login,
            "display_name": account.display_name,
            "role": account.role,
            "language": account.language,
            "password_hash": account.password_hash,
            "disabled": account.disabled_at is not None or account.password_temporary,  # opens nothing but its change
        }
    )


def _digest(records: tuple[AccountRecord, ...]) -> str:
    canonical = json.dumps([record.model_dump(mode="json") for record in records], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_private(public_url: str) -> bool:
    """Return whether the line to this address is encrypted, or never leaves the machine."""
    parts = urlsplit(public_url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
