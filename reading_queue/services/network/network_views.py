"""The network as a coordinator sees it: organisations as a tree, agreements, physicians, duty and its gaps.

Reads only. Everybody with oversight sees what concerns their organisations, an administrator everything;
`editable` says whether the viewer may change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import Absence, DutyPeriod
from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.roles import Role
from reading_queue.domain.roster import Period, gaps
from reading_queue.errors import NotFound
from reading_queue.services.access.oversight import (
    concerned_organisations,
    lineages,
    managed_roles,
    own_organisations,
)
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import organisation_name
from reading_queue.services.network.director_views import DirectorsView, view_directors
from reading_queue.services.network.network_history import VersionLine, history_of, present_version
from reading_queue.services.network.network_versions import organisation_facts, physician_facts
from reading_queue.services.network.people_views import PersonLine, load_people

DUTY_DAYS: Final = 7  # of one page


@dataclass(frozen=True, slots=True)
class OrganisationLine:
    """One organisation in the tree; `depth` counts those above it."""

    organisation_id: str
    name: str
    kind: str
    site_id: str | None
    depth: int
    physicians: int
    agreements: int
    editable: bool


@dataclass(frozen=True, slots=True)
class AgreementView:
    """An agreement as its page shows it."""

    agreement_id: str
    requesting_id: str
    requesting: str  # names
    assisting_id: str
    assisting: str
    stage: int
    modalities: tuple[str, ...]
    body_regions: tuple[str, ...]
    services: tuple[str, ...]
    time_limits_min: Mapping[str, int]
    cases_per_day_max: Mapping[str, int]
    single_physician: bool
    valid_from: date
    valid_until: date
    time_zone: str  # of the requesting organisation, whose days these are
    is_over: bool
    editable: bool
    version: int
    history: tuple[VersionLine, ...] = ()


@dataclass(frozen=True, slots=True)
class PhysicianLine:
    """One physician in their hospital's list."""

    physician_id: str
    name: str
    title: str
    licence_valid_until: date
    licence_ends_soon: bool
    disabled: bool
    away: bool
    on_duty: bool


@dataclass(frozen=True, slots=True)
class OrganisationView:
    """An organisation as its page shows it."""

    organisation_id: str
    name: str
    facts: Mapping[str, Any]  # as the network's file names them
    parent_name: str
    editable: bool
    version: int
    history: tuple[VersionLine, ...]
    agreements: tuple[AgreementView, ...]
    physicians: tuple[PhysicianLine, ...]
    people: tuple[PersonLine, ...]  # everybody else
    managed_roles: tuple[Role, ...]  # whose accounts the viewer may make here
    parents: tuple[tuple[str, str], ...]  # ids and names of those it may stand below
    directors: DirectorsView


@dataclass(frozen=True, slots=True)
class PhysicianView:
    """A physician as their page shows them."""

    physician_id: str
    account_id: str
    name: str
    login: str
    disabled: bool
    last_day: date | None  # after which the account is closed
    language: str
    organisation_id: str
    organisation: str
    facts: Mapping[str, Any]
    also_at: tuple[str, ...]  # names of the other hospitals
    duty: Any  # as it was written
    time_zone: str
    editable: bool
    version: int
    duty_version: int
    person_version: int
    history: tuple[VersionLine, ...]
    absence: tuple[datetime, str] | None  # until when, and why


@dataclass(frozen=True, slots=True)
class DutyDay:
    """One local day of a hospital: the duty of each physician, and when nobody is there."""

    day: date
    shifts: tuple[tuple[Period, ...], ...]  # by physician
    gaps: tuple[Period, ...]  # to come


@dataclass(frozen=True, slots=True)
class DutyView:
    """A hospital's duty of some days; absences that are known count."""

    organisation_id: str
    name: str
    time_zone: str
    physicians: tuple[PhysicianLine, ...]
    days: tuple[DutyDay, ...]


