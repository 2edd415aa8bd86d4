"""Reads all that is stored again, on a plan, and compares it with the digests: damage is found before it is needed.

Durable: when each pack was last read, how it was found, and which instances of it cannot be given any more; every
finding in the ledger. What was found damaged is copied to `quarantine/damaged/` and stays where it lies, for the other
instances in it are sound. A gateway that still holds the originals is told that they are needed again, and what comes
takes its place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Final, cast

import structlog
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from reading_queue.services.arrival import custody
from reading_queue.services.cases import casework
from reading_queue.services.hub import Hub
from reading_queue.services.motion.sweeps import in_hand, launch_all
from reading_queue.services.motion.turns import Turn, alone_if_free, name_of_study
from storage.catalogue.indexing import find_pack
from storage.catalogue.pack_records import digest_of, record_key
from storage.catalogue.tables import DAMAGED, MISSING, SOUND, Instance, Pack, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, Uid
from storage.ledger.tables import OutboxMessage
from storage.objects.protocol import ObjectMissing, ObjectRejected
from storage.objects.ranged import open_range
from storage.packs import PackMember, PackStream, layout_of
from storage.packs.layout import PACK_BYTES_MAX
from storage.packs.stream import pack_sha256

SCRUB_JOB: Final = "packs.scrub"
SCRUB_LARGE_JOB: Final = "packs.scrub_large"
LAUNCHED_MAX: Final = 8  # checks under way at once
GIB: Final = 1024**3
HOUR: Final = timedelta(hours=1)
# So many within an hour is no decay: it is another bucket, an empty directory, a store that lies. A person looks first.
SUSPICIOUS_PER_HOUR: Final = 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Examined:
    """How a pack was found, and which of its instances cannot be given."""

    condition: str
    damaged_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """How the stored bytes are, as far as they were read."""

    packs: int
    oldest_check_days: int
    unsound_packs: int
    lost_instances: int  # of which no sound copy is held
    is_halted: bool  # so much was found at once that a person must look first


def plan(hub: Hub) -> int:
    """Launch checks of the packs that were read longest ago, within the hour's budget; return how many."""
    now = hub.clock()
    due = Pack.checked_at < now - timedelta(days=hub.policy.scrub_every_days)
    with hub.transaction() as session:
        if not session.scalar(select(due).where(due).limit(1)):
            return 0
        if _under_way(session, hub) >= LAUNCHED_MAX or _is_halted(session, hub):
            return 0
        read_lately = (Pack.checked_at > now - HOUR) & (Pack.checked_at > Pack.verified_at)
        spent = session.scalar(select(func.coalesce(func.sum(Pack.size_bytes), 0)).where(read_lately)) or 0
    if spent >= hub.policy.scrub_gib_per_hour * GIB:
        return 0
    large = Pack.size_bytes > PACK_BYTES_MAX
    return _launch(hub, SCRUB_JOB, due & ~large) + _launch(hub, SCRUB_LARGE_JOB, due & large)


def scrub(hub: Hub, pack_id: str) -> None:
    """Read one pack, its record and its headers again and write down how they were found; who else is at it goes on.

    Raises:
        StoreUnavailable: nothing is known; try again.
    """
    with hub.transaction() as session:
        row = session.execute(
            select(Pack, Study).join(Study, Study.study_id == Pack.study_id).where(Pack.pack_id == pack_id)
        ).one_or_none()
    if row is None:
        return
    pack, study = row
    with alone_if_free(hub, pack.object_key) as turn:
        if turn is None:
            return
        examined = _examine(hub, pack)
        if examined.condition == DAMAGED and pack.condition == SOUND:
            hub.objects.copy(pack.object_key, quarantine_key(pack))
        if examined == Examined(DAMAGED) and _mend(hub, pack, study):
            examined = Examined(SOUND)
        _check_record(hub, pack, study)
        _note(hub, turn, pack, study, examined)


def quarantine_key(pack: Pack) -> str:
    """Return where the bytes of a pack lie that were found damaged."""
    return f"quarantine/damaged/{pack.pack_id}/{pack.pack_sha256}.tar"


def report(hub: Hub) -> Report:
    """Return how the stored bytes are."""
    now = hub.clock()
    lost = func.jsonb_array_length(Pack.damaged_uids)
    unsound = Pack.condition != SOUND
    with hub.transaction() as session:
        packs, oldest = session.execute(select(func.count(), func.min(Pack.checked_at)).select_from(Pack)).one()
        count, instances = session.execute(
            select(func.count(), func.coalesce(func.sum(lost), 0)).where(unsound, lost > 0)
        ).one()
        is_halted = _is_halted(session, hub)
    age = now - oldest if packs else timedelta(0)
    return Report(packs, age.days, count, int(instances), is_halted)


def note_healed(session: Session, hub: Hub, site_id: str, study_uid: str, pack_sha256: str) -> None:
    """Write down that a pack which was not sound has been proved again; the caller has the study's lock."""
    pack = find_pack(session, site_id, study_uid, pack_sha256)
    if pack is not None and pack.condition != SOUND:
        _mark_sound(session, hub, pack, session.get_one(Study, pack.study_id))


def _mark_sound(session: Session, hub: Hub, pack: Pack, study: Study) -> None:
    now = hub.clock()
    before, pack.condition = pack.condition, SOUND
    pack.condition_since, pack.damaged_uids, pack.checked_at = now, [], now
    _record(session, hub, Hop.HEALED, pack, study, {"before": before})


def _is_halted(session: Session, hub: Hub) -> bool:
    lately = Pack.condition_since > hub.clock() - HOUR
    found = select(func.count()).select_from(Pack).where(Pack.condition != SOUND, lately)
    return (session.scalar(found) or 0) >= SUSPICIOUS_PER_HOUR


