"""Rejection notes in packs (IHE RAD IOCM): what they reject is hidden in the transaction that catalogues them.

Durable: the correction's object, written before that transaction as the pack's record is. A try that was cut off
leaves an object that the next one replaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.services.arrival.pack_proof import PackClaim, ProvedPack
from reading_queue.services.corrections.amending import amend, put_record
from reading_queue.services.hub import Hub
from storage.catalogue.amending import next_amendment_number
from storage.catalogue.amendment_records import AmendmentRecord, Rejection
from storage.catalogue.amendment_tables import Amendment
from storage.catalogue.indexing import next_number
from storage.catalogue.rejection_notes import find_rejection
from storage.catalogue.tables import Deposit, Transfer
from storage.contract.identifiers import SiteId, Uid, new_id
from storage.contract.rejection_codes import KEY_OBJECT_SELECTION


def prepare_rejections(hub: Hub, claim: PackClaim, proved: ProvedPack) -> list[AmendmentRecord]:
    """Write the objects of the corrections that the pack's notes are, but those known before; return them in order.

    The caller is alone with the study.
    """
    if all(member.entry.sop_class_uid != KEY_OBJECT_SELECTION for member in proved.members):
        return []
    found = [note for note in map(find_rejection, json.loads(proved.headers_json)) if note is not None]
    records: list[AmendmentRecord] = []
    with hub.transaction() as session:
        number = next_amendment_number(session, claim.site_id, claim.study_uid)
        made_by = _depositor(session, claim.transfer_id)
        for about, reason in found:
            if not _is_known(session, claim, about):
                records.append(
                    AmendmentRecord(
                        amendment_id=new_id(),
                        site_id=SiteId(claim.site_id),
                        study_uid=Uid(claim.study_uid),
                        number=number + len(records),
                        step=next_number(session),
                        made_by=made_by,
                        made_at=hub.clock(),
                        reason=reason,
                        about=about,
                    )
                )
    for record in records:
        put_record(hub, record)
    return records


def write_rejections(session: Session, hub: Hub, records: Sequence[AmendmentRecord]) -> None:
    """Hide what the notes reject; their pack is catalogued in this transaction."""
    for record in records:
        amend(session, hub, record, is_recorded=True)


def forget_rejections(hub: Hub, records: Sequence[AmendmentRecord]) -> None:
    """Remove the objects of notes whose pack is refused."""
    for record in records:
        hub.objects.erase(record.key)


def _is_known(session: Session, claim: PackClaim, about: Rejection) -> bool:
    of_note = select(Amendment.amendment_id).where(
        Amendment.site_id == claim.site_id,
        Amendment.study_uid == claim.study_uid,
        Amendment.kind == about.kind,
        Amendment.content["note_uid"].as_string() == about.note_uid,
    )
    return session.scalar(of_note.limit(1)) is not None


def _depositor(session: Session, transfer_id: str) -> str | None:
    """Return the account of who stored the note at the hub; None of what a gateway sent."""
    by_deposit = select(Deposit.deposited_by).join(Transfer, Transfer.deposit_id == Deposit.deposit_id)
    return session.scalar(by_deposit.where(Transfer.transfer_id == transfer_id))