def list_network(hub: Hub, viewer: Viewer) -> tuple[OrganisationLine, ...]:
    """Return the organisations that concern the viewer, each below the one above it."""
    require(viewer, *WITH_OVERSIGHT)
    with hub.transaction() as session:
        concerned, own = concerned_organisations(session, viewer), own_organisations(session, viewer)
        rows = session.scalars(select(Organisation).where(Organisation.organisation_id.in_(concerned))).all()
        physicians = _count(session, Physician.organisation_id)
        requesting = _count(session, Agreement.requesting_organisation_id)
        assisting = _count(session, Agreement.assisting_organisation_id)
        above = lineages(session)
    lines = [
        OrganisationLine(
            organisation_id=row.organisation_id,
            name=name_of(row, viewer.language),
            kind=row.kind,
            site_id=row.site_id,
            depth=sum(one in concerned for one in above[row.organisation_id]) - 1,
            physicians=physicians.get(row.organisation_id, 0),
            agreements=requesting.get(row.organisation_id, 0) + assisting.get(row.organisation_id, 0),
            editable=row.organisation_id in own,
        )
        for row in rows
    ]
    return tuple(sorted(lines, key=lambda one: above[one.organisation_id][::-1]))


def view_organisation(hub: Hub, viewer: Viewer, organisation_id: str) -> OrganisationView:
    """Return an organisation with its agreements, physicians and history. Raises NotFound."""
    now = hub.clock()
    with hub.transaction() as session:
        row, own = _get(session, viewer, organisation_id), own_organisations(session, viewer)
        is_party = or_(
            Agreement.requesting_organisation_id == organisation_id,
            Agreement.assisting_organisation_id == organisation_id,
        )
        found = select(Agreement).where(is_party).order_by(Agreement.stage, Agreement.agreement_id)
        names = load_names(session, viewer.language)
        above = lineages(session)
        return OrganisationView(
            organisation_id=organisation_id,
            name=name_of(row, viewer.language),
            facts=organisation_facts(row),
            parent_name=names.get(row.parent_id or "", ""),
            editable=organisation_id in own,
            version=present_version(session, Kind.ORGANISATION, organisation_id),
            history=history_of(session, Kind.ORGANISATION, organisation_id),
            agreements=tuple(
                _view_agreement(session, one, names, own, now, whole=False) for one in session.scalars(found).all()
            ),
            physicians=_load_physicians(session, organisation_id, now),
            people=load_people(session, viewer, organisation_id, editable=organisation_id in own),
            managed_roles=tuple(sorted(managed_roles(viewer))) if organisation_id in own else (),
            parents=tuple(
                (one, names[one])
                for one in sorted(own | ({row.parent_id} if row.parent_id else set()))
                if organisation_id not in above[one]
            ),
            directors=view_directors(session, row, viewer.language, now),
        )


def view_agreement(hub: Hub, viewer: Viewer, agreement_id: str) -> AgreementView:
    """Return an agreement with its history. Raises NotFound."""
    require(viewer, *WITH_OVERSIGHT)
    with hub.transaction() as session:
        row = session.get(Agreement, agreement_id)
        concerned = concerned_organisations(session, viewer)
        if row is None or concerned.isdisjoint({row.requesting_organisation_id, row.assisting_organisation_id}):
            raise NotFound("there is no such agreement, or it does not concern you")
        names, own = load_names(session, viewer.language), own_organisations(session, viewer)
        return _view_agreement(session, row, names, own, hub.clock(), whole=True)


