"""Makes an empty catalogue again from object storage alone: patients, studies, series, packs, instances, corrections.

Durable: which records were found and which of them are done, so that a rebuild that was cut off goes on where it was.
Every step is one transaction, in the order in which packs and corrections came. What cannot be made again is named and
stops nothing; a pack whose bytes are gone is catalogued by its record, and its instances are asked for again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import structlog
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.errors import HubError
from reading_queue.services.arrival.cataloguing import write_step
from reading_queue.services.arrival.pack_proof import PackClaim, PackRefused, prove_pack
from reading_queue.services.holdings.keeping import restore_deletions, restore_holds
from reading_queue.services.holdings.restoring_links import restore_links
from reading_queue.services.hub import Hub
from storage.catalogue.amending import NothingToAmend, write_amendment
from storage.catalogue.amendment_records import PATIENTS, AmendmentRecord, Rejection, is_amendment_key, parse_amendment
from storage.catalogue.holdings import find_digests
from storage.catalogue.indexing import InstanceConflict, PackFacts, find_pack
from storage.catalogue.pack_records import (
    CataloguedFacts,
    PackRecord,
    RecordUnreadable,
    digest_of,
    find_facts,
    is_record_key,
    is_revision_key,
    pack_key,
    parse_pack_record,
    parse_revision_record,
)
from storage.catalogue.tables import Instance, Pack, RebuildStep, Study
from storage.ledger.tables import Site
from storage.objects.protocol import ObjectMissing
from storage.objects.ranged import open_range

STUDIES: Final = "studies/"
HEAD_BYTES: Final = 200  # a record begins with its format and number
BATCH: Final = 500
_HEAD: Final = re.compile(rb'\{"format":"counterpart-(?:pack-record/1","number|amendment/1","step)":(\d{1,18}),')

_log = structlog.get_logger(__name__)


class CatalogueNotEmpty(HubError):
    """The catalogue holds studies. A rebuild fills an empty database; make a new one and name it in [database] url."""

    code = "catalogue_not_empty"
    status = 409


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild has made, and what it could not make: (object key, why)."""

    packs: int
    studies: int
    problems: tuple[tuple[str, str], ...]


def rebuild(hub: Hub, *, from_bytes: bool = False) -> Rebuilt:
    """Fill the empty catalogue from the records in object storage, or from the packs' own bytes; go on if cut off.

    Raises:
        CatalogueNotEmpty: it holds studies that no unfinished rebuild has made.
        StoreUnavailable: run it again, it goes on.
    """
    _begin(hub)
    _find_records(hub)
    while (key := _next_key(hub)) is not None:
        _do_step(hub, key, from_bytes=from_bytes)
    problems = [*_problems(hub), *_restore_revisions(hub), *restore_holds(hub), *restore_deletions(hub)]
    problems += restore_links(hub)
    with hub.transaction() as session:
        studies = session.scalars(select(func.count()).select_from(Study)).one()
        packs = session.scalars(select(func.count()).select_from(Pack)).one()
        session.execute(delete(RebuildStep))
    return Rebuilt(packs, studies, tuple(problems))


def _begin(hub: Hub) -> None:
    with hub.transaction() as session:
        begun = session.scalar(select(exists().where(RebuildStep.record_key.is_not(None))))
        if not begun and session.scalar(select(exists().where(Study.study_id.is_not(None)))):
            raise CatalogueNotEmpty


def _find_records(hub: Hub) -> None:
    """Note every record with its number; what a rebuild before this one has noted stays as it is."""
    found: list[dict[str, object]] = []
    highest = 0
    for key in itertools.chain(hub.objects.list_keys(STUDIES), hub.objects.list_keys(PATIENTS)):
        if is_record_key(key) or is_amendment_key(key):
            head = _HEAD.match(hub.objects.read(key, offset=0, length=HEAD_BYTES))
            number = 0 if head is None else int(head[1])
            highest = max(highest, number)
            found.append({"record_key": key, "number": number})
        if len(found) == BATCH:
            _note(hub, found)
            found = []
    _note(hub, found)
    with hub.transaction() as session:  # packs that come from now on are later ones
        sequence = "SELECT setval(pg_get_serial_sequence('packs', 'number'), greatest(:highest, 1))"
        session.execute(text(sequence), {"highest": highest})


def _note(hub: Hub, found: list[dict[str, object]]) -> None:
    if found:
        with hub.transaction() as session:
            session.execute(insert(RebuildStep).values(found).on_conflict_do_nothing())


def _next_key(hub: Hub) -> str | None:
    with hub.transaction() as session:
        waiting = select(RebuildStep.record_key).where(RebuildStep.done_at.is_(None))
        return session.scalars(waiting.order_by(RebuildStep.number, RebuildStep.record_key).limit(1)).one_or_none()


def _problems(hub: Hub) -> list[tuple[str, str]]:
    with hub.transaction() as session:
        found = select(RebuildStep.record_key, RebuildStep.problem).where(RebuildStep.problem.is_not(None))
        rows = session.execute(found.order_by(RebuildStep.number, RebuildStep.record_key))
        return [(key, problem or "") for key, problem in rows]


def _do_step(hub: Hub, key: str, *, from_bytes: bool) -> None:
    if is_amendment_key(key):
        _do_amendment(hub, key)
    else:
        _do_pack(hub, key, from_bytes=from_bytes)


