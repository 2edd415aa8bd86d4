"""How a case comes to be: declared with its study's first manifest, ready when the catalogue holds the study.

Both functions run inside the caller's transaction and may be repeated: a study yields one case, and one set of its
instances counts once, whatever arrives twice.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy, Organisation, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import (
    SIGNED,
    Actor,
    CaseEvent,
    CaseState,
    ReadingTaskEvent,
)
from reading_queue.errors import NotFound, WrongState
from reading_queue.services.cases.case_facts import copy_facts
from reading_queue.services.cases.casework import (
    ROUTE_JOB,
    close_offers,
    find_case_of,
    find_case_of_locked,
    find_open_task,
    get_case_locked,
    move_case,
    move_task,
    open_reading_task,
    record_custody,
    report_readiness,
)
from reading_queue.services.cases.images_seen import note_news
from reading_queue.services.cases.joining import join_by_order
from reading_queue.services.hub import Hub, launch
from reading_queue.services.orders.orders import match_study
from reading_queue.services.orders.study_orders import lock_orders_of
from reading_queue.services.patients.identity_doubts import check_identity
from reading_queue.services.reading.priors import ask_for_priors
from reading_queue.services.reports.addenda import open_for_late_images
from reading_queue.services.routing.lanes import raise_lane, time_limit
from reading_queue.services.worklists.desk_events import tell
from storage.catalogue.holdings import compare_with_catalogue
from storage.catalogue.indexing import find_study_locked
from storage.catalogue.tables import Study, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.manifest import Manifest

UNREAD = frozenset({CaseState.READY, CaseState.OFFERED})
WAITING_FOR_IMAGES = frozenset({CaseState.RECEIVING, CaseState.RETURNED})


def declare_case(session: Session, hub: Hub, now: datetime, *, manifest: Manifest) -> str:
    """Return the id of the case that reads the manifest's study, creating it in RECEIVING the first time.

    Later manifests of the study only move the clock of the last instance, and hurry the case when they are more urgent.

    Raises:
        NotFound: the site belongs to no organisation.
    """
    _lock_study(session, manifest.site_id, manifest.study_uid)
    last_instance_at = manifest.last_received_at()
    case = find_case_of_locked(session, manifest.site_id, manifest.study_uid)
    if case is not None:
        case.last_instance_at = max(case.last_instance_at, last_instance_at)
        raise_lane(session, hub, case, manifest.lane, now, uids=[manifest.study_uid])
        return case.case_id
    first_instance_at = min(entry.received_at for entry in manifest.instances)
    case = new_case(session, hub, manifest.site_id, manifest.lane, (first_instance_at, last_instance_at), now)
    _read_in(session, case, manifest.study_uid)
    tell(session, Hop.DECLARED, case.site_id, case.case_id)
    return case.case_id


def open_case_for(session: Session, hub: Hub, now: datetime, *, study: Study, lane: Lane) -> tuple[Case, ReadingTask]:
    """Have a study read that came for something else, as a prior; return its case and the interpretation.

    Raises:
        WrongState: the study is read by a case already.
    """
    _lock_study(session, study.site_id, study.study_uid)
    lock_orders_of(session, study.site_id)
    if find_case_of(session, study.site_id, study.study_uid) is not None:
        raise WrongState("this study has a case already; a case is hurried by its order, not by another one")
    case = new_case(session, hub, study.site_id, lane, (study.first_received_at, study.catalogued_at), now)
    _read_in(session, case, study.study_uid)
    copy_facts(session, hub, case, now)
    match_study(session, hub, case, study, now)
    check_identity(session, case, now)
    return case, make_ready(session, case, now)


def study_catalogued(session: Session, hub: Hub, now: datetime, *, study: Study, transfer: Transfer) -> None:
    """Let the case of a study know that the catalogue holds it, at the study's present revision.

    A case that waits for images becomes ready and its interpretation is launched. Images that come while it is being
    read must be acknowledged by the reader; images that come after the signature have its author look at the report
    again, as an addendum. They never make a second case.

    Raises:
        NotFound: no manifest of the study was declared.
    """
    lock_orders_of(session, study.site_id)  # an order that comes at this moment waits, and finds the study
    case = find_case_of_locked(session, study.site_id, study.study_uid)
    if case is None:
        raise NotFound("no case was declared for this study")
    state = CaseState(case.state)
    late = state not in WAITING_FOR_IMAGES | UNREAD
    if not _record_revision(session, case, study, transfer, now, late=late and not case.still_arriving):
        return
    if case.still_arriving:
        case.still_arriving = case.images_unacknowledged = False  # for who takes it from now on, all is here
        report_readiness(session, case)
    note_news(case)
    if late:
        check_identity(session, case, now)
        if state in SIGNED:
            open_for_late_images(session, hub, case, now)
        return
    copy_facts(session, hub, case, now)
    match_study(session, hub, case, study, now)
    check_identity(session, case, now)
    if state in WAITING_FOR_IMAGES and study.instance_count:
        make_ready(session, case, now)
        join_by_order(session, hub, case, now)
        if case.state != CaseState.CANCELLED:
            ask_for_priors(session, now, case, study)


def first_series_catalogued(session: Session, hub: Hub, now: datetime, *, manifest: Manifest) -> None:
    """Let an emergency be offered once one series of its study is whole in the catalogue, while the rest arrives.

    Called with every pack that is catalogued before the last one. Nobody signs before the rest is here, or the reader
    has said that they sign what is there. The lane is that of the manifest or of the order.
    """
    case_id = find_case_of(session, manifest.site_id, manifest.study_uid)
    if case_id is None or session.get_one(Case, case_id).state != CaseState.RECEIVING:
        return
    study = find_study_locked(session, manifest.site_id, manifest.study_uid)
    if study is None or not _has_whole_series(session, manifest):
        return
    lock_orders_of(session, manifest.site_id)
    case = get_case_locked(session, case_id)
    match_study(session, hub, case, study, now)
    if case.state != CaseState.RECEIVING or Lane(case.lane) is not Lane.STAT:
        return
    copy_facts(session, hub, case, now)
    check_identity(session, case, now)
    case.still_arriving = case.images_unacknowledged = True
    make_ready(session, case, now, CaseEvent.SERIES_VERIFIED)
    ask_for_priors(session, now, case, study)


def follow_what_is_shown(session: Session, case: Case, now: datetime) -> None:
    """Take a case that nobody reads yet back from the readers when all its images were rejected.

    It waits for other images then, or for those to be shown again. The case is locked.
    """
    state = CaseState(case.state)
    of_case = (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid)
    whole = select(Study).join(CaseStudy, of_case).where(CaseStudy.case_id == case.case_id, Study.revision > 0)
    shown = sum(study.instance_count for study in session.scalars(whole))
    if state in UNREAD and not shown:
        move_case(case, CaseEvent.RETURN_TO_SITE, Actor.SYSTEM)
        task = find_open_task(session, case.case_id)
        if task is not None:
            close_offers(session, task, now)
            move_task(task, ReadingTaskEvent.CANCEL, Actor.SYSTEM, now)
            task.cancel_reason = DiscontinuationReason.INSUFFICIENT_QUALITY
    elif state is CaseState.RETURNED and shown:
        make_ready(session, case, now)


def new_case(
    session: Session, hub: Hub, site_id: str, lane: Lane, arrived: tuple[datetime, datetime], now: datetime
) -> Case:
    """Add a case of this site; `arrived` is when its first and its last instance did."""
    organisation_id = session.scalar(select(Organisation.organisation_id).where(Organisation.site_id == site_id))
    if organisation_id is None:
        raise NotFound("this site belongs to no organisation; load the network description first")
    first_instance_at, last_instance_at = arrived
    case = Case(
        case_id=new_id(),
        site_id=site_id,
        organisation_id=organisation_id,
        state=CaseState.RECEIVING,
        lane=lane,
        modality="",
        first_instance_at=first_instance_at,
        last_instance_at=last_instance_at,
        created_at=now,
        due_at=first_instance_at + time_limit(hub, lane),
    )
    session.add(case)
    session.flush()
    return case


def _read_in(session: Session, case: Case, study_uid: str) -> None:
    session.add(CaseStudy(case_id=case.case_id, site_id=case.site_id, study_uid=study_uid))
    session.flush()


def _has_whole_series(session: Session, manifest: Manifest) -> bool:
    held = set(compare_with_catalogue(session, manifest).held)
    series: defaultdict[str, bool] = defaultdict(lambda: True)
    for entry in manifest.instances:
        series[entry.series_uid] &= entry.sop_instance_uid in held
    return any(series.values())


def make_ready(
    session: Session, case: Case, now: datetime, event: CaseEvent = CaseEvent.IMAGES_VERIFIED
) -> ReadingTask:
    """Have a case interpreted whose images are there; return its reading task."""
    move_case(case, event, Actor.SYSTEM)
    case.ready_at = now
    task = open_reading_task(session, case, Phase.INTERPRETATION, now)
    launch(session, now, ROUTE_JOB, reading_task_id=task.reading_task_id)  # of a new task no launch can wait
    return task


def revision_key(case_id: str, revision: int) -> str:
    """Return the key of the one ledger line that tells a case of a revision of its study."""
    return f"revision:{case_id}:{revision}"


def _record_revision(
    session: Session, case: Case, study: Study, transfer: Transfer, now: datetime, *, late: bool
) -> bool:
    """Write the ledger line of this revision; return whether the revision is new to the case."""
    return record_custody(
        session,
        case,
        Hop.LATE_IMAGES if late else Hop.CATALOGUED,
        revision_key(case.case_id, study.revision),
        now,
        uids=[study.study_uid],
        detail={
            "revision": study.revision,
            "instance_count": study.instance_count,
            "transfer_id": transfer.transfer_id,
            "case_state": case.state,
        },
    )


def _lock_study(session: Session, site_id: str, study_uid: str) -> None:
    """Make two first declarations of one study wait for each other, until the transaction ends.

    The study's row comes before the case's, as where a pack is catalogued: both ways at once must not deadlock.
    """
    of_site = (Study.site_id == site_id) & (Study.study_uid == study_uid)
    session.execute(select(Study.study_id).where(of_site).with_for_update())
    key = func.hashtextextended(f"case:{site_id}:{study_uid}", 0)
    session.execute(select(func.pg_advisory_xact_lock(key)))