def view_physician(hub: Hub, viewer: Viewer, physician_id: str) -> PhysicianView:
    """Return a physician with terms, duty, absence and history. Raises NotFound."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row = session.get(Physician, physician_id)
        if row is None:
            raise NotFound("there is no such physician")
        organisation = _get(session, viewer, row.organisation_id)
        account = session.get_one(Account, row.account_id)
        away = select(Absence.until, Absence.reason).where(
            Absence.physician_id == physician_id, Absence.ended_at.is_(None), Absence.until > now
        )
        absence = session.execute(away).one_or_none()
        subjects = ((Kind.PHYSICIAN, physician_id), (Kind.DUTY, physician_id), (Kind.PERSON, row.account_id))
        versions = [line for kind, subject in subjects for line in history_of(session, kind, subject)]
        return PhysicianView(
            physician_id=physician_id,
            account_id=row.account_id,
            name=account.display_name,
            login=account.login,
            disabled=account.disabled_at is not None,
            last_day=account.last_day,
            language=account.language,
            organisation_id=row.organisation_id,
            organisation=name_of(organisation, viewer.language),
            facts=physician_facts(row),
            also_at=_names_of(session, viewer, row.also_at),
            duty=row.duty,
            time_zone=organisation.time_zone,
            editable=row.organisation_id in own_organisations(session, viewer),
            version=present_version(session, Kind.PHYSICIAN, physician_id),
            duty_version=present_version(session, Kind.DUTY, physician_id),
            person_version=present_version(session, Kind.PERSON, row.account_id),
            history=tuple(sorted(versions, key=lambda one: one.at, reverse=True)),
            absence=(absence[0], absence[1]) if absence is not None else None,
        )


def _names_of(session: Session, viewer: Viewer, codes: Sequence[str]) -> tuple[str, ...]:
    """Return the organisations' names, in the order of their codes."""
    rows = session.scalars(select(Organisation).where(Organisation.organisation_id.in_(codes)))
    names = {row.organisation_id: name_of(row, viewer.language) for row in rows}
    return tuple(names.get(code, code) for code in codes)


def view_duty(hub: Hub, viewer: Viewer, organisation_id: str, first_day: date | None = None) -> DutyView:
    """Return who is on duty at the hospital for a week, by default from today, and when nobody is. Raises NotFound."""
    now = hub.clock()
    with hub.transaction() as session:
        row = _get(session, viewer, organisation_id)
        zone = ZoneInfo(row.time_zone)
        begin = first_day or now.astimezone(zone).date()
        people = [one for one in _load_physicians(session, organisation_id, now, guests=True) if not one.disabled]
        start, end = _midnight(begin, zone), _midnight(begin + timedelta(days=DUTY_DAYS), zone)
        ids = [one.physician_id for one in people]
        duty = _load_periods(session, ids, start, end)
        return DutyView(
            organisation_id=organisation_id,
            name=name_of(row, viewer.language),
            time_zone=row.time_zone,
            physicians=tuple(people),
            days=tuple(_day(begin + timedelta(days=n), zone, ids, duty, now) for n in range(DUTY_DAYS)),
        )


def name_of(row: Organisation, language: str) -> str:
    """Return the organisation's name in the language, the native one where there is no other."""
    return organisation_name(row.name, row.name_en, language)


def load_names(session: Session, language: str) -> dict[str, str]:
    """Return the name of every organisation."""
    return {row.organisation_id: name_of(row, language) for row in session.scalars(select(Organisation))}


def _get(session: Session, viewer: Viewer, organisation_id: str) -> Organisation:
    require(viewer, *WITH_OVERSIGHT)
    row = session.get(Organisation, organisation_id)
    if row is None or organisation_id not in concerned_organisations(session, viewer):
        raise NotFound("there is no such organisation, or it does not concern you")
    return row


def _count(session: Session, column: Any) -> dict[str, int]:
    return dict(session.execute(select(column, func.count()).group_by(column)).all())


