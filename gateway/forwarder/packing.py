"""Packs of a transfer, made from the spool's files: planned once, streamed when they are uploaded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from gateway.hub import UploadAborted
from gateway.journal.transfers import TransferKey
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import PackDeclaration
from storage.packs import PackMember, PackStream, layout_of, pack_sha256, plan_packs


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


class _AbortableStream:
    """A pack that stops being readable when the upload shall end."""

    def __init__(self, stream: PackStream, abort: threading.Event) -> None:
        self._stream = stream
        self._abort = abort

    def read(self, size: int = -1) -> bytes:
        if self._abort.is_set():
            raise UploadAborted
        return self._stream.read(size)


def plan_transfer(
    manifest: Manifest, needed: Collection[Uid], files: TransferFiles, target_bytes: int
) -> list[PackDeclaration]:
    """Return the packs that carry the needed instances; reads every file once for the packs' digests.

    Raises:
        InstanceNotInSpool, MemberChanged: a file is missing, or not as long as it was.
    """
    wanted = set(needed)
    members = [_member(entry) for entry in manifest.instances if entry.sop_instance_uid in wanted]
    declarations = []
    for pack in plan_packs(members, target_bytes=target_bytes):
        layout = layout_of(manifest.site_id, manifest.study_uid, pack)
        declarations.append(
            PackDeclaration(
                pack_sha256=pack_sha256(layout, files.open),
                size_bytes=layout.size_bytes,
                sop_instance_uids=tuple(member.sop_instance_uid for member in pack),
            )
        )
    return declarations


@contextmanager
def open_pack(
    manifest: Manifest, sop_instance_uids: Sequence[Uid], files: TransferFiles, abort: threading.Event
) -> Iterator[BinaryIO]:
    """Give the pack of these instances as a file that is read once, from its start; `abort` ends it at once."""
    wanted = set(sop_instance_uids)
    members = [_member(entry) for entry in manifest.instances if entry.sop_instance_uid in wanted]
    layout = layout_of(manifest.site_id, manifest.study_uid, members)
    with PackStream(layout, files.open) as stream:
        yield cast("BinaryIO", _AbortableStream(stream, abort))


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
