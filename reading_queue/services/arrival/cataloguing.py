"""How a proved pack becomes a step of the catalogue.

Durable: the pack's record, written before the one transaction that catalogues it and saying exactly what that writes. A
try that was cut off before its transaction leaves a record that the next one replaces; a pack that is catalogued keeps
its record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.services.arrival.pack_proof import PackClaim, PackRefused, ProvedPack
from reading_queue.services.corrections.rejections import forget_rejections, prepare_rejections, write_rejections
from reading_queue.services.hub import Hub
from reading_queue.services.motion.turns import Turn, name_of_patient, name_of_study
from storage.catalogue.holdings import find_damaged
from storage.catalogue.indexing import FACTS_VERSION, InstanceConflict, PackFacts, find_pack, index_packs, next_number
from storage.catalogue.pack_records import CataloguedFacts, PackRecord, digest_of, dump_facts
from storage.catalogue.tables import SOUND, Pack, Study
from storage.contract.identifiers import SiteId, Uid

AndThen = Callable[[Session, datetime], None]


def catalogue(hub: Hub, turn: Turn, claim: PackClaim, proved: ProvedPack, and_then: AndThen) -> None:
    """Write a pack's record, then the pack into the catalogue, with `and_then` in the same transaction.

    A pack that is catalogued already is not written again.

    Raises:
        PackRefused: an instance is held already and is not the same.
        StoreUnavailable: nothing is catalogued; try again.
    """
    # Facts of a study are those of its first pack, a patient's name that of the newest: both orders are recorded.
    locks = name_of_study(claim.site_id, claim.study_uid), name_of_patient(claim.site_id, proved.patient.number)
    with turn.also(*locks):
        facts = _facts_of(claim, proved)
        record = _prepare_record(hub, claim, facts)
        if record is None:
            with hub.transaction() as session:
                and_then(session, hub.clock())
            return
        data = record.to_bytes()
        hub.objects.put(record.key, data, len(data))
        notes = prepare_rejections(hub, claim, proved)
        try:
            with hub.transaction() as session:
                study = write_step(session, record, facts, digest_of(data))
                if record.replaces:
                    study.metadata_due_at = record.verified_at  # another pack's headers speak of them now
                    _forget_damage(session, claim.site_id, record.replaces)
                write_rejections(session, hub, notes)
                and_then(session, record.verified_at)
        except InstanceConflict as exc:
            forget_rejections(hub, notes)
            raise PackRefused("conflicting_instance", str(exc)) from exc


def write_step(session: Session, record: PackRecord, facts: CataloguedFacts, record_sha256: str) -> Study:
    """Write what a record tells of; raises InstanceConflict."""
    return index_packs(
        session,
        site_id=record.site_id,
        patient=facts.patient,
        study=facts.study,
        packs=(facts.pack,),
        now=record.verified_at,
        is_prior=record.purpose != "read",
        steps={record.pack_sha256: record.step(record_sha256)},
    )


def _prepare_record(hub: Hub, claim: PackClaim, facts: CataloguedFacts) -> PackRecord | None:
    """Return the record of the step that this pack will be; None when it was one already."""
    with hub.transaction() as session:
        if find_pack(session, claim.site_id, claim.study_uid, claim.pack_sha256) is not None:
            return None
        number = next_number(session)
        damaged = find_damaged(session, claim.site_id, list(claim.entries))
    return PackRecord(
        number=number,
        verified_at=hub.clock(),
        site_id=SiteId(claim.site_id),
        time_zone=claim.time_zone,
        study_uid=Uid(claim.study_uid),
        pack_sha256=facts.pack.pack_sha256,
        size_bytes=claim.size_bytes,
        purpose=claim.purpose,
        first_received_at=claim.first_received_at,
        entries=tuple(member.entry for member in facts.pack.members),
        replaces=tuple(sorted(damaged)),
        facts_version=FACTS_VERSION,
        facts=dump_facts(facts),
    )


def _facts_of(claim: PackClaim, proved: ProvedPack) -> CataloguedFacts:
    pack = PackFacts(
        pack_sha256=claim.pack_sha256,
        object_key=claim.object_key,
        headers_key=claim.headers_key,
        size_bytes=claim.size_bytes,
        members=proved.members,
    )
    return CataloguedFacts(proved.patient, proved.study, pack)


def _forget_damage(session: Session, site_id: str, uids: Iterable[str]) -> None:
    """These instances lie elsewhere now; the packs that held them lack nothing of them any more."""
    found = set(uids)
    of_site = select(Pack).join(Study, Study.study_id == Pack.study_id).where(Study.site_id == site_id)
    for pack in session.scalars(of_site.where(Pack.condition != SOUND).with_for_update(of=Pack)):
        pack.damaged_uids = [uid for uid in pack.damaged_uids if uid not in found]
