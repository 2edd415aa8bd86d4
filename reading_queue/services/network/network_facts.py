"""A network as plain facts: from a document's parts, from the hub's database, and back into a document.

Facts are named as in the network's file, for each kind by code, by `agreement:requesting` or by login; what means a set
is sorted. The same network gives the same facts, whichever way it came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from reading_queue.db.director_tables import DutyDirector
from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.network_changes import Facts, Kind, State, is_over
from reading_queue.domain.roles import Role
from reading_queue.services.network.agreements import TERMS, agreements_as_of
from reading_queue.services.network.network_parts import (
    AgreementPart,
    NetworkDocument,
    OrganisationPart,
    PhysicianPart,
    written_duty,
)
from reading_queue.services.network.network_versions import (
    network_as_of,
    organisation_facts,
    person_facts,
    physician_facts,
)

# The terms of an agreement: their names in the file are those of the columns, but for these.
NAMES: Final[Mapping[str, str]] = {
    "requesting_organisation_id": "requesting",
    "assisting_organisation_id": "assisting",
}
GROUPS: Final[Mapping[Role, str]] = {
    Role.PHYSICIAN: "physicians",
    Role.TECHNICIAN: "technicians",
    Role.COORDINATOR: "coordinators",
    Role.ADMINISTRATOR: "administrators",
}
PERSON_FACTS: Final = ("name", "organisation", "language", "disabled", "last_day")
SETS: Final = frozenset({"modalities", "body_regions", "services", "specialties", "also_at"})
DEFAULTS: Final[Facts] = {
    "name_en": "",
    "parent": None,
    "site": None,
    "disabled": False,
    "last_day": None,
    "weekly_rvu_max": None,
    "single_physician": False,
}
ORDER: Final = tuple(
    dict.fromkeys(name for part in (OrganisationPart, AgreementPart, PhysicianPart) for name in part.model_fields)
)
DAYS: Final = frozenset({"valid_from", "valid_until", "licence_valid_until", "last_day"})


def facts_of(network: NetworkDocument) -> State:
    """Return what the document says."""
    state: dict[Kind, dict[str, Facts]] = {kind: {} for kind in Kind}
    for organisation in network.organisations:
        state[Kind.ORGANISATION][organisation.id] = organisation.model_dump(mode="json", exclude={"id"})
    for agreement in network.agreements:
        terms = agreement.model_dump(mode="json", exclude={"id"})
        for requesting in agreement.requesting:
            state[Kind.AGREEMENT][f"{agreement.id}:{requesting}"] = {**terms, "requesting": requesting}
    for role, person in network.people():
        facts = person.model_dump(mode="json", include=set(PERSON_FACTS))
        state[Kind.PERSON][person.login] = {**facts, "role": role.value}
        if isinstance(person, PhysicianPart):
            state[Kind.PHYSICIAN][person.login] = person.model_dump(
                mode="json", exclude={"login", "password", "duty", *PERSON_FACTS}
            )
            state[Kind.DUTY][person.login] = {"duty": None if person.duty is None else written_duty(person.duty)}
    for roster in network.rosters:
        state[Kind.DUTY][roster.login] = {"duty": written_duty(roster.duty)}
    for director in network.duty_directors:
        subject = f"{director.organisation}:{director.login}"
        state[Kind.DIRECTOR][subject] = {"duty": written_duty(director.duty)}
    return state


def load_facts(session: Session) -> State:
    """Return what the hub knows."""
    state = _people(session.scalars(select(Account)).all(), session.scalars(select(Physician)).all())
    state[Kind.ORGANISATION] = _organisations(session.scalars(select(Organisation)))
    for agreement in session.scalars(select(Agreement)):
        state[Kind.AGREEMENT][agreement.agreement_id] = agreement_facts(agreement)
    directed = select(DutyDirector, Account.login).join(Account, Account.account_id == DutyDirector.account_id)
    for director, login in session.execute(directed):
        state[Kind.DIRECTOR][f"{director.organisation_id}:{login}"] = {"duty": director.duty}
    return _in_order(state)


def load_facts_beside(session: Session, kind: Kind, subject: str, facts: Facts) -> State:
    """Return as much as it takes to judge such facts of one organisation, person or physician.

    Of an organisation: all others, for the tree and the sites. Of a person or physician: who has the same licence,
    who administers, and the organisations that are named.
    """
    if kind is Kind.ORGANISATION:
        return {**{kind: {} for kind in Kind}, Kind.ORGANISATION: _organisations(session.scalars(select(Organisation)))}
    own = select(Physician).join(Account, Account.account_id == Physician.account_id).where(Account.login == subject)
    physician = session.scalar(own)
    licence = facts.get("licence_number", physician.licence_number if physician is not None else None)
    alike = Account.account_id.in_(select(Physician.account_id).where(Physician.licence_number == licence))
    judged = or_(Account.login == subject, alike, Account.role == Role.ADMINISTRATOR)
    accounts = session.scalars(select(Account).where(judged)).all()
    theirs = select(Physician).where(Physician.account_id.in_([row.account_id for row in accounts]))
    state = _people(accounts, session.scalars(theirs).all())
    named = {facts.get("organisation"), *facts.get("also_at", physician.also_at if physician is not None else ())}
    named |= {row.organisation_id for row in accounts}
    known = select(Organisation).where(Organisation.organisation_id.in_(named - {None}))
    return _in_order({**state, Kind.ORGANISATION: _organisations(session.scalars(known))})


def _organisations(rows: Iterable[Organisation]) -> dict[str, Facts]:
    return {row.organisation_id: organisation_facts(row) for row in rows}


def _people(accounts: Iterable[Account], physicians: Iterable[Physician]) -> dict[Kind, dict[str, Facts]]:
    state: dict[Kind, dict[str, Facts]] = {kind: {} for kind in Kind}
    logins: dict[str, str] = {}
    for account in accounts:
        logins[account.account_id] = account.login
        state[Kind.PERSON][account.login] = person_facts(account)
    for physician in physicians:
        login = logins[physician.account_id]
        state[Kind.PHYSICIAN][login] = _sorted_sets(physician_facts(physician))
        state[Kind.DUTY][login] = {"duty": physician.duty}
    return state


def load_facts_as_of(session: Session, moment: datetime) -> State:
    """Return what the hub knew at the moment, from the versions."""
    accounts = dict(session.execute(select(Account.account_id, Account.login)).all())
    physicians = dict(session.execute(select(Physician.physician_id, Physician.account_id)).all())
    agreements = {one.agreement_id: agreement_facts(one) for one in agreements_as_of(session, moment)}
    versions = {kind: network_as_of(session, kind, moment) for kind in Kind if kind is not Kind.AGREEMENT}
    state: dict[Kind, dict[str, Facts]] = {
        Kind.ORGANISATION: dict(versions[Kind.ORGANISATION]),
        Kind.AGREEMENT: dict(agreements),
        Kind.DIRECTOR: dict(versions[Kind.DIRECTOR]),
        Kind.PERSON: {accounts[one]: facts for one, facts in versions[Kind.PERSON].items()},
    }
    for kind in (Kind.PHYSICIAN, Kind.DUTY):
        state[kind] = {accounts[physicians[one]]: facts for one, facts in versions[kind].items()}
    return _in_order(state)


def _in_order(state: Mapping[Kind, Mapping[str, Facts]]) -> State:
    """Return the state sorted, whatever order the database has."""
    return {kind: dict(sorted(state[kind].items())) for kind in Kind}


def agreement_facts(row: Any) -> dict[str, Any]:
    """Return the agreement, or a version of one, as the network's file says it."""
    facts = {NAMES.get(name, name): getattr(row, name) for name in TERMS}
    days = {name: facts[name].isoformat() for name in DAYS & facts.keys()}
    return _sorted_sets({**facts, **days})


