"""The list of studies that a clinic or a coordinator sees: filtered, searched, paged and counted.

Reads only. A study is listed from the moment its manifest is declared, before the catalogue knows its patient.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Date,
    Row,
    ScalarSelect,
    Select,
    and_,
    cast,
    false,
    func,
    literal,
    select,
    tuple_,
    union,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.transitions import AMENDED, BEING_READ, SIGNED, CaseState
from reading_queue.services.access.visibility import Viewer, may_follow, visible_sites
from reading_queue.services.cases.waiting import is_late, late_condition, load_waiting
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name, why_nobody
from storage.catalogue.name_keys import keys_of_search
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.patient_numbers import NO_NUMBER_PATTERN
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import ROAD
from storage.contract.lanes import Lane
from storage.dicom.person_name import patient_display_name
from storage.ledger.tables import CustodyEvent, Site

SEARCH_CHARACTERS_MAX: Final = 64
TWO_DAYS: Final = timedelta(days=2)  # wide enough for one day in any time zone

_NEWEST_FIRST: Final = (Case.first_instance_at.desc(), Case.case_id.desc())
_OF_STUDY: Final = and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid)

Joined = tuple[CaseStudy, Case, Study | None, Patient | None, Site, str]


class Progress(StrEnum):
    """How far a study is, coarsely: what a list is filtered by."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    READING = "reading"
    REPORTED = "reported"
    ENDED = "ended"


STATES_OF: Final[Mapping[Progress, tuple[CaseState, ...]]] = {
    Progress.ARRIVING: (CaseState.RECEIVING,),
    Progress.WAITING: (CaseState.READY, CaseState.OFFERED),
    Progress.READING: tuple(sorted(BEING_READ)),
    Progress.REPORTED: tuple(sorted(SIGNED | AMENDED)),
    Progress.ENDED: (CaseState.RETURNED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR),
}

