"""Suggested, made and refused links for those who oversee both sites: shown side by side, and decided.

Durable: every decision with who, when and why in the link's row and the audit trail; object storage is told of it right
after, by the scheduler when that failed. Who does not oversee both sites knows of no link.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import structlog
from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account
from reading_queue.domain.links import LinkAct, LinkState, acts_open, find_next
from reading_queue.domain.page_places import Place
from reading_queue.errors import Conflict, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.routing.known_readers import route_anew
from storage.catalogue.link_records import DecisionRecord, LinkRecord, RecordName
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.name_keys import keys_of_search
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import Patient, Study
from storage.contract.identifiers import SiteId
from storage.dicom.person_name import display_name, patient_display_name
from storage.ledger.tables import AuditEvent, Site
from storage.objects.protocol import StoreUnavailable

LISTED_MAX: Final = 20  # on one page
PATIENTS_SEARCHED_MAX: Final = 500  # of one name
REASON_CHARACTERS: Final = (4, 200)
DECISIONS_MAX: Final = 50  # of one link: what goes back and forth for longer is no matter for a button
BATCH: Final = 20


_log = structlog.get_logger(__name__)


class LinkChanged(Conflict):
    """This link has changed meanwhile. Look at it again, then decide."""

    code = "link_changed"


class TooManyDecisions(Conflict):
    """This link was decided too often. Settle with the two sites first who the patients are."""

    code = "too_many_decisions"


@dataclass(frozen=True, slots=True)
class Side:
    """One record of a link, as its site knows it; `name` is the raw PN."""

    site_id: str
    site_name: str
    patient_number: str
    name: str
    patient_display_name: str
    other_writing: str  # of the name, where there is one: in letters or in characters
    birth_date: date | None
    sex: str
    study_count: int
    last_study_date: date | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One act of one person."""

    act: LinkAct
    at: datetime
    by: str  # display name
    reason: str


@dataclass(frozen=True, slots=True)
class LinkView:
    """One link. `traits` and `doubts` are the codes of `storage.catalogue.linking`."""

    link_id: str
    version: int
    state: LinkState
    is_by_person: bool
    changed_at: datetime
    sides: tuple[Side, Side]
    traits: dict[str, str]
    doubts: tuple[str, ...]
    decisions: tuple[Decision, ...]  # newest first

    @property
    def acts(self) -> tuple[LinkAct, ...]:
        """What may be done with it."""
        return acts_open(self.state)


@dataclass(frozen=True, slots=True)
class LinkPage:
    """The links of one state, a page of them, and how many there are of each state."""

    state: LinkState
    links: tuple[LinkView, ...]
    counts: dict[LinkState, int]
    next_after: Place | None  # behind which the next page begins; None after the last