def _under_way(session: Session, hub: Hub) -> int:
    jobs = (SCRUB_JOB, SCRUB_LARGE_JOB)
    lately = OutboxMessage.published_at > hub.clock() - timedelta(seconds=60)
    open_ones = (
        select(func.count())
        .select_from(OutboxMessage)
        .where(OutboxMessage.job.in_(jobs), OutboxMessage.published_at.is_(None) | lately)
    )
    return session.scalar(open_ones) or 0


def _launch(hub: Hub, job: str, which: ColumnElement[bool]) -> int:
    now = hub.clock()
    ids = select(Pack.pack_id).where(which, ~in_hand(hub, job, Pack.pack_id, now)).order_by(Pack.checked_at)
    return launch_all(hub, now, ids, job, "pack_id", limit=LAUNCHED_MAX, is_lost=False)


def _examine(hub: Hub, pack: Pack) -> Examined:
    """Read the whole pack; when it is not as it was, find out which of its instances are."""
    digest = hashlib.sha256()
    try:
        with hub.objects.open(pack.object_key) as chunks:
            for chunk in chunks:
                digest.update(chunk)
    except ObjectMissing:
        return Examined(MISSING, tuple(sorted(one.sop_instance_uid for one in _instances(hub, pack))))
    if digest.hexdigest() == pack.pack_sha256:
        return Examined(SOUND)
    damaged = [one.sop_instance_uid for one in _instances(hub, pack) if not _is_sound(hub, pack, one)]
    return Examined(DAMAGED, tuple(sorted(damaged)))


def _instances(hub: Hub, pack: Pack) -> list[Instance]:
    with hub.transaction() as session:
        return list(session.scalars(select(Instance).where(Instance.pack_id == pack.pack_id)))


def _is_sound(hub: Hub, pack: Pack, instance: Instance) -> bool:
    digest = hashlib.sha256()
    length = instance.size_bytes
    try:
        with hub.objects.open(pack.object_key, offset=instance.offset_bytes, length=length) as chunks:
            for chunk in chunks:
                digest.update(chunk)
    except (ObjectRejected, ObjectMissing):  # the object is so short that nothing lies there
        return False
    return digest.hexdigest() == instance.stored_sha256


def _mend(hub: Hub, pack: Pack, study: Study) -> bool:
    """Write a pack anew of which every instance is sound and only what is between them is not; return whether it is.

    A pack is a pure function of its members: made again, it has the digest that it had.
    """
    instances = {one.sop_instance_uid: one for one in _instances(hub, pack)}
    members = [PackMember(Uid(uid), one.size_bytes, Sha256Hex(one.stored_sha256)) for uid, one in instances.items()]
    layout = layout_of(study.site_id, study.study_uid, members)
    if layout.size_bytes != pack.size_bytes:
        return False  # it held other instances, too, which lie elsewhere

    def open_member(member: PackMember) -> BinaryIO:
        offset_bytes = instances[member.sop_instance_uid].offset_bytes
        return open_range(hub.objects, pack.object_key, offset_bytes, member.size_bytes)

    if pack_sha256(layout, open_member) != pack.pack_sha256:
        return False
    with PackStream(layout, open_member) as stream:
        hub.objects.put(pack.object_key, cast("BinaryIO", stream), layout.size_bytes)
    _log.warning("pack_mended", pack_id=pack.pack_id)
    return _examine(hub, pack).condition == SOUND


def _check_record(hub: Hub, pack: Pack, study: Study) -> None:
    """Have a record that is not the one the catalogue knows written anew from the database, by the sweep."""
    if pack.record_sha256 is None:
        return
    try:
        sound = digest_of(hub.objects.read(record_key(study.site_id, study.study_uid, pack.pack_sha256)))
    except ObjectMissing:
        sound = None
    if sound != pack.record_sha256:
        with hub.transaction() as session:
            session.execute(update(Pack).where(Pack.pack_id == pack.pack_id).values(record_sha256=None))
        _log.error("pack_record_damaged", pack_id=pack.pack_id)


def _note(hub: Hub, turn: Turn, pack: Pack, study: Study, examined: Examined) -> None:
    with turn.also(name_of_study(study.site_id, study.study_uid)), hub.transaction() as session:
        row = session.get_one(Pack, pack.pack_id, with_for_update=True)
        now = hub.clock()
        row.checked_at = now
        if examined.condition == SOUND:
            if row.condition != SOUND:
                _mark_sound(session, hub, row, study)
            return
        held = set(session.scalars(select(Instance.sop_instance_uid).where(Instance.pack_id == pack.pack_id)))
        damaged_uids = [uid for uid in examined.damaged_uids if uid in held]
        if (row.condition, row.damaged_uids) == (examined.condition, damaged_uids):
            return
        row.condition, row.condition_since, row.damaged_uids = examined.condition, now, damaged_uids
        detail = {"condition": examined.condition, "instances": len(damaged_uids)}
        _record(session, hub, Hop.DAMAGED, row, study, detail)
        _log.error("pack_unsound", pack_id=pack.pack_id, condition=examined.condition, instances=len(damaged_uids))


def _record(session: Session, hub: Hub, hop: Hop, pack: Pack, study: Study, detail: dict[str, object]) -> None:
    now = hub.clock()
    custody.record(
        session,
        now,
        hop,
        event_key=f"hub:{hop}:{pack.pack_id}:{now.isoformat()}",
        site_id=study.site_id,
        study_uid=study.study_uid,
        case_id=casework.find_case_of(session, study.site_id, study.study_uid),
        detail={"pack_sha256": pack.pack_sha256, **detail},
    )
