"""What people store at the hub over DICOMweb: looked at, brought home like a gateway's packs, answered one by one.

Durable: an instance that is answered as kept is in a proved pack and in the catalogue. Everything may be repeated: an
instance that is held already is kept without effect. Other contents under a UID that is held lie in quarantine for a
person, with a line in the ledger; what is held stays as it is.

A technician stores whatever their own site may send; its images are read like those of its gateway. A reader adds
evidence to the studies of the case that they hold. Nobody else stores anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.domain.roles import Role
from reading_queue.errors import NotHolder
from reading_queue.services.access.visibility import Viewer, may_add_to, require
from reading_queue.services.arrival.deposit_leftovers import quarantine_prefix
from reading_queue.services.arrival.deposit_packs import Destination, bring_home
from reading_queue.services.arrival.inspection import IMPORTED, Inspected, inspect
from reading_queue.services.holdings.retention import is_deleted
from reading_queue.services.hub import Hub
from reading_queue.services.reading.case_evidence import find_holdings
from reading_queue.services.reading.evidence import find_foreign
from storage.catalogue.holdings import OTHER_BYTES, HeldRow, find_conflict, find_digests
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import Hop
from storage.contract.manifest import InstanceEntry, Purpose
from storage.dicom.digests import same_image
from storage.dicomweb.store_answer import Failed, Kept, Outcome, Reason, ReceivedFile
from storage.ledger.custody import HubEvent, write_hub_event
from storage.ledger.tables import AuditEvent

CONFLICT: Final = "conflicting_instance"
UNSEEN_SHOWN_MAX: Final = 3

_log = structlog.get_logger(__name__)


class _NotAllowed(Exception):
    """Nothing of a study may be stored here by this person; the message is words."""


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where the instances of one study would go."""

    destination: Destination
    patient_number: str | None  # of the study in the catalogue, None for one that is new


def deposit(hub: Hub, viewer: Viewer, files: Sequence[ReceivedFile], study_uid: str | None) -> Outcome:
    """Store the files for `viewer` and return what became of each; all of `study_uid` when it is given.

    Raises:
        Forbidden: this person stores nothing.
        StoreUnavailable: nothing is lost and nothing is half stored; send it again later.
    """
    require(viewer, Role.TECHNICIAN, Role.PHYSICIAN)
    kept: list[Kept] = []
    failed: list[Failed] = []
    by_study: dict[str, list[Inspected]] = defaultdict(list)
    for file in files:
        found = inspect(file, hub.clock())
        if isinstance(found, Failed):
            failed.append(found)
        elif study_uid not in (None, found.header.study_uid):
            failed.append(found.fail(Reason.DOES_NOT_BELONG, "belongs to another study than the address names"))
        else:
            by_study[found.header.study_uid].append(found)
    for uid, found_of_study in by_study.items():
        outcome = _deposit_study(hub, viewer, uid, found_of_study)
        kept += outcome.kept
        failed += outcome.failed
    return Outcome(tuple(dict.fromkeys(kept)), tuple(sorted(failed, key=lambda one: one.number)))


def _deposit_study(hub: Hub, viewer: Viewer, study_uid: str, found: Sequence[Inspected]) -> Outcome:
    now = hub.clock()
    with hub.transaction() as session:
        try:
            shelf = _find_shelf(session, viewer, study_uid, found, now)
        except _NotAllowed as refusal:
            _audit_refusal(session, viewer, study_uid, now)
            _log.warning("deposit_refused", account_id=viewer.account_id, study_uid=study_uid)
            return Outcome((), tuple(one.fail(Reason.NOT_ALLOWED, f"cannot be stored: {refusal}") for one in found))
        site_id = shelf.destination.site_id
        unfit = _find_unfit(session, viewer, shelf, found)
        fitting = [one for one in found if one.number not in unfit]
        held = find_digests(session, site_id, [one.uid for one in fitting])
    failed = list(unfit.values())
    sorted_out = _sort_out(study_uid, fitting, held)
    for one, reason in sorted_out.conflicting:
        _quarantine(hub, viewer, shelf.destination, one, reason)
        words = f"was not stored: {reason}; what came now lies in quarantine"
        failed.append(one.fail(Reason.OTHER_CONTENTS, words))
    fresh = sorted_out.fresh
    try:
        refused = bring_home(hub, shelf.destination, fresh) if fresh else {}
    except NotHolder:
        refused = dict.fromkeys(fresh, "was not stored: your claim of the case ended while it came")
    failed += [one.fail(Reason.PROCESSING_FAILURE, refused[one.uid]) for one in sorted_out.kept if one.uid in refused]
    return Outcome(tuple(one.kept() for one in sorted_out.kept if one.uid not in refused), tuple(failed))


@dataclass(slots=True)
class _SortedOut:
    """The instances of one study: those that the hub holds or will hold, those of them that are new, and the others."""

    kept: list[Inspected] = field(default_factory=list)
    fresh: dict[str, Inspected] = field(default_factory=dict)
    conflicting: list[tuple[Inspected, str]] = field(default_factory=list)


