"""The changes of a network written down: rows, versions and audit, in the caller's transaction."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.network_changes import Change, Facts, Kind
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, account_row
from reading_queue.services.network.agreements import TERMS, record_agreements
from reading_queue.services.network.directors import record_directors
from reading_queue.services.network.duty import write_duties
from reading_queue.services.network.network_facts import DAYS, NAMES
from reading_queue.services.network.network_versions import (
    NOBODY_KNOWN,
    PHYSICIAN_TERMS,
    Author,
    record_organisations,
    record_people,
    record_physicians,
)
from reading_queue.services.network.rights import rights_changed
from storage.contract.identifiers import new_id
from storage.ledger.tables import Site

RANDOM_PASSWORD_BYTES: Final = 12


def lock_network(session: Session) -> None:
    """Let one change of the network at a time through."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("network import"))))


def new_password() -> str:
    """Return a random password for a new account: told once, to whoever makes it."""
    return secrets.token_urlsafe(RANDOM_PASSWORD_BYTES)


def record_changes(
    session: Session,
    changes: Iterable[Change],
    hashes: Mapping[str, str],
    now: datetime,
    author: Author = NOBODY_KNOWN,
) -> None:
    """Make the changes; `hashes` holds the password hashes of new accounts by login, `author` who does it."""
    by_kind: dict[Kind, dict[str, Facts]] = {kind: {} for kind in Kind}
    for change in changes:
        by_kind[change.kind][change.subject] = change.facts
    _record_organisations(session, by_kind[Kind.ORGANISATION], now, author)
    terms_of = {
        agreement_id: {name: _column(NAMES.get(name, name), facts) for name in TERMS}
        for agreement_id, facts in by_kind[Kind.AGREEMENT].items()
    }
    record_agreements(session, terms_of, now, author)
    accounts = _record_people(session, by_kind[Kind.PERSON], hashes, now, author)
    _record_physicians(session, by_kind, accounts, now, author)
    _record_directors(session, by_kind[Kind.DIRECTOR], now, author)


def _column(name: str, facts: Facts) -> object:
    return date.fromisoformat(facts[name]) if name in DAYS else facts[name]


def _record_organisations(session: Session, changed: Mapping[str, Facts], now: datetime, author: Author) -> None:
    sending = {facts["site"]: facts for facts in changed.values() if facts["site"] is not None}
    sites = {site.site_id: site for site in session.scalars(select(Site).where(among(Site.site_id, sending)))}
    for site_id, facts in sending.items():
        site = sites.get(site_id) or Site(site_id=site_id, created_at=now)
        site.name, site.time_zone = facts["name"], facts["time_zone"]
        session.add(site)
    known = select(Organisation).where(among(Organisation.organisation_id, changed))
    present = {row.organisation_id: row for row in session.scalars(known)}
    rows: dict[str, Organisation] = {}
    elsewhere: list[str] = []
    for code, facts in changed.items():
        row = present.get(code) or Organisation(organisation_id=code, parent_id=None)
        elsewhere += [code] if row.time_zone != facts["time_zone"] else []
        row.kind, row.name, row.name_en, row.time_zone = (
            facts[name] for name in ("kind", "name", "name_en", "time_zone")
        )
        row.site_id = row.site_id if row.site_id == facts["site"] else None  # given back before another takes it
        session.add(row)
        rows[code] = row
    session.flush()  # every parent exists before a child points to it
    for code, row in rows.items():
        row.parent_id, row.site_id = changed[code]["parent"], changed[code]["site"]
    session.flush()
    record_organisations(session, rows.values(), now, author)
    rewrite_duty(session, elsewhere, now)