def _sorted_sets(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted(value) if name in SETS else value for name, value in facts.items()}


def document_of(state: State) -> dict[str, Any]:
    """Return the network as a document, plain values for YAML. No passwords; who is closed is `disabled`.

    Agreements that never came in force are left out.
    """
    document: dict[str, Any] = {
        "organisations": [{"id": code} | _plain(facts) for code, facts in state[Kind.ORGANISATION].items()],
        "agreements": _agreements(state[Kind.AGREEMENT]),
    }
    people: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for login, facts in state[Kind.PERSON].items():
        own = {name: value for name, value in facts.items() if name != "role"}
        if login in state[Kind.PHYSICIAN]:
            own |= {**state[Kind.PHYSICIAN][login], **state[Kind.DUTY][login]}
        people[GROUPS[Role(facts["role"])]].append({"login": login} | _plain(own))
    directors: list[dict[str, Any]] = []
    for subject, facts in state[Kind.DIRECTOR].items():
        organisation, _, login = subject.partition(":")
        directors.append({"organisation": organisation, "login": login} | _plain(facts))
    return document | {group: people[group] for group in GROUPS.values()} | {"duty_directors": directors}


def _agreements(agreements: Mapping[str, Facts]) -> list[dict[str, Any]]:
    """Return one part for the agreements that have a code and all terms in common."""
    alike: dict[str, tuple[str, Facts, list[str]]] = {}
    for subject, facts in agreements.items():
        if is_over(Kind.AGREEMENT, facts, lambda _: date.min):  # it ended before its first day
            continue
        code, _, requesting = subject.partition(":")
        terms = {name: value for name, value in facts.items() if name != "requesting"}
        key = repr((code, sorted(terms.items(), key=str)))
        alike.setdefault(key, (code, terms, []))[2].append(requesting or facts["requesting"])
    return [
        {"id": code, "requesting": sorted(requesting)} | _plain(terms) for code, terms, requesting in alike.values()
    ]


def _plain(facts: Facts) -> dict[str, Any]:
    """Return the facts without what is understood when it is not said, in the order of the parts, days as days."""
    said = {name: facts[name] for name in ORDER if name in facts and DEFAULTS.get(name, ...) != facts[name]}
    said = {name: value for name, value in said.items() if name == "duty" or value not in ([], {})}
    return {name: date.fromisoformat(value) if name in DAYS else value for name, value in said.items()}