def _sort_out(study_uid: str, found: Sequence[Inspected], held: Mapping[str, HeldRow]) -> _SortedOut:
    result = _SortedOut()
    for one in found:
        row, first = held.get(one.uid), result.fresh.get(one.uid)
        reason = find_conflict(one.entry, study_uid, row) if row is not None else None
        if first is not None and not _is_same(one.entry, first.entry):
            reason = OTHER_BYTES
        if reason is not None:
            result.conflicting.append((one, reason))
            continue
        result.kept.append(one)
        if row is None or row.is_damaged:
            result.fresh.setdefault(one.uid, one)
    return result


def _is_same(one: InstanceEntry, other: InstanceEntry) -> bool:
    return one.received_sha256 == other.received_sha256 or same_image(
        one.values_sha256, one.pixel_sha256, other.values_sha256, other.pixel_sha256
    )


def _find_shelf(session: Session, viewer: Viewer, study_uid: str, found: Sequence[Inspected], now: datetime) -> _Shelf:
    """Return where instances of the study go for this person. Raises _NotAllowed when there is no such place."""
    of_uid = select(Study, Patient.patient_number).join(Patient, Patient.patient_id == Study.patient_id)
    seen = may_add_to(viewer, Study.site_id, Study.study_uid, now)
    rows = session.execute(of_uid.where(Study.study_uid == study_uid, seen)).all()
    if viewer.role is Role.TECHNICIAN:
        if viewer.site_id is None:
            raise _NotAllowed("your organisation sends no studies")
        if is_deleted(session, viewer.site_id, study_uid):
            raise _NotAllowed("this study was deleted here when its time was over")
        only_evidence = all(one.references is not None for one in found)
        purpose: Purpose = "evidence" if rows and only_evidence else "read"
        destination = Destination(viewer.site_id, study_uid, purpose, viewer.account_id)
        return _Shelf(destination, rows[0][1] if rows else None)
    if not rows:
        raise _NotAllowed("there is no such study, or you may not see it")
    holdings = find_holdings(session, viewer, study_uid, now)
    held = [(study, number) for study, number in rows if study.site_id in holdings]
    if not held:
        raise _NotAllowed("only the physician who is reading its case adds to it, and you do not hold the case now")
    if len(held) > 1:
        raise _NotAllowed("two sites whose cases you hold sent a study under this UID")
    ((study, number),) = held
    holding = holdings[study.site_id]
    return _Shelf(Destination(study.site_id, study_uid, "evidence", viewer.account_id, holding), number)


def _find_unfit(session: Session, viewer: Viewer, shelf: _Shelf, found: Sequence[Inspected]) -> dict[int, Failed]:
    """Return by number those instances that may not go there, with the reason."""
    beside = frozenset(one.uid for one in found)
    judged = {one.number: _judge(session, viewer, shelf, one, beside) for one in found}
    return {number: failed for number, failed in judged.items() if failed is not None}


def _judge(session: Session, viewer: Viewer, shelf: _Shelf, one: Inspected, beside: frozenset[str]) -> Failed | None:
    if viewer.role is Role.PHYSICIAN:
        if one.references is None:
            words = "is none that a reader adds: key images, measurements, presentations and segmentations"
            return one.fail(Reason.NOT_ALLOWED, words)
        if one.rejects:
            return one.fail(Reason.NOT_ALLOWED, "rejects images, which is for their site or a coordinator")
        holding = shelf.destination.holding
        unseen = find_foreign(session, holding.case_id, one.references, beside) if holding is not None else []
        if unseen:
            words = f"speaks of what is not of the case that you read: {', '.join(unseen[:UNSEEN_SHOWN_MAX])}"
            return one.fail(Reason.NOT_ALLOWED, words)
    if shelf.destination.purpose == "evidence" and one.header.patient_number not in ("", shelf.patient_number):
        return one.fail(Reason.DOES_NOT_BELONG, "names another patient than the study it belongs to")
    return None


def _quarantine(hub: Hub, viewer: Viewer, destination: Destination, one: Inspected, reason: str) -> None:
    """Keep other contents of an instance that is held, and tell; the same contents again change nothing."""
    digest = one.entry.stored_sha256
    key = f"{quarantine_prefix(destination.site_id, destination.study_uid)}{one.uid}-{digest}.dcm"
    with one.path.open("rb") as file:
        hub.objects.put(key, file, one.entry.size_bytes)
    now = hub.clock()
    with hub.transaction() as session:
        event = HubEvent(
            event_key=f"hub:{Hop.REFUSED}:{destination.site_id}:{one.uid}:{digest}",
            hop=Hop.REFUSED,
            site_id=destination.site_id,
            study_uid=destination.study_uid,
            sop_instance_uid=one.uid,
            at=now,
            actor=viewer.account_id,
            detail={"code": CONFLICT, "reason": reason, "object_key": key},
        )
        if write_hub_event(session, event):
            _log.warning("deposit_quarantined", site_id=destination.site_id, sop_instance_uid=one.uid)


def _audit_refusal(session: Session, viewer: Viewer, study_uid: str, now: datetime) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=IMPORTED,
            action="C",
            account_id=viewer.account_id,
            object_kind="study",
            object_id=study_uid,
            site_id=None,
            outcome="failure",
            detail={},
        )
    )
