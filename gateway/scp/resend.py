"""Whether an instance that arrives with other bytes is one that is held, sent in another way. Reads only.

A PACS that sends again what the scanner sent before may use another transfer syntax; element values and pixels that
agree are the same instance (storage.dicom.digests).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

from gateway.errors import InstanceNotInSpool
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow, find_instance
from gateway.spool.inspection import UNREADABLE
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.dicom.digests import InstanceDigests, digest_instance, same_image
from storage.dicom.structure import check_structure
from storage.dicom.transcoding import NotRestorable

ATTEMPTS: Final = 2  # the held file may move between the look at its row and at its place


def shows_what_is_held(spool: Spool, journal: Journal, arrived: Path, sop_instance_uid: Uid) -> bool:
    """Return whether the arrived file has the element values and pixels of the instance that is held under its UID."""
    try:
        with arrived.open("rb") as file:
            found = digest_instance(file, check_structure(file))
        for _ in range(ATTEMPTS):
            held = find_instance(journal, sop_instance_uid)
            if held is None:
                return False
            try:
                values_sha256, pixel_sha256 = _digests_of(spool, held)
            except InstanceNotInSpool:
                continue
            return same_image(found.values_sha256, found.pixel_sha256, values_sha256, pixel_sha256)
    except (*UNREADABLE, NotRestorable):
        return False
    return False


def _digests_of(spool: Spool, held: InstanceRow) -> tuple[str | None, str | None]:
    if held.values_sha256 is not None and held.pixel_sha256 is not None:
        return held.values_sha256, held.pixel_sha256
    found = _digest_held(spool, held)
    return found.values_sha256, found.pixel_sha256


def _digest_held(spool: Spool, held: InstanceRow) -> InstanceDigests:
    file: BinaryIO
    with spool.open_instance(held.sop_instance_uid, held.study_uid, held.revision, held.state) as file:
        was_compressed = held.received_transfer_syntax_uid is not None
        return digest_instance(file, check_structure(file), compressed_here=was_compressed)