def _do_amendment(hub: Hub, key: str) -> None:
    """Repeat one correction, in one transaction with the note that it is done."""
    try:
        record = parse_amendment(key, hub.objects.read(key))
        with hub.transaction() as session:
            _repeat(session, record)
            _done(session, hub, key, None)
    except RecordUnreadable:
        _refuse(hub, key, "this is no correction, or it belongs elsewhere")
    except NothingToAmend as exc:
        _refuse(hub, key, str(exc))


def _repeat(session: Session, record: AmendmentRecord) -> None:
    about = record.about
    if isinstance(about, Rejection) and not find_digests(session, record.site_id, [about.note_uid]):
        raise NothingToAmend("the rejection note is not there")
    write_amendment(session, record, is_recorded=True)


def _do_pack(hub: Hub, key: str, *, from_bytes: bool) -> None:
    """Catalogue one pack, in one transaction with the note that it is done."""
    try:
        data = hub.objects.read(key)
        record = parse_pack_record(key, data)
        lost = _why_lost(hub, record)
        facts = None if from_bytes and lost is None else find_facts(record)
        if facts is None:
            facts = _facts_from_bytes(hub, record)
        with hub.transaction() as session:
            _write(session, hub, record, facts, digest_of(data))
            if lost is not None:
                _mark_missing(session, hub, record)
            _done(session, hub, key, lost)
    except RecordUnreadable:
        _refuse(hub, key, "this is no record of a pack, or it belongs elsewhere")
    except ObjectMissing:
        _refuse(hub, key, "the pack is missing, and its record does not hold what would be read from it")
    except (PackRefused, InstanceConflict) as exc:
        _refuse(hub, key, exc.reason)


def _why_lost(hub: Hub, record: PackRecord) -> str | None:
    """Return in words why the pack's bytes cannot be given; None when they are there, as far as their number goes."""
    try:
        size_bytes = hub.objects.stat(pack_key(record.site_id, record.study_uid, record.pack_sha256)).size_bytes
    except ObjectMissing:
        return "the pack is missing; it is catalogued by its record, and its instances are asked for again"
    if size_bytes != record.size_bytes:
        return f"the pack has {size_bytes} bytes instead of {record.size_bytes}; its instances are asked for again"
    return None


def _facts_from_bytes(hub: Hub, record: PackRecord) -> CataloguedFacts:
    """Prove the pack as when it came, take its facts, and write its headers anew."""
    claim = _claim_of(record)

    def reopen(offset: int, length: int) -> BinaryIO:
        return open_range(hub.objects, claim.object_key, offset, length)

    with hub.objects.open(claim.object_key) as chunks:
        proved = prove_pack(chunks, claim, reopen)
    hub.objects.put(claim.headers_key, proved.headers_json, len(proved.headers_json))
    pack = PackFacts(claim.pack_sha256, claim.object_key, claim.headers_key, claim.size_bytes, proved.members)
    return CataloguedFacts(proved.patient, proved.study, pack)


def _claim_of(record: PackRecord) -> PackClaim:
    return PackClaim(
        granted_pack_id="",
        grant_id="",
        transfer_id="",
        site_id=record.site_id,
        study_uid=record.study_uid,
        time_zone=record.time_zone,
        pack_sha256=record.pack_sha256,
        size_bytes=record.size_bytes,
        staging_key=pack_key(record.site_id, record.study_uid, record.pack_sha256),
        entries={entry.sop_instance_uid: entry for entry in record.entries},
        first_received_at=record.first_received_at,
        purpose=record.purpose,
    )


def _write(session: Session, hub: Hub, record: PackRecord, facts: CataloguedFacts, record_sha256: str) -> None:
    site = {"site_id": record.site_id, "name": record.site_id, "time_zone": record.time_zone, "created_at": hub.clock()}
    session.execute(insert(Site).values(site).on_conflict_do_nothing())
    if find_pack(session, record.site_id, record.study_uid, record.pack_sha256) is None:
        write_step(session, record, facts, record_sha256)


def _mark_missing(session: Session, hub: Hub, record: PackRecord) -> None:
    pack = find_pack(session, record.site_id, record.study_uid, record.pack_sha256)
    if pack is not None:
        uids = select(Instance.sop_instance_uid).where(Instance.pack_id == pack.pack_id)
        pack.condition, pack.condition_since = "missing", hub.clock()
        pack.damaged_uids = sorted(session.scalars(uids))


def _refuse(hub: Hub, key: str, problem: str) -> None:
    with hub.transaction() as session:
        _done(session, hub, key, problem)
    _log.error("rebuild_step_failed", record_key=key)


def _done(session: Session, hub: Hub, key: str, problem: str | None) -> None:
    session.execute(
        update(RebuildStep).where(RebuildStep.record_key == key).values(done_at=hub.clock(), problem=problem)
    )


def _restore_revisions(hub: Hub) -> Iterator[tuple[str, str]]:
    """Let every study have its newest recorded revision; yield what could not be read."""
    for key in hub.objects.list_keys(STUDIES):
        if not is_revision_key(key):
            continue
        try:
            record = parse_revision_record(key, hub.objects.read(key))
        except RecordUnreadable:
            yield key, "this is no record of a revision, or it belongs elsewhere"
            continue
        of_study = (Study.site_id == record.site_id) & (Study.study_uid == record.study_uid)
        with hub.transaction() as session:
            session.execute(
                update(Study)
                .where(of_study, Study.revision < record.revision)
                .values(
                    revision=record.revision,
                    revision_instance_count=record.instance_count,
                    catalogued_at=record.catalogued_at,
                    recorded_revision=record.revision,
                    metadata_due_at=hub.clock(),
                )
            )
