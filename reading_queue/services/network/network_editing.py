"""The network changed from a coordinator's desk: organisations and sites, agreements, physicians' terms, duty.

Durable: each change is one transaction with its version and a line of the audit trail. Who changes something says which
version they have seen; what has been changed since is not written over. A coordinator changes what belongs to their own
organisation and those below it, an administrator everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.agreement_terms import find_overlapping, last_day_of, split_at, successor
from reading_queue.domain.network_changes import Action, Change, Kind, merged
from reading_queue.domain.network_checks import Proposal, check
from reading_queue.domain.network_faults import Path
from reading_queue.domain.roles import Role
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound
from reading_queue.services.access.oversight import lineages, own_organisations
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import TERMS, record_agreement
from reading_queue.services.network.directors import record_director
from reading_queue.services.network.duty import local_today, parse_duty, write_duty
from reading_queue.services.network.network_facts import load_facts_beside
from reading_queue.services.network.network_history import present_version
from reading_queue.services.network.network_parts import (
    AgreementPart,
    OrganisationPart,
    Part,
    PhysicianPart,
    written_duty,
)
from reading_queue.services.network.network_recording import lock_network, rewrite_duty
from reading_queue.services.network.network_versions import (
    PHYSICIAN_TERMS,
    Author,
    record_organisation,
    record_physician,
)
from storage.ledger.tables import Site

PartT = TypeVar("PartT", bound=Part)
ORGANISATION_TERMS: Final = ("kind", "name", "name_en", "parent", "site", "time_zone")
AGREEMENT_TERMS: Final = (
    "assisting",
    "stage",
    "modalities",
    "body_regions",
    "services",
    "cases_per_day_max",
    "single_physician",
    "time_limits_min",
    "valid_from",
    "valid_until",
)


class StaleVersion(Conflict):
    """Somebody has changed this since you opened it. Look at what it says now, then make your change again."""

    code = "stale_version"


class NotYours(Forbidden):
    """This belongs to another organisation: ask its coordinator or an administrator."""

    code = "not_yours"


class FieldsInvalid(Invalid):
    """Some fields do not make sense; nothing was changed."""

    code = "fields_invalid"

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        super().__init__(f"look at: {', '.join(fields)}")


class BelowItself(Invalid):
    """An organisation cannot stand below itself; choose another one above it."""

    code = "below_itself"


class NameTaken(Conflict):
    """Something of this network has this id already; choose another."""

    code = "id_taken"


class AgreementOverlaps(Invalid):
    """Another agreement covers the same work of the same pair on the same days."""

    code = "agreement_overlaps"

    def __init__(self, other: str) -> None:
        self.other = other
        super().__init__(
            f"{other} covers the same work of the same pair on the same days; "
            "end one before the other begins, or give it another stage"
        )


def save_organisation(hub: Hub, viewer: Viewer, organisation_id: str, given: Mapping[str, Any], version: int) -> None:
    """Make these the facts of the organisation; version 0 makes a new one.

    Raises:
        StaleVersion, NameTaken, NotYours, NotFound, FieldsInvalid, BelowItself.
    """
    part = parse_part(OrganisationPart, {"id": organisation_id}, given, ORGANISATION_TERMS)
    now = hub.clock()
    with hub.transaction() as session:
        row = _begin(session, viewer, Organisation, organisation_id, version)
        _require_version(session, Kind.ORGANISATION, organisation_id, version)
        own = own_organisations(session, viewer)
        if row is None:
            row = Organisation(organisation_id=organisation_id, parent_id=None)
            require_own(belongs=part.parent in own or (part.parent is None and _is_everything(session, own)))
        else:
            require_own(belongs=organisation_id in own and (part.parent == row.parent_id or part.parent in own))
        _require_tree(session, organisation_id, part.parent)
        _save_site(session, row, part, now)
        facts = part.model_dump(mode="json", include=set(ORGANISATION_TERMS))
        require_sound(session, Kind.ORGANISATION, organisation_id, facts, now.date())
        is_elsewhere = row.time_zone != part.time_zone
        row.kind, row.name, row.name_en, row.time_zone = part.kind, part.name, part.name_en, part.time_zone
        row.parent_id, row.site_id = part.parent, part.site
        session.add(row)
        session.flush()
        record_organisation(session, row, now, Author(viewer.account_id))
        rewrite_duty(session, [organisation_id] if is_elsewhere else [], now)


def save_agreement(
    hub: Hub, viewer: Viewer, agreement_id: str, given: Mapping[str, Any], version: int, from_day: date | None = None
) -> str:
    """Make these the terms of the agreement; return its id, another one where new terms follow from a day to come.

    Version 0 makes a new agreement; its id is `code:requesting`.

    Raises:
        StaleVersion, NameTaken, NotYours, NotFound, FieldsInvalid, AgreementOverlaps.
    """
    code, _, requesting = agreement_id.partition(":")
    part = parse_part(AgreementPart, {"id": code, "requesting": [requesting]}, given, AGREEMENT_TERMS)
    if part.valid_until < part.valid_from or not part.services:
        raise FieldsInvalid(("valid_until",) if part.services else ("services",))
    now = hub.clock()
    with hub.transaction() as session:
        row = _begin(session, viewer, Agreement, agreement_id, version)
        _require_version(session, Kind.AGREEMENT, agreement_id, version)
        after: Mapping[str, Any] = _terms(part, requesting if row is None else row.requesting_organisation_id)
        _require_party(session, viewer, after)
        target = agreement_id
        if row is not None:
            _require_party(session, viewer, _terms_of(row))
            today = local_today(session, row.requesting_organisation_id, now)
            rest, after = split_at(_terms_of(row), after, from_day or today, today)
            if rest is not None:
                target = successor(agreement_id, set(session.scalars(select(Agreement.agreement_id))))
                record_agreement(session, agreement_id, rest, now, Author(viewer.account_id))
                if after["valid_until"] < after["valid_from"]:
                    raise FieldsInvalid(("valid_until",))
        _require_alone(session, target, after, now)
        record_agreement(session, target, after, now, Author(viewer.account_id))
    return target


def end_agreement(hub: Hub, viewer: Viewer, agreement_id: str, last_day: date, version: int) -> None:
    """Let the agreement end with this day, yesterday at the earliest. What was agreed until then stays so.

    Raises:
        StaleVersion, NotYours, NotFound, FieldsInvalid.
    """
    now = hub.clock()
    with hub.transaction() as session:
        row = _begin(session, viewer, Agreement, agreement_id, version)
        if row is None:
            raise NotFound("there is no such agreement")
        _require_version(session, Kind.AGREEMENT, agreement_id, version)
        before = _terms_of(row)
        _require_party(session, viewer, before)
        today = local_today(session, row.requesting_organisation_id, now)
        if not today - timedelta(days=1) <= last_day <= row.valid_until:
            raise FieldsInvalid(("last_day",))
        terms = {**before, "valid_until": last_day_of(before, last_day)}
        record_agreement(session, agreement_id, terms, now, Author(viewer.account_id))


def save_physician(hub: Hub, viewer: Viewer, physician_id: str, given: Mapping[str, Any], version: int) -> None:
    """Make these the terms of the physician: title, licence, what they read, limits.

    Raises:
        StaleVersion, NotYours, NotFound, FieldsInvalid.
    """
    now = hub.clock()
    with hub.transaction() as session:
        row = _get_own_physician(session, viewer, physician_id, version)
        _require_version(session, Kind.PHYSICIAN, physician_id, version)
        account = session.get_one(Account, row.account_id)
        known = {"login": account.login, "name": account.display_name, "organisation": row.organisation_id}
        part = parse_part(PhysicianPart, known, given, PHYSICIAN_TERMS)
        terms = part.model_dump(mode="json", include=set(PHYSICIAN_TERMS))
        require_sound(session, Kind.PHYSICIAN, account.login, terms, local_today(session, row.organisation_id, now))
        for name in PHYSICIAN_TERMS:
            value = getattr(part, name)
            setattr(row, name, list(value) if isinstance(value, tuple) else value)
        row.title = part.title.value
        session.flush()
        record_physician(session, row, now, Author(viewer.account_id))


def save_duty(hub: Hub, viewer: Viewer, physician_id: str, duty: Any, version: int) -> None:
    """Make this the physician's duty from now on, as a network document writes it; past duty stays as it was.

    Raises:
        StaleVersion, NotYours, NotFound, FieldsInvalid.
    """
    written = written_as_given(duty)
    now = hub.clock()
    with hub.transaction() as session:
        row = _get_own_physician(session, viewer, physician_id, version)
        _require_version(session, Kind.DUTY, physician_id, version)
        row.duty = written
        session.flush()
        write_duty(session, row, session.get_one(Organisation, row.organisation_id).time_zone, now)
        record_physician(session, row, now, Author(viewer.account_id))


def save_director(hub: Hub, viewer: Viewer, organisation_id: str, login: str, duty: Any, version: int) -> None:
    """Make this the person's duty as director of the organisation from now on; version 0 is of somebody new to it.

    Raises:
        StaleVersion, NotYours, NotFound, FieldsInvalid: nobody has this login, or they cannot be director.
    """
    written = written_as_given(duty)
    now = hub.clock()
    with hub.transaction() as session:
        require(viewer, *WITH_OVERSIGHT)
        lock_network(session)
        if session.get(Organisation, organisation_id) is None:
            raise NotFound("the network has nothing of this id")
        require_own(belongs=organisation_id in own_organisations(session, viewer))
        account = session.scalars(select(Account).where(Account.login == login)).one_or_none()
        if account is None or account.role == Role.TECHNICIAN or (account.disabled_at is not None and written != []):
            raise FieldsInvalid(("login",))
        _require_version(session, Kind.DIRECTOR, f"{organisation_id}:{login}", version)
        whose = (organisation_id, account.account_id, login)
        record_director(session, whose, written, now, Author(viewer.account_id))


def written_as_given(duty: Any) -> Any:
    """Return the duty as it is kept; raises FieldsInvalid where it is none."""
    try:
        return written_duty(parse_duty(duty))
    except ValidationError as exc:
        mistakes = exc.errors(include_url=False, include_input=False, include_context=False)
        words = {str(step) for mistake in mistakes for step in mistake["loc"]}
        named = tuple(name for name in ("weekly", "days_off", "extra") if name in words)
        raise FieldsInvalid(named or ("duty",)) from None


def parse_part(part: type[PartT], fixed: Mapping[str, Any], given: Mapping[str, Any], names: tuple[str, ...]) -> PartT:
    """Return the part that was given, with what is fixed. Raises FieldsInvalid."""
    unknown = tuple(sorted(given.keys() - set(names)))
    if unknown:
        raise FieldsInvalid(unknown)
    try:
        return part.model_validate({**given, **fixed})
    except ValidationError as exc:
        mistakes = exc.errors(include_url=False, include_input=False, include_context=False)
        raise FieldsInvalid(tuple(sorted({str(mistake["loc"][0]) for mistake in mistakes}))) from None


RowT = TypeVar("RowT", Organisation, Agreement, Physician)


def _begin(session: Session, viewer: Viewer, table: type[RowT], subject_id: str, version: int) -> RowT | None:
    """Let one change of the network at a time through, imports too; return the row, None for a new one."""
    require(viewer, *WITH_OVERSIGHT)
    lock_network(session)
    row = session.get(table, subject_id)
    if version == 0 and row is not None:
        raise NameTaken
    if version > 0 and row is None:
        raise NotFound("the network has nothing of this id")
    return row


def _require_version(session: Session, kind: Kind, subject_id: str, version: int) -> None:
    if present_version(session, kind, subject_id) != version:
        raise StaleVersion


def require_own(*, belongs: bool) -> None:
    """Raise NotYours unless it belongs to the viewer."""
    if not belongs:
        raise NotYours


def require_sound(session: Session, kind: Kind, subject: str, facts: Mapping[str, Any], today: date) -> Change:
    """Return the change to these facts, judged as an import would be, beside what it touches. Raises FieldsInvalid."""
    before = load_facts_beside(session, kind, subject, facts)
    change = Change(kind, subject, Action.CHANGE, {**before[kind].get(subject, {}), **facts})
    named: dict[tuple[Kind, str], Path] = {(Kind.PERSON if kind is Kind.PHYSICIAN else kind, subject): (subject,)}
    found = check(Proposal(before, merged(before, [change]), [change], lambda _: today, named))
    faults = [fault for fault in found if not fault.warning]
    if faults:
        raise FieldsInvalid(tuple(dict.fromkeys(str(fault.path[-1]) for fault in faults)))
    return change


def _is_everything(session: Session, own: frozenset[str]) -> bool:
    return own == frozenset(lineages(session))


def _require_tree(session: Session, organisation_id: str, parent: str | None) -> None:
    if parent is None:
        return
    above = lineages(session).get(parent)
    if above is None:
        raise FieldsInvalid(("parent",))
    if organisation_id in above:
        raise BelowItself


def _save_site(session: Session, row: Organisation, part: OrganisationPart, now: datetime) -> None:
    """Write the site that sends studies; one that has sent keeps its id, and no two organisations share one."""
    if part.site is None:
        if row.site_id is not None:
            raise FieldsInvalid(("site",))
        return
    if row.site_id not in (None, part.site):
        raise FieldsInvalid(("site",))
    taken = select(Organisation.organisation_id).where(Organisation.site_id == part.site)
    if session.scalar(taken) not in (None, row.organisation_id):
        raise NameTaken
    site = session.get(Site, part.site) or Site(site_id=part.site, created_at=now)
    site.name, site.time_zone = part.name, part.time_zone
    session.add(site)
    session.flush()


def _require_party(session: Session, viewer: Viewer, terms: Mapping[str, Any]) -> None:
    """Raise unless the viewer answers for one of the two organisations, and both exist."""
    known = lineages(session)
    for name, organisation in (
        ("requesting", terms["requesting_organisation_id"]),
        ("assisting", terms["assisting_organisation_id"]),
    ):
        if organisation not in known:
            raise FieldsInvalid((name,))
    own = own_organisations(session, viewer)
    require_own(belongs=not own.isdisjoint({terms["requesting_organisation_id"], terms["assisting_organisation_id"]}))


def _terms(part: AgreementPart, requesting: str) -> dict[str, Any]:
    return {
        "requesting_organisation_id": requesting,
        "assisting_organisation_id": part.assisting,
        "modalities": sorted(part.modalities),
        "body_regions": sorted(part.body_regions),
        "services": sorted(service.value for service in part.services),
        "stage": part.stage,
        "time_limits_min": {lane.value: minutes for lane, minutes in part.time_limits_min.items()},
        "valid_from": part.valid_from,
        "valid_until": part.valid_until,
        "cases_per_day_max": dict(part.cases_per_day_max),
        "single_physician": part.single_physician,
    }


def _terms_of(row: Agreement) -> dict[str, Any]:
    return {name: getattr(row, name) for name in TERMS}


def _require_alone(session: Session, agreement_id: str, terms: Mapping[str, Any], now: datetime) -> None:
    beside = select(Agreement).where(
        Agreement.requesting_organisation_id == terms["requesting_organisation_id"],
        Agreement.assisting_organisation_id == terms["assisting_organisation_id"],
        Agreement.agreement_id != agreement_id,
    )
    today = local_today(session, terms["requesting_organisation_id"], now)
    other = find_overlapping(terms, ((row.agreement_id, _terms_of(row)) for row in session.scalars(beside)), today)
    if other is not None:
        raise AgreementOverlaps(other)


def _get_own_physician(session: Session, viewer: Viewer, physician_id: str, version: int) -> Physician:
    row = _begin(session, viewer, Physician, physician_id, version) if version else None
    if row is None:
        raise NotFound("there is no such physician")
    require_own(belongs=row.organisation_id in own_organisations(session, viewer))
    return row
