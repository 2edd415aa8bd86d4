"""Compares the catalogue with object storage, both ways: what is missing, what has changed, what nobody knows of.

Reads only; with `deep` every pack is read as the scrubbing does, which writes down what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from reading_queue.services.holdings.scrubbing import scrub
from reading_queue.services.hub import Hub
from storage.catalogue.pack_records import RECORD_SUFFIX, digest_of, record_key
from storage.catalogue.tables import SOUND, Pack, Study
from storage.objects.protocol import ObjectMissing

BATCH: Final = 200
PACK_SUFFIX: Final = ".tar"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it should be; `code` is constant, `words` are for a person and name no patient."""

    code: str
    key: str
    words: str


@dataclass
class Checked:
    """How much was looked at so far."""

    packs: int = 0
    objects: int = 0


def check_stored(hub: Hub, checked: Checked, *, study_uid: str | None = None, deep: bool = False) -> Iterator[Fault]:
    """Yield what is wrong with the packs of one study, or of all; counts what was looked at in `checked`.

    Raises:
        StoreUnavailable: nothing more can be said.
    """
    for batch in _packs(hub, study_uid):
        for pack, study in batch:
            checked.packs += 1
            if deep:
                scrub(hub, pack.pack_id)
            yield from _check_pack(hub, pack, study)
    for prefix in _prefixes(hub, study_uid):
        yield from _find_strangers(hub, prefix, checked)


def _packs(hub: Hub, study_uid: str | None) -> Iterator[Sequence[tuple[Pack, Study]]]:
    """Yield the packs by number, a batch in each transaction."""
    number = 0
    while True:
        query = select(Pack, Study).join(Study, Study.study_id == Pack.study_id).where(Pack.number > number)
        if study_uid is not None:
            query = query.where(Study.study_uid == study_uid)
        with hub.transaction() as session:
            batch = [(pack, study) for pack, study in session.execute(query.order_by(Pack.number).limit(BATCH))]
        if not batch:
            return
        number = batch[-1][0].number
        yield batch


def _check_pack(hub: Hub, pack: Pack, study: Study) -> Iterator[Fault]:
    with hub.transaction() as session:  # as it is now: a deep check may just have found something
        now = session.get_one(Pack, pack.pack_id)
    try:
        size_bytes = hub.objects.stat(now.object_key).size_bytes
        if size_bytes != now.size_bytes:
            yield Fault("size_differs", now.object_key, f"has {size_bytes} bytes instead of {now.size_bytes}")
    except ObjectMissing:
        yield Fault("missing", now.object_key, "the pack is not there")
    if now.condition != SOUND:
        lost = f"{len(now.damaged_uids)} of its instances cannot be given" if now.damaged_uids else "nothing is lost"
        yield Fault(now.condition, now.object_key, f"was found {now.condition}; {lost}")
    try:
        hub.objects.stat(now.headers_key)
    except ObjectMissing:
        yield Fault("headers_missing", now.headers_key, "the prepared headers are not there")
    yield from _check_record(hub, now, study)


def _check_record(hub: Hub, pack: Pack, study: Study) -> Iterator[Fault]:
    key = record_key(study.site_id, study.study_uid, pack.pack_sha256)
    if pack.record_sha256 is None:
        yield Fault("record_awaited", key, "the record is not written yet; the scheduler does it")
        return
    try:
        if digest_of(hub.objects.read(key)) != pack.record_sha256:
            yield Fault("record_differs", key, "the record is not the one that was written")
    except ObjectMissing:
        yield Fault("record_missing", key, "the record is not there; the next deep check has it written again")


def _prefixes(hub: Hub, study_uid: str | None) -> list[str]:
    if study_uid is None:
        return ["studies/"]
    with hub.transaction() as session:
        sites = session.scalars(select(Study.site_id).where(Study.study_uid == study_uid).order_by(Study.site_id))
        return [f"studies/{site_id}/{study_uid}/" for site_id in sites]


def _find_strangers(hub: Hub, prefix: str, checked: Checked) -> Iterator[Fault]:
    """Yield the packs and records under a prefix that the catalogue does not know."""
    batch: list[str] = []
    for key in hub.objects.list_keys(prefix):
        checked.objects += 1
        if key.endswith((PACK_SUFFIX, RECORD_SUFFIX)):
            batch.append(key)
        if len(batch) == BATCH:
            yield from _strangers_of(hub, batch)
            batch = []
    yield from _strangers_of(hub, batch)


def _strangers_of(hub: Hub, keys: list[str]) -> Iterator[Fault]:
    packs = {key: key.removesuffix(RECORD_SUFFIX).removesuffix(PACK_SUFFIX) + PACK_SUFFIX for key in keys}
    with hub.transaction() as session:
        query = select(Pack.object_key).where(Pack.object_key.in_(set(packs.values())))
        known = set(session.scalars(query))
    for key in keys:
        if packs[key] not in known:
            yield Fault("unknown", key, "the catalogue does not know this")
