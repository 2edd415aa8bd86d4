"""The network taken from a file, and given as one: organisations, sites, agreements, people, duty.

Durable: everything, in one transaction; a file with any fault changes nothing, and all its faults are told together,
each with file, line and field. What the file does not name is left as it is, unless it is said to be whole. Importing
the same file again, or what was exported, changes nothing. An account that exists keeps its password.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from argon2 import PasswordHasher
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.tables import Account, Organisation
from reading_queue.domain.network_changes import (
    PEOPLE_KINDS,
    Change,
    Kind,
    State,
    Today,
    compare,
    ends_of_unnamed,
    merged,
    todays,
)
from reading_queue.domain.network_checks import Proposal, check
from reading_queue.domain.network_faults import Fault, Places, tell
from reading_queue.domain.network_gaps import tell_gaps
from reading_queue.errors import Conflict, Invalid
from reading_queue.services.access.accounts import PASSWORD_HASHER
from reading_queue.services.hub import Hub
from reading_queue.services.network.duty import gaps_of
from reading_queue.services.network.network_document import NetworkInvalid, ParsedNetwork, parse
from reading_queue.services.network.network_facts import GROUPS, document_of, facts_of, load_facts, load_facts_as_of
from reading_queue.services.network.network_parts import ZONE_DEFAULT
from reading_queue.services.network.network_recording import (
    extend_duty,
    lock_network,
    new_password,
    record_changes,
)
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author
from storage.ledger.tables import AuditEvent

SECURITY_ALERT: Final = "110113"  # DCM: people's rights were changed
GAPS_TOLD_DAYS: Final = 7
GAPS: Final = frozenset({"gap", "director_gap"})


class NetworkChanged(Conflict):
    """The network has changed since it was compared; nothing was imported. Compare it again."""

    code = "network_changed"


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import does: its changes, how many subjects of the file stay as they are, and what to look at."""

    changes: tuple[Change, ...]
    unchanged: int
    warnings: tuple[Fault, ...]
    places: Places

    @property
    def fingerprint(self) -> str:
        """Return a SHA-256 over all changes, old values and new: who agrees to the plan agrees to these."""
        told = [(one.kind, one.subject, one.action, one.facts, one.differing) for one in self.changes]
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def told_warnings(self, language: str = "en") -> list[str]:
        """Return the warnings as sentences."""
        return [
            fault.words(language) if fault.code in GAPS else tell(fault, self.places, language)
            for fault in self.warnings
        ]


@dataclass(frozen=True, slots=True)
class NetworkLoaded:
    """What an import found; `passwords` holds, by login, the random ones made for new accounts without one."""

    organisations: int
    sites: int
    agreements: int
    accounts: int
    plan: ImportPlan
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    roster_gaps: tuple[str, ...] = ()  # in words, for the coming week


def plan_import(
    hub: Hub,
    document: Mapping[str, Any],
    places: Places | None = None,
    faults: Iterable[Fault] = (),
    *,
    whole: bool = False,
) -> ImportPlan:
    """Return what importing the document (as parsed from its file) would do. Raises NetworkInvalid.

    `places`: where everything stands in the file; `faults`: what was found wrong with the file as such.
    """
    parsed = parse(document)
    parsed.faults += faults
    with hub.transaction() as session:
        return _plan(session, parsed, places or {}, hub.clock(), whole=whole)