def _record_people(
    session: Session, changed: Mapping[str, Facts], hashes: Mapping[str, str], now: datetime, author: Author
) -> dict[str, Account]:
    """Write the accounts and return those that were changed, by login."""
    accounts = {row.login: row for row in session.scalars(select(Account).where(among(Account.login, changed)))}
    left: list[str] = []
    for login, facts in changed.items():
        row = accounts.get(login)
        if row is None:
            role, organisation = Role(facts["role"]), facts["organisation"]
            new = NewAccount(login, facts["name"], "", role, organisation, facts["language"])
            row = accounts[login] = account_row(new, hashes[login], now)
            session.add(row)
        left += [row.account_id] if row.organisation_id != facts["organisation"] else []
        row.display_name, row.role, row.organisation_id = facts["name"], facts["role"], facts["organisation"]
        row.language = facts["language"]
        last_day = facts["last_day"]
        row.last_day = date.fromisoformat(last_day) if last_day is not None else None
        if facts["disabled"] != (row.disabled_at is not None):
            row.disabled_at = now if facts["disabled"] else None
            left += [row.account_id] if facts["disabled"] else []
    session.flush()
    ask_others(session, left, now)
    record_people(session, accounts.values(), now, author)
    return accounts


def ask_others(session: Session, account_ids: Collection[str], now: datetime) -> None:
    """Have what is offered to people who were closed or have gone elsewhere routed anew: the router withdraws it."""
    theirs = select(Physician.physician_id).where(among(Physician.account_id, account_ids))
    rights_changed(session, now, physicians=session.scalars(theirs).all() if account_ids else ())


def _record_physicians(
    session: Session,
    by_kind: Mapping[Kind, Mapping[str, Facts]],
    accounts: Mapping[str, Account],
    now: datetime,
    author: Author,
) -> None:
    """Write terms and duty; a physician belongs to the organisation of their account."""
    terms, duty = by_kind[Kind.PHYSICIAN], by_kind[Kind.DUTY]
    logins = [*dict.fromkeys((*terms, *duty, *(login for login in accounts)))]
    rows, written = physicians_of(session, logins), dict[str, Physician]()
    for login in logins:
        row = rows.get(login)
        if row is None and login in terms:
            row = Physician(physician_id=new_id(), account_id=accounts[login].account_id, duty=[])
            session.add(row)
        if row is None:
            continue
        if login in accounts:
            row.organisation_id = accounts[login].organisation_id
        for name in PHYSICIAN_TERMS if login in terms else ():
            setattr(row, name, _column(name, terms[login]))
        if login in duty:
            row.duty = duty[login]["duty"]
        written[login] = row
    session.flush()
    _write_duties(session, written.values(), now)
    record_physicians(session, written.values(), now, author)


def _record_directors(session: Session, changed: Mapping[str, Facts], now: datetime, author: Author) -> None:
    whose = [(organisation, login) for organisation, _, login in (subject.partition(":") for subject in changed)]
    known = select(Account.login, Account.account_id).where(among(Account.login, {login for _, login in whose}))
    account_ids = dict(session.execute(known).all()) if whose else {}
    duties = {
        (organisation, account_ids[login], login): changed[f"{organisation}:{login}"]["duty"]
        for organisation, login in whose
    }
    record_directors(session, duties, now, author)


def extend_duty(session: Session, logins: Collection[str], now: datetime) -> None:
    """Let the duty of these physicians, as it is written, reach as far from now as it ever does."""
    _write_duties(session, physicians_of(session, logins).values(), now)


def rewrite_duty(session: Session, organisation_ids: Collection[str], now: datetime) -> None:
    """Write the rosters of these organisations' physicians out anew: their local times are others by now."""
    theirs = select(Physician).where(among(Physician.organisation_id, organisation_ids))
    _write_duties(session, session.scalars(theirs.order_by(Physician.physician_id)).all(), now)


def _write_duties(session: Session, rows: Iterable[Physician], now: datetime) -> None:
    zones = dict(session.execute(select(Organisation.organisation_id, Organisation.time_zone)).all())
    write_duties(session, [(row, zones[row.organisation_id]) for row in rows], now)


def physicians_of(session: Session, logins: Collection[str]) -> dict[str, Physician]:
    """Return the physicians with these logins, by login."""
    found = (
        select(Account.login, Physician)
        .join(Physician, Physician.account_id == Account.account_id)
        .where(among(Account.login, logins))
    )
    return dict(session.execute(found).all())
