"""Looks for the records of one person at other sites: the body of the job `patients.link`.

Durable: that it was asked for, with what changed the record; keys and links, in one transaction. It may run any number
of times, and several at once: whoever works on a key has it alone, so that two records that come at the same moment are
seen by the later of the two jobs. What a person decided is never changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import ARRAY, Text, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.domain.links import LinkState
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.hub import Hub, launch
from reading_queue.services.motion.sweeps import GRACE, in_hand, launch_all
from reading_queue.services.patients import identity_keys
from reading_queue.services.patients.link_asking import LINK_JOB
from reading_queue.services.routing.known_readers import route_anew
from storage.catalogue.link_tables import PatientLink, PatientMatching, PatientMatchKey
from storage.catalogue.linking import Comparison, IdentityFacts, Verdict, compare, person_keys
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Patient, Study
from storage.contract.identifiers import new_id
from storage.ledger.tables import AuditEvent, OutboxMessage

HOLDERS_MAX: Final = 40  # of one national ID: more than these are no one person's
ALIKE_MAX: Final = 40  # records of other sites with the same birth date and sex and a name that may be the same
RELAUNCHED_MAX: Final = 100  # by one run of the sweep
UNDER_WAY_MAX: Final = 200  # launched and not done: more wait, so that no other work waits behind all records of a hub
LAUNCHED_LATELY: Final = timedelta(minutes=10)

_log = structlog.get_logger(__name__)

Pair = tuple[str, str]  # patient ids, the one of the site that sorts first before


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of a record as they are now, those of national IDs with whether they are proved."""

    national_ids: Mapping[str, bool]
    person: frozenset[str]

    def rows(self, patient_id: str) -> list[dict[str, Any]]:
        ids = [(key, "national_id", proved) for key, proved in self.national_ids.items()]
        every = [*ids, *((key, "person", False) for key in self.person)]
        return [
            {"patient_id": patient_id, "match_key": key, "kind": kind, "is_proved": proved}
            for key, kind, proved in sorted(every)
        ]


def link(hub: Hub, patient_id: str) -> None:
    """Bring the record's keys, and the links that follow from them, up to date; a record that is gone has none.

    Raises:
        StoreUnavailable: run it again later.
    """
    with hub.transaction() as session:
        patient = session.get(Patient, patient_id)
        if patient is None:
            return
        asked = session.scalar(select(PatientMatching.asked).where(PatientMatching.patient_id == patient_id)) or 0
        unread = identity_keys.load_unread(session, patient)
    found = {study.study_id: identity_keys.read_identity(hub, study) for study in unread}
    with hub.transaction() as session:
        identity_keys.note_identities(session, found)
    with hub.transaction() as session:
        _link(session, hub, patient_id, hub.clock())
        _done(session, hub, patient_id, asked, is_whole=len(unread) < identity_keys.STUDIES_AT_ONCE)


def relaunch_linking(hub: Hub) -> int:
    """Launch what was asked for and is not on its way, a few at a time; return how many."""
    now = hub.clock()
    if _under_way(hub, now) >= UNDER_WAY_MAX:
        return 0
    due = select(PatientMatching.patient_id).where(
        PatientMatching.asked > PatientMatching.done,
        PatientMatching.asked_at < now - GRACE,
        ~in_hand(hub, LINK_JOB, PatientMatching.patient_id, now),
    )
    oldest = due.order_by(PatientMatching.asked_at)
    return launch_all(hub, now, oldest, LINK_JOB, "patient_id", limit=RELAUNCHED_MAX, is_lost=False)


def _under_way(hub: Hub, now: datetime) -> int:
    is_lately = or_(OutboxMessage.published_at.is_(None), OutboxMessage.published_at > now - LAUNCHED_LATELY)
    of_record = (OutboxMessage.job == LINK_JOB) & (OutboxMessage.subject_id == PatientMatching.patient_id)
    launched = (
        select(func.count(PatientMatching.patient_id.distinct()))
        .join(OutboxMessage, of_record)
        .where(PatientMatching.asked > PatientMatching.done, is_lately)
        .where(OutboxMessage.created_at >= PatientMatching.asked_at)
    )
    with hub.transaction() as session:
        return session.scalar(launched) or 0


def ordered(one: Patient, other: Patient) -> Pair:
    """Return the ids of two records of different sites, the one of the site that sorts first before."""
    first, second = sorted((one, other), key=lambda patient: patient.site_id)
    return first.patient_id, second.patient_id


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as a link's row keeps it."""
    traits = {trait.value: likeness.value for trait, likeness in comparison.traits.items()}
    return {"traits": traits, "doubts": [doubt.value for doubt in comparison.doubts]}


