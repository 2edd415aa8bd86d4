"""Packs of a transfer, made from the spool's files: planned once, streamed when they are uploaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateway.journal.transfers import TransferKey
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import PackDeclaration, PartDeclaration
from storage.packs import PackMember, PackStream, digest_pack, layout_of, plan_packs, plan_parts


class TransferFiles:
    """The instance files of one transfer."""

    def __init__(self, spool: Spool, key: TransferKey) -> None:
        self._spool = spool
        self._key = key

    def path_of(self, sop_instance_uid: Uid) -> Path:
        """Return where the instance lies while it waits for its confirmation."""
        return self._spool.path_of(sop_instance_uid, self._key.study_uid, self._key.revision, SpoolState.READY)

    def open(self, member: PackMember) -> BinaryIO:
        """Open a pack's member; raises InstanceNotInSpool."""
        uid = member.sop_instance_uid
        return self._spool.open_instance(uid, self._key.study_uid, self._key.revision, SpoolState.READY)


def plan_next_packs(
    manifest: Manifest, unplanned: Sequence[Uid], files: TransferFiles, target_bytes: int, count: int, streams: int
) -> list[PackDeclaration]:
    """Return the next packs of what is not planned yet, at most `count`; reads their files once for their digests.

    So a study is packed as it goes, each pack as large as the line then carries in the wanted time, and what is left of
    it in packs that all `streams` have their share of, for one stream alone does not fill a lossy line.

    Raises:
        InstanceNotInSpool, MemberChanged: a file is missing, or not as long as it was.
    """
    entries = {entry.sop_instance_uid: entry for entry in manifest.instances}
    members = [_member(entries[uid]) for uid in unplanned if uid in entries]
    target_bytes = shared_target_bytes([member.size_bytes for member in members], target_bytes, streams)
    declarations = []
    for pack in plan_packs(members, target_bytes=target_bytes)[:count]:
        layout = layout_of(manifest.site_id, manifest.study_uid, pack)
        parts = plan_parts(layout.size_bytes, target_bytes=target_bytes)
        digests = digest_pack(layout, files.open, parts)
        declarations.append(
            PackDeclaration(
                pack_sha256=digests.whole,
                size_bytes=layout.size_bytes,
                sop_instance_uids=tuple(member.sop_instance_uid for member in pack),
                parts=tuple(
                    PartDeclaration(number=part.number, size_bytes=part.size_bytes, sha256=digest)
                    for part, digest in zip(parts, digests.parts, strict=True)
                ),
            )
        )
    return declarations


def shared_target_bytes(sizes: Sequence[int], target_bytes: int, streams: int) -> int:
    """Return how large packs may be so that members of these sizes make one for each stream at least. Pure."""
    if not sizes:
        return target_bytes
    return min(target_bytes, -(-sum(sizes) // streams) + max(sizes))  # the last of a pack need not fit to the byte


@contextmanager
def open_pack(
    manifest: Manifest,
    sop_instance_uids: Sequence[Uid],
    files: TransferFiles,
    wrap: Callable[[PackStream], BinaryIO],
    offset_bytes: int = 0,
) -> Iterator[BinaryIO]:
    """Give the pack of these instances as a file that is read once, from `offset_bytes` on, as `wrap` lets it out."""
    wanted = set(sop_instance_uids)
    members = [_member(entry) for entry in manifest.instances if entry.sop_instance_uid in wanted]
    layout = layout_of(manifest.site_id, manifest.study_uid, members)
    with PackStream(layout, files.open) as stream:
        stream.seek(offset_bytes)
        yield wrap(stream)


def damaged_instances(manifest: Manifest, sop_instance_uids: Collection[Uid], files: TransferFiles) -> list[Uid]:
    """Return those of the instances whose file no longer has the bytes of its digest; a missing one is none of them."""
    wanted = set(sop_instance_uids)
    entries = [entry for entry in manifest.instances if entry.sop_instance_uid in wanted]
    return [entry.sop_instance_uid for entry in entries if not _is_sound(entry, files)]


def _is_sound(entry: InstanceEntry, files: TransferFiles) -> bool:
    try:
        with files.path_of(entry.sop_instance_uid).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.stored_sha256
    except FileNotFoundError:
        return True


def _member(entry: InstanceEntry) -> PackMember:
    return PackMember(entry.sop_instance_uid, entry.size_bytes, entry.stored_sha256)
