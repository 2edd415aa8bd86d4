"""The three digests of an instance, in one pass over its file. Never writes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex
from storage.dicom.structure import Structure

CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class InstanceDigests:
    """`received_sha256`: the dataset without file meta. `stored_sha256`: the whole file.

    `pixel_sha256`: the native little-endian pixel bytes without padding; None where there are none of that kind.
    """

    received_sha256: Sha256Hex
    stored_sha256: Sha256Hex
    pixel_sha256: Sha256Hex | None
    size_bytes: int


def digest_instance(file: BinaryIO, structure: Structure) -> InstanceDigests:
    """Return the digests of a Part 10 file whose structure `check_structure` found."""
    received, stored, pixels = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    native = structure.native_pixels
    position = file.seek(0)
    while chunk := memoryview(file.read(CHUNK_BYTES)):
        stored.update(chunk)
        received.update(chunk[max(structure.dataset_offset - position, 0) :])
        if native is not None:
            first = max(native.offset - position, 0)
            last = max(native.offset + native.length - position, 0)
            pixels.update(chunk[first:last])
        position += len(chunk)
    return InstanceDigests(
        received_sha256=Sha256Hex(received.hexdigest()),
        stored_sha256=Sha256Hex(stored.hexdigest()),
        pixel_sha256=None if native is None else Sha256Hex(pixels.hexdigest()),
        size_bytes=position,
    )
