"""What the catalogue holds of a manifest, compared by digests. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Row, Text, any_, literal, select
from sqlalchemy.orm import Session

from storage.catalogue.tables import Instance, Series, Study
from storage.contract.identifiers import Uid
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import ConflictingInstance

OTHER_BYTES = "the hub holds this SOP Instance UID with other contents"
OTHER_STUDY = "the hub holds this SOP Instance UID in another study"

HeldRow = Row[str, str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Holdings:
    """A manifest's instances, each in exactly one of the three, in the manifest's order."""

    held: tuple[Uid, ...]
    needed: tuple[Uid, ...]
    conflicting: tuple[ConflictingInstance, ...]


def compare_with_catalogue(session: Session, manifest: Manifest) -> Holdings:
    """Return which instances of the manifest the site's catalogue holds, needs, or holds with other contents."""
    rows = find_digests(session, manifest.site_id, [entry.sop_instance_uid for entry in manifest.instances])
    held: list[Uid] = []
    needed: list[Uid] = []
    conflicting: list[ConflictingInstance] = []
    for entry in manifest.instances:
        row = rows.get(entry.sop_instance_uid)
        if row is None:
            needed.append(entry.sop_instance_uid)
        elif reason := find_conflict(entry, manifest.study_uid, row):
            conflicting.append(ConflictingInstance(sop_instance_uid=entry.sop_instance_uid, reason=reason))
        else:
            held.append(entry.sop_instance_uid)
    return Holdings(tuple(held), tuple(needed), tuple(conflicting))


def find_digests(session: Session, site_id: str, uids: Sequence[str]) -> dict[str, HeldRow]:
    """Return (UID, study UID, received, stored and pixel digest) of those of `uids` that the site's catalogue holds."""
    query = (
        select(
            Instance.sop_instance_uid,
            Study.study_uid,
            Instance.received_sha256,
            Instance.stored_sha256,
            Instance.pixel_sha256,
        )
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .where(Instance.site_id == site_id, Instance.sop_instance_uid == any_(literal(list(uids), ARRAY(Text))))
    )
    return {row.sop_instance_uid: row for row in session.execute(query)}


def find_conflict(entry: InstanceEntry, study_uid: str, row: HeldRow) -> str | None:
    """Return in words why the held instance is not the declared one; None when it is the same."""
    if row.study_uid != study_uid:
        return OTHER_STUDY
    if row.received_sha256 == entry.received_sha256:
        return None
    if row.stored_sha256 == entry.stored_sha256 and row.pixel_sha256 == entry.pixel_sha256:
        return None
    return OTHER_BYTES