UNSIGNED: Final = frozenset(
    state for progress in (Progress.ARRIVING, Progress.WAITING, Progress.READING) for state in STATES_OF[progress]
)


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies are wanted; the default is all of them.

    `day` is that of the first image, at the site. `text` is the beginning of a part of a name, or the beginning or
    the end of a patient number or an accession number; only its first SEARCH_CHARACTERS_MAX characters count.
    """

    progress: Progress | None = None
    lane: Lane | None = None
    late: bool = False  # past the time limit and not signed
    day: date | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list. Patient and study fields are empty while the case is RECEIVING.

    `patient_name` is the raw PN, `patient_display_name` the same for people, in the viewer's language.
    """

    case_id: str
    site_id: str
    site_name: str
    time_zone: str
    study_uid: str
    state: str  # reading_queue.domain.transitions.CaseState
    lane: str
    green_channel: str | None
    modality: str
    patient_name: str
    patient_display_name: str
    patient_number: str
    patient_sex: str
    patient_birth_date: date | None
    description: str
    instance_count: int
    first_instance_at: datetime
    due_at: datetime | None
    signed_at: datetime | None
    unroutable_reason: str | None
    reached: tuple[str, ...]  # the hops of ROAD that the ledger holds, in the road's order
    is_late: bool  # past the time limit and not signed
    is_doubted: bool = False  # order and images contradict each other, and nobody has settled it

    @property
    def has_report(self) -> bool:
        """Whether a signed report exists."""
        return self.signed_at is not None


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Studies, newest first; `next_before` asks for the page after, None at the end."""

    studies: tuple[StudyLine, ...]
    next_before: str | None


@dataclass(frozen=True, slots=True)
class StudyCounts:
    """How many studies in view arrived today, are being read now, and had their report brought home today."""

    arrived_today: int
    being_read: int
    reported_today: int


def studies_of(
    hub: Hub, viewer: Viewer, *, limit: int, before: str | None = None, wanted: StudyFilter | None = None
) -> StudyPage:
    """Return a page of the studies that `viewer` may see, those that arrived last first.

    `before` is the `next_before` of the page before; an unknown one starts from the newest.
    """
    now = hub.clock()
    with hub.transaction() as session:
        start = session.get(Case, before) if before else None
        keys = _select_keys(viewer, wanted or StudyFilter(), start, limit + 1, now).subquery("listed")
        of_page = and_(*(getattr(CaseStudy, column.name) == column for column in keys.c))
        listed = select_lines(viewer.language).join(keys, of_page).order_by(*_NEWEST_FIRST)
        rows = session.execute(listed).all()
        lines = view_lines(session, rows[:limit], viewer.language, now)
    return StudyPage(lines, lines[-1].case_id if len(rows) > limit else None)


def _select_keys(
    viewer: Viewer, wanted: StudyFilter, start: Case | None, limit: int, now: datetime
) -> Select[str, str, str]:
    """Select the keys of a page: what is shown of a study is joined to these few, not to all that might be shown."""
    keys = (
        select(CaseStudy.case_id, CaseStudy.site_id, CaseStudy.study_uid)
        .join(Case, Case.case_id == CaseStudy.case_id)
        .join(Site, Site.site_id == CaseStudy.site_id)
        .where(may_follow(viewer, CaseStudy.site_id, CaseStudy.study_uid, now), *_conditions(wanted, now))
    )
    if start is not None:
        place = tuple_(start.first_instance_at, start.case_id)
        keys = keys.where(tuple_(Case.first_instance_at, Case.case_id) < place)
    return keys.order_by(*_NEWEST_FIRST).limit(limit)


def counts_of(hub: Hub, viewer: Viewer) -> StudyCounts:
    """Return the counts that stand above the list; today is that of each site."""
    now = hub.clock()
    with hub.transaction() as session:
        visible = visible_sites(session, viewer, now)
        arrived_today, being_read, reported_today = session.execute(_select_counts(visible, now)).one()
    return StudyCounts(arrived_today, being_read, reported_today)


def _select_counts(visible: Collection[str], now: datetime) -> Select[int, int, int]:
    """Count by site and moment, so that an index alone has the answer."""
    midnight = func.timezone(Site.time_zone, func.date_trunc("day", func.timezone(Site.time_zone, now)))
    sites = select(Site.site_id, midnight.label("midnight")).where(Site.site_id.in_(visible)).cte("sites")

    def since(clock: InstrumentedAttribute[Any]) -> ScalarSelect[int]:
        of_today = (Case.site_id == sites.c.site_id) & (clock >= sites.c.midnight)
        return select(func.count()).select_from(sites.join(Case, of_today)).scalar_subquery()

    read = select(func.count()).where(Case.site_id.in_(visible), Case.state.in_(STATES_OF[Progress.READING]))
    return select(since(Case.first_instance_at), read.scalar_subquery(), since(Case.delivered_at))


def select_lines(language: str) -> Select[*Joined]:
    """Select what lines are made from; the caller adds who may see what."""
    return (
        select(CaseStudy, Case, Study, Patient, Site, site_name(language))
        .join(Case, Case.case_id == CaseStudy.case_id)
        .join(Site, Site.site_id == CaseStudy.site_id)
        .outerjoin(Study, _OF_STUDY)
        .outerjoin(Patient, Patient.patient_id == Study.patient_id)
    )


def view_lines(session: Session, rows: Sequence[Row[*Joined]], language: str, now: datetime) -> tuple[StudyLine, ...]:
    """Return the lines of selected rows, in their order."""
    reached = _reached(session, rows)
    nobody = why_nobody(session, [row[1] for row in rows], language)
    waiting = load_waiting(session, [row[1] for row in rows])
    late = {row[1].case_id for row in rows if row[1].state in UNSIGNED and is_late(row[1], waiting, now)}
    return tuple(_line(row, reached, nobody, language, late) for row in rows)


def _conditions(wanted: StudyFilter, now: datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.progress is not None:
        found.append(Case.state.in_(STATES_OF[wanted.progress]))
    if wanted.lane is not None:
        found.append(Case.lane == wanted.lane)
    if wanted.late:
        found += [Case.state.in_(UNSIGNED), late_condition(now)]
    if wanted.day is not None:
        noon = literal(datetime.combine(wanted.day, time(12), UTC))  # the database counts past the year 9999
        found.append(Case.first_instance_at.between(noon - TWO_DAYS, noon + TWO_DAYS))
        found.append(_day_at_site(Case.first_instance_at) == wanted.day)
    holds = names_or_numbers_hold(wanted.text)
    return [*found, holds] if holds is not None else found


def names_or_numbers_hold(words: str) -> ColumnElement[bool] | None:
    """Return the condition that a study of a case is searched for by these words; None without any.

    A name is found by the beginning of each of its parts, whatever stands between them, and by its pinyin; a number of
    the patient or of the order by its beginning or its end, an invented one never. One letter or digit is only ever a
    whole number. Only the first SEARCH_CHARACTERS_MAX characters count. Each way has an index of its own, so the
    studies of each are gathered first.
    """
    text = " ".join(words.split())[:SEARCH_CHARACTERS_MAX]
    if not text:
        return None
    keys_of_study = select(Study.site_id, Study.study_uid)
    of_patient = keys_of_study.join(Patient, Patient.patient_id == Study.patient_id)
    of_site = Patient.patient_number.regexp_match(NO_NUMBER_PATTERN).is_(False)
    found = [
        *(of_patient.where(way, of_site) for way in _begins_or_ends(Patient.patient_number, text)),
        *(keys_of_study.where(way) for way in _begins_or_ends(Study.accession_number, text)),
    ]
    keys = keys_of_search(text)
    if keys and not (len(text) == 1 and text.isascii()):
        found.append(keys_of_study.where(Study.name_keys.contains(keys)))
    return tuple_(CaseStudy.site_id, CaseStudy.study_uid).in_(union(*found))


def _begins_or_ends(number: InstrumentedAttribute[str], text: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    text = text.lower()
    if len(text) == 1:  # which begins or ends so many numbers that it finds nothing
        return func.lower(number) == text, false()
    begins = func.lower(number).startswith(text, autoescape=True)
    return begins, func.reverse(func.lower(number)).startswith(text[::-1], autoescape=True)


def _day_at_site(at: InstrumentedAttribute[Any]) -> ColumnElement[date]:
    return cast(func.timezone(Site.time_zone, at), Date)


def _line(
    row: Row[*Joined],
    reached: Mapping[tuple[str, str], frozenset[str]],
    nobody: Mapping[str, str],
    language: str,
    late: Collection[str],
) -> StudyLine:
    of_case, case, study, patient_row, site, name_of_site = row
    patient = facts_of(study, patient_row) if study and patient_row else None
    hops = reached.get((of_case.site_id, of_case.study_uid), frozenset())
    return StudyLine(
        case_id=case.case_id,
        site_id=site.site_id,
        site_name=name_of_site,
        time_zone=site.time_zone,
        study_uid=of_case.study_uid,
        state=case.state,
        lane=case.lane,
        green_channel=case.green_channel,
        modality=case.modality,
        patient_name=patient.name if patient else "",
        patient_display_name=patient_display_name(patient.name, language) if patient else "",
        patient_number=patient.number if patient else "",
        patient_sex=patient.sex if patient else "",
        patient_birth_date=patient.birth_date if patient else None,
        description=study.description if study else "",
        instance_count=study.instance_count if study else 0,
        first_instance_at=case.first_instance_at,
        due_at=case.due_at,
        signed_at=case.signed_at,
        unroutable_reason=nobody.get(case.case_id),
        reached=tuple(hop for hop in ROAD if hop in hops),
        is_doubted=case.identity_doubted_at is not None,
        is_late=case.case_id in late,
    )


def _reached(session: Session, rows: Sequence[Row[*Joined]]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the hops in the ledger by (site, study)."""
    keys = [(row[0].site_id, row[0].study_uid) for row in rows]
    if not keys:
        return {}
    hops = func.array_agg(CustodyEvent.hop.distinct())
    found = session.execute(
        select(CustodyEvent.site_id, CustodyEvent.study_uid, hops)
        .where(tuple_(CustodyEvent.site_id, CustodyEvent.study_uid).in_(keys))
        .group_by(CustodyEvent.site_id, CustodyEvent.study_uid)
    )
    return {(site, uid): frozenset(names) for site, uid, names in found}
