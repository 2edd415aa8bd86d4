"""Loading a network: organisations, sites, agreements, people. Importing the same document again changes nothing.

Durable: everything, in one transaction; a document with any mistake changes nothing, and all its mistakes are told
together, each with its path. What the document does not name is left as it is: nobody is deleted by leaving them out.
An account that exists keeps its password.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Annotated, Any, Final, Literal

from argon2 import PasswordHasher
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, DutyPeriod, Organisation, Physician
from reading_queue.domain.roles import Role, Title
from reading_queue.errors import Invalid
from reading_queue.services.accounts import PASSWORD_HASHER, NewAccount, account_row
from reading_queue.services.agreements import record_agreement
from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.manifest import SiteIdField
from storage.ledger.tables import AuditEvent, Site

SECURITY_ALERT: Final = "110113"  # DCM: people's rights were changed
DUTY_ALWAYS: Final = timedelta(days=366)  # `duty: always` reaches this far from each import
RANDOM_PASSWORD_BYTES: Final = 12
TIME_LIMIT_MIN_MAX: Final = 60 * 24 * 60

Code = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$")]
Login = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,31}$")]
Words = Annotated[str, Field(min_length=1, max_length=120)]


class NetworkInvalid(Invalid):
    """The network document has mistakes; nothing was changed."""

    code = "network_invalid"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Part(BaseModel):
    """A part of the document: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OrganisationPart(Part):
    """A hospital or clinic; `site` is the id under which its gateway sends studies."""

    id: Code
    kind: Literal["township", "county", "municipal", "provincial"]
    name: Words
    name_en: str = ""
    parent: Code | None = None
    site: SiteIdField | None = None
    time_zone: str = "Asia/Shanghai"


class AgreementPart(Part):
    """Who reads for whom; one agreement is recorded for each requesting organisation."""

    id: Code
    requesting: tuple[Code, ...] = Field(min_length=1)
    assisting: Code
    stage: int = Field(ge=1, le=9)
    modalities: tuple[str, ...] = ()
    body_regions: tuple[str, ...] = ()
    services: tuple[Literal["interpretation", "verification"], ...] = ("interpretation", "verification")
    time_limits_min: dict[Lane, Annotated[int, Field(ge=1, le=TIME_LIMIT_MIN_MAX)]] = {}
    valid_from: date
    valid_until: date


class PersonPart(Part):
    """A named person with an account. A password in the document is for demonstrations only."""

    login: Login
    name: Words
    organisation: Code
    password: str | None = Field(default=None, min_length=8)
    language: Literal["zh", "en"] = "zh"