def _view_agreement(
    session: Session, row: Agreement, names: Mapping[str, str], own: frozenset[str], now: datetime, *, whole: bool
) -> AgreementView:
    time_zone = session.get_one(Organisation, row.requesting_organisation_id).time_zone
    return AgreementView(
        agreement_id=row.agreement_id,
        requesting_id=row.requesting_organisation_id,
        requesting=names[row.requesting_organisation_id],
        assisting_id=row.assisting_organisation_id,
        assisting=names[row.assisting_organisation_id],
        stage=row.stage,
        modalities=tuple(row.modalities),
        body_regions=tuple(row.body_regions),
        services=tuple(row.services),
        time_limits_min=row.time_limits_min,
        cases_per_day_max=row.cases_per_day_max,
        single_physician=row.single_physician,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        time_zone=time_zone,
        is_over=row.valid_until < now.astimezone(ZoneInfo(time_zone)).date(),
        editable=not own.isdisjoint({row.requesting_organisation_id, row.assisting_organisation_id}),
        version=present_version(session, Kind.AGREEMENT, row.agreement_id) if whole else 0,
        history=history_of(session, Kind.AGREEMENT, row.agreement_id) if whole else (),
    )


LICENCE_WARNING: Final = timedelta(days=60)


def _load_physicians(
    session: Session, organisation_id: str, now: datetime, *, guests: bool = False
) -> tuple[PhysicianLine, ...]:
    own = Physician.organisation_id == organisation_id
    rows = session.execute(
        select(
            Physician,
            Account,
            select(Absence.absence_id)
            .where(Absence.physician_id == Physician.physician_id, Absence.ended_at.is_(None), Absence.until > now)
            .exists(),
            select(DutyPeriod.duty_period_id)
            .where(
                DutyPeriod.physician_id == Physician.physician_id,
                DutyPeriod.starts_at <= now,
                DutyPeriod.ends_at > now,
            )
            .exists(),
        )
        .join(Account, Account.account_id == Physician.account_id)
        .where(or_(own, Physician.also_at.contains([organisation_id])) if guests else own)
        .order_by(Account.disabled_at.is_not(None), Account.login)
    ).all()
    return tuple(
        PhysicianLine(
            physician_id=physician.physician_id,
            name=account.display_name,
            title=physician.title,
            licence_valid_until=physician.licence_valid_until,
            licence_ends_soon=physician.licence_valid_until < (now + LICENCE_WARNING).date(),
            disabled=account.disabled_at is not None,
            away=away,
            on_duty=on_duty,
        )
        for physician, account, away, on_duty in rows
    )


def _load_periods(session: Session, physician_ids: Sequence[str], start: datetime, end: datetime) -> dict[str, Any]:
    """Return by physician the duty between the two moments, and what of it remains beside their absences."""
    rows = session.scalars(
        select(DutyPeriod)
        .where(DutyPeriod.physician_id.in_(physician_ids), DutyPeriod.starts_at < end, DutyPeriod.ends_at > start)
        .order_by(DutyPeriod.starts_at)
    ).all()
    absences = session.scalars(
        select(Absence).where(
            Absence.physician_id.in_(physician_ids), Absence.ended_at.is_(None), Absence.until > start
        )
    ).all()
    away = {one.physician_id: (one.since, one.until) for one in absences}
    duty: dict[str, list[Period]] = {one: [] for one in physician_ids}
    there: list[Period] = []
    for row in rows:
        period = (max(row.starts_at, start), min(row.ends_at, end))
        duty[row.physician_id].append(period)
        gone = [away[row.physician_id]] if row.physician_id in away else []
        there += gaps(gone, *period)
    return {"duty": duty, "there": there}


def _day(day: date, zone: ZoneInfo, ids: Sequence[str], found: Mapping[str, Any], now: datetime) -> DutyDay:
    start, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    shifts = tuple(
        tuple((max(s, start), min(e, end)) for s, e in found["duty"][one] if s < end and e > start) for one in ids
    )
    there = [(s, e) for s, e in found["there"] if s < end and e > start]
    to_come = gaps(there, max(start, now), end) if end > now else []
    return DutyDay(day, shifts, tuple(to_come))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone)
