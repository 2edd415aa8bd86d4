"""Loading a network: organisations, sites, agreements, people. Importing the same document again changes nothing.

Durable: everything, in one transaction; a document with any mistake changes nothing, and all its mistakes are told
together, each with its path. What the document does not name is left as it is: nobody is deleted by leaving them out.
An account that exists keeps its password.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.roster import gaps
from reading_queue.services.accounts import PASSWORD_HASHER, NewAccount, account_row
from reading_queue.services.agreements import record_agreement
from reading_queue.services.duty import periods_of, write_duty
from reading_queue.services.hub import Hub
from reading_queue.services.network_document import (
    AgreementPart,
    NetworkDocument,
    OrganisationPart,
    PhysicianPart,
    RosterPart,
    parse_network,
    written_duty,
)
from reading_queue.services.network_versions import record_organisation, record_person, record_physician
from storage.contract.identifiers import new_id
from storage.ledger.tables import AuditEvent, Site

SECURITY_ALERT: Final = "110113"  # DCM: people's rights were changed
RANDOM_PASSWORD_BYTES: Final = 12
GAPS_TOLD_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class NetworkLoaded:
    """What an import found; `passwords` holds, by login, the random ones made for new accounts without one."""

    organisations: int
    sites: int
    agreements: int
    accounts: int
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    roster_gaps: tuple[str, ...] = ()  # in words, for the coming week


def load_network(hub: Hub, document: Mapping[str, Any], *, hasher: PasswordHasher = PASSWORD_HASHER) -> NetworkLoaded:
    """Import the document (as parsed from YAML) and return what it held. Raises NetworkInvalid."""
    network = parse_network(document)
    passwords, hashes = _passwords_of_new_accounts(hub, network, hasher)
    now = hub.clock()
    zones = {part.id: part.time_zone for part in network.organisations}
    with hub.transaction() as session:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("network import"))))
        _save_organisations(session, network.organisations, now)
        agreements = _save_agreements(session, network.agreements, now)
        accounts = _save_accounts(session, network, hashes, now)
        for physician in network.physicians:
            _save_physician(session, physician, accounts[physician.login], zones[physician.organisation], now)
        session.add(_audit(now, accounts=len(accounts), agreements=agreements))
    return NetworkLoaded(
        organisations=len(network.organisations),
        sites=sum(part.site is not None for part in network.organisations),
        agreements=agreements,
        accounts=len(accounts),
        passwords=passwords,
        roster_gaps=tuple(_roster_gaps(network, zones, now)),
    )


def _passwords_of_new_accounts(
    hub: Hub, network: NetworkDocument, hasher: PasswordHasher
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by login the random passwords made, and the hashes of all new accounts. Hashing needs no transaction."""
    with hub.transaction() as session:
        existing = set(session.scalars(select(Account.login)))
    made: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for _, _, person in network.people():
        if person.login in existing:
            continue
        password = person.password
        if password is None:
            password = made[person.login] = secrets.token_urlsafe(RANDOM_PASSWORD_BYTES)
        hashes[person.login] = hasher.hash(password)
    return made, hashes


def _save_organisations(session: Session, parts: tuple[OrganisationPart, ...], now: datetime) -> None:
    for part in parts:
        if part.site is not None:
            site = session.get(Site, part.site) or Site(site_id=part.site, created_at=now)
            site.name, site.time_zone = part.name, part.time_zone
            session.add(site)
    session.flush()
    rows: dict[str, Organisation] = {}
    for part in parts:
        row = session.get(Organisation, part.id) or Organisation(organisation_id=part.id, parent_id=None)
        row.kind, row.name, row.name_en, row.site_id = part.kind, part.name, part.name_en, part.site
        row.time_zone = part.time_zone
        session.add(row)
        rows[part.id] = row
    session.flush()  # every parent exists before a child points to it
    for part in parts:
        rows[part.id].parent_id = part.parent
    session.flush()
    for row in rows.values():
        record_organisation(session, row, now)


def _save_agreements(session: Session, parts: tuple[AgreementPart, ...], now: datetime) -> int:
    count = 0
    for part in parts:
        for requesting in part.requesting:
            agreement_id = f"{part.id}:{requesting}"
            record_agreement(session, agreement_id, _terms(part, requesting), now)
            count += 1
    return count


def _terms(part: AgreementPart, requesting: str) -> dict[str, Any]:
    return {
        "requesting_organisation_id": requesting,
        "assisting_organisation_id": part.assisting,
        "modalities": list(part.modalities),
        "body_regions": list(part.body_regions),
        "services": [service.value for service in part.services],
        "stage": part.stage,
        "time_limits_min": {lane.value: minutes for lane, minutes in part.time_limits_min.items()},
        "valid_from": part.valid_from,
        "valid_until": part.valid_until,
        "cases_per_day_max": dict(part.cases_per_day_max),
    }


def _save_accounts(
    session: Session, network: NetworkDocument, hashes: Mapping[str, str], now: datetime
) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    for _, role, person in network.people():
        row = session.scalar(select(Account).where(Account.login == person.login))
        if row is None:
            new = NewAccount(person.login, person.name, "", role, person.organisation, person.language)
            row = account_row(new, hashes[person.login], now)
            session.add(row)
        row.display_name, row.role, row.organisation_id = person.name, role.value, person.organisation
        accounts[person.login] = row
    session.flush()
    for row in accounts.values():
        record_person(session, row, now)
    return accounts


def _roster_gaps(network: NetworkDocument, zones: Mapping[str, str], now: datetime) -> Iterator[str]:
    """Yield for each organisation with a weekly roster when none of its physicians is on duty in the coming week."""
    duty: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    end = now + timedelta(days=GAPS_TOLD_DAYS)
    for part in network.physicians:
        periods = periods_of(part.duty or (), zones[part.organisation], now, GAPS_TOLD_DAYS)
        for organisation in (part.organisation, *part.also_at):
            duty[organisation] += periods
    rostered = {part.organisation for part in network.physicians if isinstance(part.duty, RosterPart)}
    for organisation in sorted(rostered):
        zone = ZoneInfo(zones[organisation])
        for start, stop in gaps(duty[organisation], now, end):
            words = (f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" for moment in (start, stop))
            yield f"{organisation}: nobody is on duty from " + " to ".join(words)


def _save_physician(session: Session, part: PhysicianPart, account: Account, time_zone: str, now: datetime) -> None:
    row = session.scalar(select(Physician).where(Physician.account_id == account.account_id))
    if row is None:
        row = Physician(physician_id=new_id(), account_id=account.account_id)
        session.add(row)
    row.organisation_id, row.title = part.organisation, part.title.value
    row.licence_number, row.licence_valid_until = part.licence_number, part.licence_valid_until
    row.modalities, row.specialties, row.wip_max = list(part.modalities), list(part.specialties), part.wip_max
    row.also_at = list(part.also_at)
    if part.duty is not None or row.duty is None:
        row.duty = written_duty(part.duty or ())
    row.weekly_rvu_max = part.weekly_rvu_max
    session.flush()
    write_duty(session, row, time_zone, now)
    record_physician(session, row, now)


def _audit(now: datetime, **detail: int) -> AuditEvent:
    return AuditEvent(
        at=now,
        event_code=SECURITY_ALERT,
        action="U",
        account_id=None,
        object_kind="network",
        object_id="import",
        site_id=None,
        outcome="success",
        detail=dict(detail),
    )
