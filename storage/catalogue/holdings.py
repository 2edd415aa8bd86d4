"""What the catalogue holds of a manifest, compared by digests. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Boolean, ColumnElement, Row, Text, any_, literal, select
from sqlalchemy.orm import Session

from storage.catalogue.tables import Instance, Pack, Series, Study
from storage.contract.identifiers import Uid
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import ConflictingInstance
from storage.dicom.digests import same_image

OTHER_BYTES = "the hub holds this SOP Instance UID with other contents"
OTHER_STUDY = "the hub holds this SOP Instance UID in another study"

HeldRow = Row[str, str, str, str, str | None, str | None, bool]


@dataclass(frozen=True, slots=True)
class Holdings:
    """A manifest's instances, each in exactly one of the three, in the manifest's order."""

    held: tuple[Uid, ...]
    needed: tuple[Uid, ...]
    conflicting: tuple[ConflictingInstance, ...]


def compare_with_catalogue(session: Session, manifest: Manifest) -> Holdings:
    """Return which instances of the manifest the site's catalogue holds, needs, or holds with other contents.

    One whose bytes have been damaged is needed again.
    """
    return compare_entries(session, manifest, manifest.instances)


def compare_entries(session: Session, manifest: Manifest, entries: Sequence[InstanceEntry]) -> Holdings:
    """Do for some of the manifest's instances what `compare_with_catalogue` does for all."""
    rows = find_digests(session, manifest.site_id, [entry.sop_instance_uid for entry in entries])
    held: list[Uid] = []
    needed: list[Uid] = []
    conflicting: list[ConflictingInstance] = []
    for entry in entries:
        row = rows.get(entry.sop_instance_uid)
        if row is None:
            needed.append(entry.sop_instance_uid)
        elif reason := find_conflict(entry, manifest.study_uid, row):
            conflicting.append(ConflictingInstance(sop_instance_uid=entry.sop_instance_uid, reason=reason))
        elif row.is_damaged:
            needed.append(entry.sop_instance_uid)
        else:
            held.append(entry.sop_instance_uid)
    return Holdings(tuple(held), tuple(needed), tuple(conflicting))


def find_digests(session: Session, site_id: str, uids: Sequence[str]) -> dict[str, HeldRow]:
    """Return UID, study UID, digests and whether the bytes are damaged, of those that the site's catalogue holds."""
    query = (
        select(
            Instance.sop_instance_uid,
            Study.study_uid,
            Instance.received_sha256,
            Instance.stored_sha256,
            Instance.pixel_sha256,
            Instance.values_sha256,
            is_damaged().label("is_damaged"),
        )
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(Instance.site_id == site_id, Instance.sop_instance_uid == any_(literal(list(uids), ARRAY(Text))))
    )
    return {row.sop_instance_uid: row for row in session.execute(query)}


def find_damaged(session: Session, site_id: str, uids: Sequence[str]) -> frozenset[str]:
    """Return those of `uids` that the site's catalogue holds and whose bytes are damaged."""
    return frozenset(uid for uid, row in find_digests(session, site_id, uids).items() if row.is_damaged)


def is_damaged() -> ColumnElement[bool]:
    """Return the condition that the bytes of an Instance, joined with its Pack, cannot be given any more."""
    return Pack.damaged_uids.op("?", return_type=Boolean())(Instance.sop_instance_uid)


def find_conflict(entry: InstanceEntry, study_uid: str, row: HeldRow) -> str | None:
    """Return in words why the held instance is not the declared one; None when it is the same.

    Element values and pixels that agree are the same instance, whatever syntax it was sent in this time.
    """
    if row.study_uid != study_uid:
        return OTHER_STUDY
    if row.received_sha256 == entry.received_sha256:
        return None
    if row.stored_sha256 == entry.stored_sha256:  # the very file, also of a gateway that lost what it knew of it
        return None
    if same_image(entry.values_sha256, entry.pixel_sha256, row.values_sha256, row.pixel_sha256):
        return None
    return OTHER_BYTES