def _done(session: Session, hub: Hub, patient_id: str, asked: int, *, is_whole: bool) -> None:
    """Note up to which asking the record is done; launch again for what came meanwhile, and for studies yet unread."""
    row = session.execute(
        update(PatientMatching)
        .where(PatientMatching.patient_id == patient_id)
        .values(done=func.greatest(PatientMatching.done, asked if is_whole else asked - 1))
        .returning(PatientMatching.asked, PatientMatching.done)
    ).one_or_none()
    if row is not None and row.asked > row.done:
        launch(session, hub.clock(), LINK_JOB, patient_id=patient_id)


def _link(session: Session, hub: Hub, patient_id: str, now: datetime) -> None:
    _have_alone(session, [f"patient:{patient_id}"])
    patient = session.get(Patient, patient_id, populate_existing=True)
    if patient is None:
        return
    keys = _keys_now(session, hub, patient)
    before = select(PatientMatchKey).where(PatientMatchKey.patient_id == patient_id)
    old = {row.match_key: row.kind for row in session.scalars(before)}
    new = {row["match_key"]: row for row in keys.rows(patient_id)}
    _have_alone(session, sorted({*old, *new}))
    _write_keys(session, patient_id, old.keys(), new)
    ids = {key for key, kind in old.items() if kind == "national_id"} | keys.national_ids.keys()
    group = _Group.load(session, patient, ids, keys.person)
    links = _load_links(session, group.patients)
    for pair in sorted(group.pairs()):
        _write_link(session, now, pair, group, links.get(pair))


def _keys_now(session: Session, hub: Hub, patient: Patient) -> _Keys:
    """Return the record's keys; one whose studies are all another record's now has none, and is nobody to link."""
    if session.scalar(select(Study.study_id).where(Study.patient_id == patient.patient_id).limit(1)) is None:
        return _Keys({}, frozenset())
    facts = IdentityFacts(patient.name, patient.birth_date, patient.sex)
    person = frozenset(identity_keys.person_key(hub, text) for text in person_keys(facts, readings))
    return _Keys(identity_keys.load_identity(session, hub, patient), person)


def _have_alone(session: Session, names: Iterable[str]) -> None:
    """Wait until nobody else works on these, in an order that lets nobody wait for ever; until the transaction ends."""
    for name in names:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"link:{name}", 0))))


def _write_keys(session: Session, patient_id: str, old: Iterable[str], new: Mapping[str, dict[str, Any]]) -> None:
    gone = sorted(set(old) - new.keys())
    if gone:
        of_patient = delete(PatientMatchKey).where(PatientMatchKey.patient_id == patient_id)
        session.execute(of_patient.where(PatientMatchKey.match_key.in_(gone)))
    if new:
        written = insert(PatientMatchKey).values(list(new.values()))
        proved = {"is_proved": written.excluded.is_proved}
        session.execute(written.on_conflict_do_update(index_elements=["patient_id", "match_key"], set_=proved))


@dataclass(frozen=True, slots=True)
class _Group:
    """A record, all that have a national ID of it, now or before, and those that may be the same person without one."""

    patient: Patient
    patients: Mapping[str, Patient]
    holders: frozenset[str]  # of the same national IDs, the record among them
    beside: frozenset[str]  # to be compared with the record alone
    ids: Mapping[str, Mapping[str, bool]]  # by record that has keys its national IDs, and whether they are proved
    crowded: frozenset[str]  # national IDs of so many records that they are nobody's

    @classmethod
    def load(cls, session: Session, patient: Patient, ids: Iterable[str], person: Iterable[str]) -> _Group:
        """Find the records by their keys: what is read does not depend on how many patients there are."""
        holders, crowded = {patient.patient_id}, set()
        for key in sorted(ids):
            found = session.scalars(_holders(key).limit(HOLDERS_MAX + 1)).all()
            holders.update(found)
            if len(found) > HOLDERS_MAX:
                crowded.add(key)
                _log.warning("national_id_of_many_records", patient_id=patient.patient_id, more_than=HOLDERS_MAX)
        alike = (
            select(PatientMatchKey.patient_id)
            .distinct()
            .join(Patient, Patient.patient_id == PatientMatchKey.patient_id)
            .where(_is_one_of(PatientMatchKey.match_key, person), Patient.site_id != patient.site_id)
            .order_by(PatientMatchKey.patient_id)
            .limit(ALIKE_MAX)
        )
        beside = {*session.scalars(alike), *_linked_with(session, patient.patient_id)}
        every = {*holders, *beside}
        rows = session.scalars(
            select(Patient).where(Patient.patient_id.in_(every)).execution_options(populate_existing=True)
        )
        known: dict[str, dict[str, bool]] = {}
        all_keys = select(PatientMatchKey).where(PatientMatchKey.patient_id.in_(every))
        for row in session.scalars(all_keys.execution_options(populate_existing=True)):
            ids_of_record = known.setdefault(row.patient_id, {})
            if row.kind == "national_id":
                ids_of_record[row.match_key] = row.is_proved
        patients = {row.patient_id: row for row in rows}
        return cls(patient, patients, frozenset(holders), frozenset(beside), known, frozenset(crowded))

    def pairs(self) -> set[Pair]:
        """Return which records are to be compared: those of different sites."""
        own = self.patient.patient_id
        wanted = {(own, other) for other in self.beside}
        wanted |= {(one, other) for one in self.holders for other in self.holders}
        there = [
            (self.patients[one], self.patients[other]) for one, other in wanted if {one, other} <= {*self.patients}
        ]
        return {ordered(one, other) for one, other in there if one.site_id != other.site_id}

    def compare(self, pair: Pair) -> Comparison:
        """Return what two records of the group are to each other."""
        one, other = pair
        return compare(self._facts(one), self._facts(other), readings)

    def _facts(self, patient_id: str) -> IdentityFacts:
        patient = self.patients[patient_id]
        if patient_id not in self.ids:
            return IdentityFacts(name="", birth_date=None, sex="")  # no study is this record's any more
        ids = {key: proved for key, proved in self.ids[patient_id].items() if key not in self.crowded}
        at_site = [keys for one, keys in self.ids.items() if self._site(one) == patient.site_id]
        return IdentityFacts(
            name=patient.name,
            birth_date=patient.birth_date,
            sex=patient.sex,
            national_ids=frozenset(ids),
            proved_ids=frozenset(key for key, proved in ids.items() if proved),
            shared_ids=frozenset(key for key in ids if sum(key in keys for keys in at_site) > 1),
            is_disputed=patient.contradicted_at is not None,
        )

    def _site(self, patient_id: str) -> str | None:
        patient = self.patients.get(patient_id)
        return None if patient is None else patient.site_id