class DutyPart(Part):
    """One period on duty."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime


class PhysicianPart(PersonPart):
    """A person who may read."""

    title: Title
    licence_number: Words
    licence_valid_until: date
    modalities: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    wip_max: int = Field(default=5, ge=1, le=50)
    duty: Literal["always"] | tuple[DutyPart, ...] = ()


class NetworkDocument(Part):
    """The whole document."""

    organisations: tuple[OrganisationPart, ...] = ()
    agreements: tuple[AgreementPart, ...] = ()
    physicians: tuple[PhysicianPart, ...] = ()
    technicians: tuple[PersonPart, ...] = ()
    coordinators: tuple[PersonPart, ...] = ()
    administrators: tuple[PersonPart, ...] = ()
    simulation: dict[str, Any] = {}  # for `counterpart-hub simulate` alone: an import leaves it aside

    def people(self) -> Iterator[tuple[str, Role, PersonPart]]:
        """Yield each person with their path in the document and their role."""
        groups: tuple[tuple[str, Role, tuple[PersonPart, ...]], ...] = (
            ("physicians", Role.PHYSICIAN, self.physicians),
            ("technicians", Role.TECHNICIAN, self.technicians),
            ("coordinators", Role.COORDINATOR, self.coordinators),
            ("administrators", Role.ADMINISTRATOR, self.administrators),
        )
        for name, role, group in groups:
            for number, person in enumerate(group):
                yield f"{name}[{number}]", role, person


@dataclass(frozen=True, slots=True)
class NetworkLoaded:
    """What an import found; `passwords` holds, by login, the random ones made for new accounts without one."""

    organisations: int
    sites: int
    agreements: int
    accounts: int
    passwords: dict[str, str] = field(default_factory=dict, repr=False)


def load_network(hub: Hub, document: Mapping[str, Any], *, hasher: PasswordHasher = PASSWORD_HASHER) -> NetworkLoaded:
    """Import the document (as parsed from YAML) and return what it held. Raises NetworkInvalid."""
    network = parse_network(document)
    passwords, hashes = _passwords_of_new_accounts(hub, network, hasher)
    now = hub.clock()
    with hub.transaction() as session:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("network import"))))
        _save_organisations(session, network.organisations, now)
        agreements = _save_agreements(session, network.agreements, now)
        accounts = _save_accounts(session, network, hashes, now)
        for physician in network.physicians:
            _save_physician(session, physician, accounts[physician.login], now)
        session.add(_audit(now, accounts=len(accounts), agreements=agreements))
    return NetworkLoaded(
        organisations=len(network.organisations),
        sites=sum(part.site is not None for part in network.organisations),
        agreements=agreements,
        accounts=len(accounts),
        passwords=passwords,
    )


def parse_network(document: Mapping[str, Any]) -> NetworkDocument:
    """Return the document, checked. Raises NetworkInvalid with every mistake and its path."""
    try:
        network = NetworkDocument.model_validate(document)
    except ValidationError as exc:
        mistakes = exc.errors(include_url=False, include_input=False, include_context=False)
        raise NetworkInvalid(f"{_path(mistake['loc'])}: {mistake['msg']}" for mistake in mistakes) from None
    problems = [*_wrong_organisations(network), *_wrong_agreements(network), *_wrong_people(network)]
    if problems:
        raise NetworkInvalid(problems)
    return network


def _path(location: tuple[int | str, ...]) -> str:
    """Return `physicians[3].title` for a location in the document."""
    words = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(words).lstrip(".") or "document"


def _wrong_organisations(network: NetworkDocument) -> Iterator[str]:
    parents = {part.id: part.parent for part in network.organisations}
    yield from _repeated("organisations", "id", [part.id for part in network.organisations])
    sites = [part.site for part in network.organisations if part.site is not None]
    yield from _repeated("organisations", "site", sites)
    for number, part in enumerate(network.organisations):
        if part.parent is not None and part.parent not in parents:
            yield f"organisations[{number}].parent: no organisation has the id {part.parent}"
        elif _is_its_own_ancestor(part.id, parents):
            yield f"organisations[{number}].parent: {part.id} would stand below itself"


def _is_its_own_ancestor(organisation: str, parents: Mapping[str, str | None]) -> bool:
    ancestor, steps = parents.get(organisation), 0
    while ancestor is not None and ancestor != organisation and steps < len(parents):
        ancestor, steps = parents.get(ancestor), steps + 1
    return ancestor is not None


def _wrong_agreements(network: NetworkDocument) -> Iterator[str]:
    known = {part.id for part in network.organisations}
    yield from _repeated("agreements", "id", [part.id for part in network.agreements])
    for number, part in enumerate(network.agreements):
        for organisation in (part.assisting, *part.requesting):
            if organisation not in known:
                yield f"agreements[{number}]: no organisation has the id {organisation}"
        if part.valid_until < part.valid_from:
            yield f"agreements[{number}].valid_until: is before valid_from"
    yield from _overlapping_agreements(network.agreements)


def _overlapping_agreements(parts: tuple[AgreementPart, ...]) -> Iterator[str]:
    """Yield each two agreements between which nothing could choose: same pair, stage, work and days."""
    pairs: dict[tuple[str, int, str], list[int]] = defaultdict(list)
    for number, part in enumerate(parts):
        for requesting in sorted(set(part.requesting)):
            pairs[part.assisting, part.stage, requesting].append(number)
    told: set[tuple[int, int]] = set()
    for (_, _, requesting), numbers in pairs.items():
        for first, second in combinations(numbers, 2):
            if first != second and (first, second) not in told and _overlap(parts[first], parts[second]):
                told.add((first, second))
                yield (
                    f"agreements[{second}]: {parts[second].id} and {parts[first].id} cover the same work of "
                    f"{requesting} at {parts[second].assisting} in stage {parts[second].stage} on the same days; "
                    "end one before the other begins, or give it another stage"
                )


def _overlap(one: AgreementPart, other: AgreementPart) -> bool:
    return (
        one.valid_from <= other.valid_until
        and other.valid_from <= one.valid_until
        and _share(one.modalities, other.modalities)
        and _share(one.body_regions, other.body_regions)
        and not set(one.services).isdisjoint(other.services)
    )


def _share(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether both name the same thing; naming nothing means everything."""
    return not one or not other or not set(one).isdisjoint(other)


def _wrong_people(network: NetworkDocument) -> Iterator[str]:
    sites = {part.id: part.site for part in network.organisations}
    logins: set[str] = set()
    for path, role, person in network.people():
        if person.login in logins:
            yield f"{path}.login: {person.login} is named twice"
        logins.add(person.login)
        if person.organisation not in sites:
            yield f"{path}.organisation: no organisation has the id {person.organisation}"
        elif role is Role.TECHNICIAN and sites[person.organisation] is None:
            yield f"{path}.organisation: {person.organisation} has no site, so a technician would see nothing"


def _repeated(group: str, key: str, values: list[Any]) -> Iterator[str]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{group}: the {key} {value} is given twice"


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
        session.add(row)
        rows[part.id] = row
    session.flush()  # every parent exists before a child points to it
    for part in parts:
        rows[part.id].parent_id = part.parent
    session.flush()


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
        "services": list(part.services),
        "stage": part.stage,
        "time_limits_min": {lane.value: minutes for lane, minutes in part.time_limits_min.items()},
        "valid_from": part.valid_from,
        "valid_until": part.valid_until,
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
    return accounts


def _save_physician(session: Session, part: PhysicianPart, account: Account, now: datetime) -> None:
    row = session.scalar(select(Physician).where(Physician.account_id == account.account_id))
    if row is None:
        row = Physician(physician_id=new_id(), account_id=account.account_id)
        session.add(row)
    row.organisation_id, row.title = part.organisation, part.title.value
    row.licence_number, row.licence_valid_until = part.licence_number, part.licence_valid_until
    row.modalities, row.specialties, row.wip_max = list(part.modalities), list(part.specialties), part.wip_max
    session.flush()
    if part.duty == "always":
        _save_duty(session, row.physician_id, f"{row.physician_id}:always", now, now + DUTY_ALWAYS)
        return
    for period in part.duty:
        period_id = f"{row.physician_id}:{period.starts_at.isoformat()}"
        _save_duty(session, row.physician_id, period_id, period.starts_at, period.ends_at)


def _save_duty(session: Session, physician_id: str, period_id: str, starts_at: datetime, ends_at: datetime) -> None:
    row = session.get(DutyPeriod, period_id)
    if row is None:
        row = DutyPeriod(duty_period_id=period_id, physician_id=physician_id, starts_at=starts_at)
        session.add(row)
    row.ends_at = ends_at


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