def list_links(
    hub: Hub, viewer: Viewer, state: LinkState = LinkState.SUGGESTED, after: Place | None = None
) -> LinkPage:
    """Return a page of links between the sites that the viewer oversees, and note in the audit trail whom they saw.

    Suggestions come oldest first, what was decided newest first. `after` is the `next_after` of the page before.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    place = tuple_(PatientLink.changed_at, PatientLink.link_id)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        counts = count_by_state(session, sites)
        found = select(PatientLink).where(_within(sites), PatientLink.state == state)
        if state is LinkState.SUGGESTED:
            found = found.order_by(PatientLink.changed_at, PatientLink.link_id)
            found = found.where(place > tuple_(after.at, after.key)) if after is not None else found
        else:
            found = found.order_by(PatientLink.changed_at.desc(), PatientLink.link_id.desc())
            found = found.where(place < tuple_(after.at, after.key)) if after is not None else found
        rows = session.scalars(found.limit(LISTED_MAX + 1)).all()
        shown = rows[:LISTED_MAX]
        links = _view(session, shown, viewer.language)
        more = Place(shown[-1].changed_at, shown[-1].link_id) if len(rows) > LISTED_MAX else None
        if links:
            _audit(session, now, viewer, "R", "", listed=[one.link_id for one in links])
    return LinkPage(state, links, counts, more)


def search_links(hub: Hub, viewer: Viewer, text: str) -> tuple[LinkView, ...]:
    """Return links of any state of patients with this number or name, newest first, at most LISTED_MAX."""
    require(viewer, *WITH_OVERSIGHT)
    now, keys, number = hub.clock(), keys_of_search(text), text.strip()
    named = select(Study.patient_id).where(Study.name_keys.contains(keys)).limit(PATIENTS_SEARCHED_MAX)
    with hub.transaction() as session:
        ids = set(session.scalars(select(Patient.patient_id).where(Patient.patient_number == number)))
        ids |= set(session.scalars(named)) if keys else set()
        of_any = or_(PatientLink.patient_a.in_(ids), PatientLink.patient_b.in_(ids))
        found = select(PatientLink).where(_within(visible_sites(session, viewer, now)), of_any)
        rows = session.scalars(found.order_by(PatientLink.changed_at.desc(), PatientLink.link_id).limit(LISTED_MAX))
        links = _view(session, rows.all(), viewer.language)
        if links:
            _audit(session, now, viewer, "R", "", listed=[one.link_id for one in links])
    return links


def count_suggested(hub: Hub, viewer: Viewer) -> int:
    """Return how many suggestions wait for the viewer or a colleague."""
    require(viewer, *WITH_OVERSIGHT)
    waiting = select(func.count()).select_from(PatientLink).where(PatientLink.state == LinkState.SUGGESTED)
    with hub.transaction() as session:
        return session.scalar(waiting.where(_within(visible_sites(session, viewer, hub.clock())))) or 0


def count_by_state(session: Session, sites: Collection[str]) -> dict[LinkState, int]:
    """Return how many links there are between these sites, by state."""
    counted = select(PatientLink.state, func.count()).where(_within(sites)).group_by(PatientLink.state)
    counts = dict.fromkeys(LinkState, 0)
    counts.update({LinkState(state): number for state, number in session.execute(counted)})
    return counts


def decide(
    hub: Hub, viewer: Viewer, link_id: str, act: LinkAct, reason: str, *, version: int | None = None
) -> LinkState:
    """Do what a person decided about a link and return its state then.

    `version` is that of the link they looked at, None: whatever it is now.

    Raises:
        NotFound: there is no such link between sites that the viewer oversees.
        LinkChanged: it is not as it was when they looked, or nothing of this kind can be done with it any more.
        TooManyDecisions: it went back and forth for too long.
        Invalid: the reason says nothing.
    """
    require(viewer, *WITH_OVERSIGHT)
    now, why = hub.clock(), _checked(reason)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        found = select(PatientLink).where(PatientLink.link_id == link_id, _within(sites)).with_for_update()
        link = session.scalars(found).one_or_none()
        if link is None:
            raise NotFound("there is no such link, or you do not oversee both sites")
        after = find_next(LinkState(link.state), act)
        if after is None or version not in (None, link.version):
            raise LinkChanged
        if len(link.decisions) >= DECISIONS_MAX:
            raise TooManyDecisions
        decision = DecisionRecord(act=act, at=now, by=viewer.account_id, reason=why)
        link.decisions = [*link.decisions, decision.model_dump(mode="json")]
        link.state, link.is_by_person, link.changed_at, link.is_recorded = after, True, now, False
        _audit(session, now, viewer, "U", link_id, act=act, reason=why, became=after)
        if after is LinkState.LINKED:
            route_anew(session, (link.patient_a, link.patient_b), now)
    try:
        record_links(hub)
    except StoreUnavailable:
        _log.warning("patient_link_not_recorded_yet", link_id=link_id)
    return after


def record_links(hub: Hub) -> int:
    """Tell object storage of links that persons decided; return of how many."""
    with hub.transaction() as session:
        rows = session.scalars(select(PatientLink).where(~PatientLink.is_recorded).limit(BATCH)).all()
        patients = _patients(session, rows)
    for row in rows:
        record = record_of(row, patients)
        data = record.model_dump_json().encode()
        hub.objects.put(record.key, data, len(data))
        with hub.transaction() as session:
            now = session.get(PatientLink, row.link_id, with_for_update=True)
            if now is not None:
                now.is_recorded = now.decisions == row.decisions
    return len(rows)


def record_of(row: PatientLink, patients: dict[str, Patient]) -> LinkRecord:
    """Return a link as object storage keeps it."""
    return LinkRecord(
        link_id=row.link_id,
        patient_a=RecordName(site_id=SiteId(row.site_a), patient_number=patients[row.patient_a].patient_number),
        patient_b=RecordName(site_id=SiteId(row.site_b), patient_number=patients[row.patient_b].patient_number),
        state=LinkState(row.state).value,
        changed_at=row.changed_at,
        decisions=tuple(DecisionRecord.model_validate(one) for one in row.decisions),
    )


def _within(sites: Collection[str]) -> Any:
    every = sorted(sites)
    return PatientLink.site_a.in_(every) & PatientLink.site_b.in_(every)


def _patients(session: Session, rows: Sequence[PatientLink]) -> dict[str, Patient]:
    ids = {patient_id for row in rows for patient_id in (row.patient_a, row.patient_b)}
    return {one.patient_id: one for one in session.scalars(select(Patient).where(Patient.patient_id.in_(ids)))}


def _view(session: Session, rows: Sequence[PatientLink], language: str) -> tuple[LinkView, ...]:
    patients = _patients(session, rows)
    sites = dict(
        session.execute(
            select(Site.site_id, site_name(language)).where(
                Site.site_id.in_({one.site_id for one in patients.values()})
            )
        ).all()
    )
    counted = (
        select(Study.patient_id, func.count(), func.max(Study.study_date))
        .where(Study.patient_id.in_(patients), Study.revision > 0)
        .group_by(Study.patient_id)
    )
    studies = {patient_id: (count, last) for patient_id, count, last in session.execute(counted)}
    authors = {decision["by"] for row in rows for decision in row.decisions}
    named = select(Account.account_id, Account.display_name).where(Account.account_id.in_(authors))
    names = dict(session.execute(named).all())

    def side(patient: Patient) -> Side:
        count, last = studies.get(patient.patient_id, (0, None))
        return Side(
            site_id=patient.site_id,
            site_name=sites[patient.site_id],
            patient_number=shown_number(patient.patient_number),
            name=patient.name,
            patient_display_name=patient_display_name(patient.name, language),
            other_writing=_other_writing(patient.name, language),
            birth_date=patient.birth_date,
            sex=patient.sex,
            study_count=count,
            last_study_date=last,
        )

    return tuple(
        LinkView(
            link_id=row.link_id,
            version=row.version,
            state=LinkState(row.state),
            is_by_person=row.is_by_person,
            changed_at=row.changed_at,
            sides=(side(patients[row.patient_a]), side(patients[row.patient_b])),
            traits=dict(row.comparison.get("traits", {})),
            doubts=tuple(row.comparison.get("doubts", ())),
            decisions=tuple(_decision(one, names) for one in reversed(row.decisions)),
        )
        for row in rows
    )


def _other_writing(name: str, language: str) -> str:
    other = display_name(name, "en" if language == "zh" else "zh")
    return "" if other == display_name(name, language) else other


def _decision(said: dict[str, Any], names: dict[str, str]) -> Decision:
    record = DecisionRecord.model_validate(said)
    return Decision(LinkAct(record.act), record.at, names.get(record.by, record.by), record.reason)


def _checked(reason: str) -> str:
    words = " ".join(reason.split())
    shortest, longest = REASON_CHARACTERS
    if not shortest <= len(words) <= longest:
        raise Invalid(f"say why in {shortest} to {longest} characters")
    return words


def _audit(session: Session, now: datetime, viewer: Viewer, action: str, link_id: str, **detail: Any) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=PATIENT_RECORD,
            action=action,
            account_id=viewer.account_id,
            object_kind="patient_link",
            object_id=link_id,
            site_id=None,
            outcome="success",
            detail=detail,
        )
    )
