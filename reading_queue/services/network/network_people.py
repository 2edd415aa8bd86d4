"""People added, changed and ended on a coordinator's desk: the account, what a physician may read, the last day.

Durable: each act is one transaction with its versions and audit. The password of a new account is random and told once,
to who makes it. A coordinator adds physicians and technicians of their own organisations, an administrator everybody.
Who has had their last day is closed by a sweep, and what was offered to them is offered to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from argon2 import PasswordHasher
from sqlalchemy import ColumnElement, Date, cast, delete, func, select, update
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.db.tables import Session as LoginSession
from reading_queue.domain.network_changes import Kind, compare
from reading_queue.domain.roles import Role
from reading_queue.errors import Conflict, NotFound
from reading_queue.services.access.accounts import PASSWORD_HASHER, audit_password
from reading_queue.services.access.oversight import lineages, managed_roles, own_organisations
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.network.duty import local_today, write_duty
from reading_queue.services.network.network_document import NOTHING
from reading_queue.services.network.network_editing import (
    FieldsInvalid,
    NameTaken,
    StaleVersion,
    parse_part,
    require_own,
    require_sound,
)
from reading_queue.services.network.network_facts import GROUPS, facts_of
from reading_queue.services.network.network_history import present_version
from reading_queue.services.network.network_parts import NetworkDocument, PersonPart, PhysicianPart
from reading_queue.services.network.network_recording import ask_others, lock_network, new_password, record_changes
from reading_queue.services.network.network_versions import PHYSICIAN_TERMS, Author, record_person
from reading_queue.services.worklists.desk_events import tell_sessions

PERSON_FACTS: Final = ("name", "organisation", "language")
ACCOUNT_FACTS: Final = (*PERSON_FACTS, "last_day")
CLOSED_AT_ONCE: Final = 50  # accounts in one run of the sweep


class LastAdministrator(Conflict):
    """Nobody would be left to administer this network: make another administrator first."""

    code = "last_administrator"


class OwnPassword(Conflict):
    """Your own password is changed on the page for it, with the one you have."""

    code = "own_password"


@dataclass(frozen=True, slots=True)
class TemporaryPassword:
    """A password for one sign-in, and whose it is."""

    name: str
    login: str
    password: str


@dataclass(frozen=True, slots=True)
class AddedPerson:
    """A new account; the password is kept nowhere."""

    account_id: str
    login: str
    name: str
    organisation_id: str
    physician_id: str | None
    password: str = field(repr=False)


def add_person(
    hub: Hub,
    viewer: Viewer,
    role: Role,
    login: str,
    given: Mapping[str, Any],
    *,
    hasher: PasswordHasher = PASSWORD_HASHER,
) -> AddedPerson:
    """Add somebody with an account: `given` is named as in a network document, for a physician with terms and duty.

    Raises:
        FieldsInvalid, NameTaken, NotYours, Forbidden.
    """
    require(viewer, *WITH_OVERSIGHT)
    part = _parse(role, login, given)
    password = new_password()
    password_hash, now = hasher.hash(password), hub.clock()
    with hub.transaction() as session:
        lock_network(session)
        _require_sound(session, viewer, role, part)
        today = local_today(session, part.organisation, now)
        _require_in_time(part, today)
        people: dict[str, Any] = {GROUPS[role]: (part,)}
        wanted = facts_of(NetworkDocument.model_construct(**people))
        record_changes(
            session, compare(NOTHING, wanted, lambda _: today), {login: password_hash}, now, Author(viewer.account_id)
        )
        known = select(Account.account_id, Physician.physician_id).outerjoin(
            Physician, Physician.account_id == Account.account_id
        )
        account_id, physician_id = session.execute(known.where(Account.login == login)).one()
        session.execute(update(Account).where(Account.account_id == account_id).values(password_temporary=True))
    return AddedPerson(account_id, login, part.name, part.organisation, physician_id, password)


def save_person(hub: Hub, viewer: Viewer, account_id: str, given: Mapping[str, Any], version: int) -> None:
    """Make these somebody's name, organisation and language: PERSON_FACTS, named as in a network document.

    What is offered to somebody who goes to another organisation is routed anew; what they hold stays theirs.

    Raises:
        StaleVersion, NotYours, NotFound, FieldsInvalid.
    """
    now = hub.clock()
    with hub.transaction() as session:
        row = _get_own(session, viewer, account_id, version)
        part = parse_part(PersonPart, {"login": row.login}, given, PERSON_FACTS)
        facts = {name: getattr(part, name) for name in PERSON_FACTS}
        change = require_sound(session, Kind.PERSON, row.login, facts, local_today(session, row.organisation_id, now))
        require_own(belongs=part.organisation in own_organisations(session, viewer))
        record_changes(session, [change], {}, now, Author(viewer.account_id))


def end_person(hub: Hub, viewer: Viewer, account_id: str, last_day: date | None, version: int) -> None:
    """Close the account after this day, at once when it is over; None lets the person stay, or come again.

    Raises:
        StaleVersion, NotYours, NotFound, LastAdministrator.
        FieldsInvalid: the day is before yesterday, or somebody else has the licence by now.
    """
    now = hub.clock()
    with hub.transaction() as session:
        row = _get_own(session, viewer, account_id, version)
        today = local_today(session, row.organisation_id, now)
        if last_day is not None and last_day < today - timedelta(days=1):
            raise FieldsInvalid(("last_day",))
        row.last_day = last_day
        if last_day is not None and last_day < today:
            row.disabled_at = row.disabled_at or now
            ask_others(session, [account_id], now)
        else:
            number = select(Physician.licence_number).where(Physician.account_id == account_id)
            _require_own_licence(session, session.scalar(number) or "", account_id)
            row.disabled_at = None
        session.flush()
        _require_administrator(session)
        _write_duty(session, account_id, hub)
        record_person(session, row, now, Author(viewer.account_id))


def reset_password(
    hub: Hub, viewer: Viewer, account_id: str, *, hasher: PasswordHasher = PASSWORD_HASHER
) -> TemporaryPassword:
    """Give somebody who has lost theirs a password for one sign-in, and return it; kept nowhere, told this once.

    Their sessions end and a lock is lifted; before anything else they choose a password of their own.

    Raises:
        NotFound, OwnPassword.
        Forbidden: the viewer is no administrator.
    """
    require(viewer, Role.ADMINISTRATOR)
    if account_id == viewer.account_id:
        raise OwnPassword
    return _reset(hub, Account.account_id == account_id, Author(viewer.account_id), hasher)


def reset_password_of(hub: Hub, login: str, author: Author, *, hasher: PasswordHasher = PASSWORD_HASHER) -> str:
    """Do the same by a command, for who has lost theirs where no administrator is left to sign in. Raises NotFound."""
    return _reset(hub, Account.login == login, author, hasher).password


def _reset(hub: Hub, whose: ColumnElement[bool], author: Author, hasher: PasswordHasher) -> TemporaryPassword:
    password = new_password()
    password_hash, now = hasher.hash(password), hub.clock()
    with hub.transaction() as session:
        row = session.scalar(select(Account).where(whose).with_for_update())
        if row is None:
            raise NotFound("there is no such person")
        row.password_hash, row.password_temporary = password_hash, True
        row.failed_logins, row.locked_until = 0, None
        session.execute(delete(LoginSession).where(LoginSession.account_id == row.account_id))
        tell_sessions(session)
        audit_password(session, now, author.account_id, row.account_id, "reset", **author.audited)
        return TemporaryPassword(name=row.display_name, login=row.login, password=password)


def close_leavers(hub: Hub) -> int:
    """Close the accounts whose last day is over where they belong, in batches; return how many."""
    now = hub.clock()
    over = (
        select(Account)
        .join(Organisation, Organisation.organisation_id == Account.organisation_id)
        .where(
            Account.disabled_at.is_(None),
            Account.last_day.is_not(None),
            Account.last_day < cast(func.timezone(Organisation.time_zone, now), Date),
        )
        .order_by(Account.account_id)
        .limit(CLOSED_AT_ONCE)
        .with_for_update(of=Account, skip_locked=True, key_share=True)
    )
    with hub.transaction() as session:
        rows = session.scalars(over).all()
        for row in rows:
            row.disabled_at = now
        session.flush()
        ask_others(session, [row.account_id for row in rows], now)
        for row in rows:
            record_person(session, row, now)
    return len(rows)


def _get_own(session: Session, viewer: Viewer, account_id: str, version: int) -> Account:
    """Let one change of the network at a time through; return the account of whom the viewer manages."""
    require(viewer, *WITH_OVERSIGHT)
    lock_network(session)
    row = session.get(Account, account_id)
    if row is None:
        raise NotFound("there is nobody of this id")
    managed = Role(row.role) in managed_roles(viewer)
    require_own(belongs=managed and row.organisation_id in own_organisations(session, viewer))
    if present_version(session, Kind.PERSON, account_id) != version:
        raise StaleVersion
    return row


def _parse(role: Role, login: str, given: Mapping[str, Any]) -> PersonPart:
    if role is Role.PHYSICIAN:
        return parse_part(PhysicianPart, {"login": login}, given, (*ACCOUNT_FACTS, *PHYSICIAN_TERMS, "duty"))
    return parse_part(PersonPart, {"login": login}, given, ACCOUNT_FACTS)


def _require_sound(session: Session, viewer: Viewer, role: Role, part: PersonPart) -> None:
    known = lineages(session)
    if part.organisation not in known:
        raise FieldsInvalid(("organisation",))
    require_own(belongs=role in managed_roles(viewer) and part.organisation in own_organisations(session, viewer))
    if session.scalar(select(Account.account_id).where(Account.login == part.login)) is not None:
        raise NameTaken
    if role is Role.TECHNICIAN and session.get_one(Organisation, part.organisation).site_id is None:
        raise FieldsInvalid(("organisation",))
    if isinstance(part, PhysicianPart):
        if not set(part.also_at) <= known.keys() - {part.organisation}:
            raise FieldsInvalid(("also_at",))
        _require_own_licence(session, part.licence_number)


def _require_own_licence(session: Session, number: str, account_id: str = "") -> None:
    """Raise FieldsInvalid where somebody else has this licence: under two names one person could sign as two."""
    other = select(Account.account_id).join(Physician, Physician.account_id == Account.account_id)
    other = other.where(
        Physician.licence_number == number, Account.account_id != account_id, Account.disabled_at.is_(None)
    )
    if session.scalar(other.limit(1)) is not None:
        raise FieldsInvalid(("licence_number",))


def _require_in_time(part: PersonPart, today: date) -> None:
    if isinstance(part.last_day, date) and part.last_day < today:
        raise FieldsInvalid(("last_day",))
    if isinstance(part, PhysicianPart) and part.licence_valid_until < today:
        raise FieldsInvalid(("licence_valid_until",))


def _require_administrator(session: Session) -> None:
    left = select(Account.account_id).where(Account.role == Role.ADMINISTRATOR, Account.disabled_at.is_(None))
    if session.scalar(left.limit(1)) is None:
        raise LastAdministrator


def _write_duty(session: Session, account_id: str, hub: Hub) -> None:
    """Let the physician's duty end with the last day, or go on."""
    row = session.scalar(select(Physician).where(Physician.account_id == account_id))
    if row is not None:
        write_duty(session, row, session.get_one(Organisation, row.organisation_id).time_zone, hub.clock())