def _holders(key: str) -> Any:
    return select(PatientMatchKey.patient_id).where(PatientMatchKey.match_key == key).order_by("patient_id")


def _linked_with(session: Session, patient_id: str) -> set[str]:
    of_patient = or_(PatientLink.patient_a == patient_id, PatientLink.patient_b == patient_id)
    pairs = session.execute(select(PatientLink.patient_a, PatientLink.patient_b).where(of_patient))
    return {one for pair in pairs for one in pair} - {patient_id}


def _is_one_of(column: Any, values: Iterable[str]) -> Any:
    return column == any_(literal(sorted(values), ARRAY(Text)))


def _load_links(session: Session, patients: Iterable[str]) -> dict[Pair, PatientLink]:
    """Return the links between these records, locked in an order that lets nobody wait for ever."""
    every = list(patients)
    between = select(PatientLink).where(PatientLink.patient_a.in_(every), PatientLink.patient_b.in_(every))
    between = between.order_by(PatientLink.patient_a, PatientLink.patient_b).with_for_update()
    rows = session.scalars(between.execution_options(populate_existing=True))
    return {(row.patient_a, row.patient_b): row for row in rows}


def _write_link(session: Session, now: datetime, pair: Pair, group: _Group, row: PatientLink | None) -> None:
    """Let the pair's link be what follows from the facts, unless a person has decided about it."""
    comparison = group.compare(pair)
    if row is None:
        if comparison.verdict is not Verdict.NOTHING:
            _add_link(session, now, pair, group, comparison)
        return
    if comparison.verdict is Verdict.NOTHING and not row.is_by_person:
        _note(session, now, row, "withdrawn")
        session.delete(row)
        return
    if row.comparison != as_json(comparison):
        row.comparison = as_json(comparison)
    if not row.is_by_person and row.state != comparison.verdict.value:
        row.state, row.changed_at = LinkState(comparison.verdict.value), now
        _note(session, now, row, row.state)
        _follow(session, now, row)


def _add_link(session: Session, now: datetime, pair: Pair, group: _Group, comparison: Comparison) -> None:
    row = PatientLink(
        link_id=new_id(),
        patient_a=pair[0],
        patient_b=pair[1],
        site_a=group.patients[pair[0]].site_id,
        site_b=group.patients[pair[1]].site_id,
        state=LinkState(comparison.verdict.value),
        is_by_person=False,
        comparison=as_json(comparison),
        decisions=[],
        changed_at=now,
        is_recorded=True,
    )
    session.add(row)
    _note(session, now, row, row.state)
    _follow(session, now, row)


def _follow(session: Session, now: datetime, row: PatientLink) -> None:
    """Let who has read one of the two records be asked for the other one's cases."""
    if row.state == LinkState.LINKED:
        session.flush()
        route_anew(session, (row.patient_a, row.patient_b), now)


def _note(session: Session, now: datetime, row: PatientLink, became: str) -> None:
    """Write into the audit trail what the facts have made of a link."""
    session.add(
        AuditEvent(
            at=now,
            event_code=PATIENT_RECORD,
            action="U",
            account_id=None,
            object_kind="patient_link",
            object_id=row.link_id,
            site_id=None,
            outcome="success",
            detail={"became": became, "by": "facts"},
        )
    )
    _log.info("patient_link_changed", link_id=row.link_id, became=became)