def load_network(
    hub: Hub,
    document: Mapping[str, Any],
    places: Places | None = None,
    *,
    whole: bool = False,
    told: str | None = None,
    author: Author = NOBODY_KNOWN,
    hasher: PasswordHasher = PASSWORD_HASHER,
) -> NetworkLoaded:
    """Import the document and return what it held.

    `whole`: agreements and people that it does not name end, in so far as it has such a section. `told`: the
    fingerprint of the plan that somebody has agreed to; `author`: who does it.

    Raises:
        NetworkInvalid: with every fault.
        NetworkChanged: what would be done is not what was told.
    """
    parsed = parse(document)
    passwords, hashes = _passwords_of_new_accounts(hub, parsed, hasher)
    now = hub.clock()
    with hub.transaction() as session:
        lock_network(session)
        plan = _plan(session, parsed, places or {}, now, whole=whole)
        if told is not None and told != plan.fingerprint:
            raise NetworkChanged
        record_changes(session, plan.changes, hashes, now, author)
        session.execute(update(Account).where(among(Account.login, passwords)).values(password_temporary=True))
        written = {change.subject for change in plan.changes if change.kind in PEOPLE_KINDS}
        extend_duty(session, facts_of(parsed.network)[Kind.DUTY].keys() - written, now)
        session.add(_audit(now, plan, author))
    network = parsed.network
    return NetworkLoaded(
        organisations=len(network.organisations),
        sites=sum(part.site is not None for part in network.organisations),
        agreements=sum(len(part.requesting) for part in network.agreements),
        accounts=sum(1 for _ in network.people()),
        passwords=passwords,
        roster_gaps=tuple(fault.words() for fault in plan.warnings if fault.code in GAPS),
        plan=plan,
    )


def export_network(hub: Hub, as_of: datetime | None = None) -> dict[str, Any]:
    """Return the network, or as it was, as a document that changes nothing when it is imported again. No passwords."""
    with hub.transaction() as session:
        return document_of(load_facts(session) if as_of is None else load_facts_as_of(session, as_of))


def end_of_day(hub: Hub, day: date, zone: str = "") -> datetime:
    """Return the moment at which the day ends in the time zone; without one, where most organisations are.

    A network is one thing at one moment, wherever its organisations are: of each one's own midnight it would be a
    network that never was, whose parts may name others that were not there yet.

    Raises:
        Invalid: there is no such zone, or the day is too far away.
    """
    chosen = zone or _zone_of_most(hub)
    try:
        return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(chosen))
    except OverflowError:
        raise Invalid(f"as_of: no day after {day} can be written") from None
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise Invalid(f"zone: no time zone is called {chosen[:60]}; write for instance {ZONE_DEFAULT}") from None


def _zone_of_most(hub: Hub) -> str:
    zones = select(Organisation.time_zone).group_by(Organisation.time_zone)
    with hub.transaction() as session:
        return session.scalar(zones.order_by(func.count().desc(), Organisation.time_zone).limit(1)) or ZONE_DEFAULT


def _plan(session: Session, parsed: ParsedNetwork, places: Places, now: datetime, *, whole: bool) -> ImportPlan:
    before, wanted = load_facts(session), facts_of(parsed.network)
    today = todays({**before[Kind.ORGANISATION], **wanted[Kind.ORGANISATION]}, now)
    changes = compare(before, wanted, today)
    named = {(kind in PEOPLE_KINDS, subject) for kind in Kind for subject in wanted[kind]}
    unchanged = len(named - {(change.kind in PEOPLE_KINDS, change.subject) for change in changes})
    if whole:
        changes += _ends(parsed, before, wanted, today)
    after = merged(before, changes)
    found = check(Proposal(before, after, changes, today, parsed.where, parsed.unreadable))
    faults = [*parsed.faults, *(fault for fault in found if not fault.warning)]
    if faults:
        raise NetworkInvalid(_in_order(faults, parsed), places)
    warnings = [fault for fault in found if fault.warning]
    return ImportPlan(
        tuple(changes), unchanged, (*warnings, *_gaps(wanted, after, now), *_director_gaps(wanted, after, now)), places
    )


def _in_order(faults: Iterable[Fault], parsed: ParsedNetwork) -> list[Fault]:
    """Return the faults as they stand in the document: section by section, from its beginning."""
    sections = {name: number for number, name in enumerate(parsed.sections)}
    return sorted(
        faults,
        key=lambda fault: (
            sections.get(str(fault.path[0]) if fault.path else "", -1),
            fault.path[1] if len(fault.path) > 1 and isinstance(fault.path[1], int) else -1,
        ),
    )


def _ends(parsed: ParsedNetwork, before: State, wanted: State, today: Today) -> list[Change]:
    """Return what ends because a whole document does not name it, in the sections that it has."""
    ends: list[Change] = []
    if "agreements" in parsed.sections:
        ends += ends_of_unnamed(Kind.AGREEMENT, before, wanted[Kind.AGREEMENT], today)
    if "duty_directors" in parsed.sections:
        ends += ends_of_unnamed(Kind.DIRECTOR, before, wanted[Kind.DIRECTOR], today)
    roles = {role for role, section in GROUPS.items() if section in parsed.sections}
    people = {login: facts for login, facts in before[Kind.PERSON].items() if facts["role"] in roles}
    ends += ends_of_unnamed(Kind.PERSON, {**before, Kind.PERSON: people}, wanted[Kind.PERSON], today)
    return ends


def _gaps(wanted: State, after: State, now: datetime) -> list[Fault]:
    """Return when nobody is on duty in the coming week, for the hospitals of those whose duty the file says."""
    hospitals: set[str] = set()
    for login, facts in wanted[Kind.DUTY].items():
        if facts["duty"] is not None:
            hospitals.update(_hospitals_of(after, login))
    staff: dict[str, list[tuple[Any, str, date | None]]] = {hospital: [] for hospital in sorted(hospitals)}
    for login, facts in after[Kind.DUTY].items():
        person = after[Kind.PERSON][login]
        if person["disabled"]:
            continue
        last_day = date.fromisoformat(person["last_day"]) if person["last_day"] is not None else None
        own, *_ = _hospitals_of(after, login)
        for hospital in _hospitals_of(after, login):
            if hospital in staff:
                staff[hospital].append((facts["duty"], after[Kind.ORGANISATION][own]["time_zone"], last_day))
    return list(_told_gaps("gap", staff, after, now))


def _director_gaps(wanted: State, after: State, now: datetime) -> list[Fault]:
    """Return when nobody is duty director in the coming week, for organisations whose weekly rosters the file says."""
    staff: defaultdict[str, list[tuple[Any, str, date | None]]] = defaultdict(list)
    for subject, facts in after[Kind.DIRECTOR].items():
        organisation, _, login = subject.partition(":")
        person = after[Kind.PERSON][login]
        if not person["disabled"]:
            last_day = date.fromisoformat(person["last_day"]) if person["last_day"] is not None else None
            staff[organisation].append((facts["duty"], after[Kind.ORGANISATION][organisation]["time_zone"], last_day))
    named = {
        subject.partition(":")[0] for subject, facts in wanted[Kind.DIRECTOR].items() if isinstance(facts["duty"], dict)
    }
    weekly = {one: duties for one, duties in sorted(staff.items()) if one in named}
    return list(_told_gaps("director_gap", weekly, after, now))


def _told_gaps(
    code: str, staff: Mapping[str, list[tuple[Any, str, date | None]]], after: State, now: datetime
) -> Iterator[Fault]:
    for organisation, duties in staff.items():
        facts = after[Kind.ORGANISATION][organisation]
        found = gaps_of(duties, now, GAPS_TOLD_DAYS)
        yield from tell_gaps(organisation, facts["name"], ZoneInfo(facts["time_zone"]), found, code)


def _hospitals_of(state: State, login: str) -> list[str]:
    return [state[Kind.PERSON][login]["organisation"], *state[Kind.PHYSICIAN][login]["also_at"]]


def _passwords_of_new_accounts(
    hub: Hub, parsed: ParsedNetwork, hasher: PasswordHasher
) -> tuple[dict[str, str], dict[str, str]]:
    """Return by login the random passwords made, and the hashes of all new accounts. Hashing needs no transaction."""
    if parsed.faults:
        return {}, {}
    with hub.transaction() as session:
        existing = set(session.scalars(select(Account.login)))
    made: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for _, person in parsed.network.people():
        if person.login in existing:
            continue
        password = person.password
        if password is None:
            password = made[person.login] = new_password()
        hashes[person.login] = hasher.hash(password)
    return made, hashes


def _audit(now: datetime, plan: ImportPlan, author: Author) -> AuditEvent:
    counted = Counter(f"{change.kind.value}_{change.action.value}" for change in plan.changes)
    return AuditEvent(
        at=now,
        event_code=SECURITY_ALERT,
        action="U",
        account_id=author.account_id,
        object_kind="network",
        object_id="import",
        site_id=None,
        outcome="success",
        detail={**counted, **author.audited},
    )
