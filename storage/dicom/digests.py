"""The digests by which both sides of the line know an instance. Never writes; holds a few frames.

They come from the bytes, whatever was claimed: of a file that was compressed here also `received_sha256`, over the
dataset that it gives back.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex, Uid
from storage.dicom.elements import DatasetTruncated, NotDicom
from storage.dicom.structure import Structure
from storage.dicom.transcoding import digest_pixels, prove_restorable
from storage.dicom.values import digest_values

CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class InstanceDigests:
    """What a whole Part 10 file says of its identity.

    `received_sha256`: the dataset as it was received, without file meta. `stored_sha256`: the whole file.
    `pixel_sha256`: storage.dicom.transcoding.pixels. `values_sha256`: storage.dicom.values.
    `received_transfer_syntax_uid`: the syntax of the received dataset when the file holds it in another one.
    """

    received_sha256: Sha256Hex
    stored_sha256: Sha256Hex
    pixel_sha256: Sha256Hex | None
    values_sha256: Sha256Hex | None
    received_transfer_syntax_uid: Uid | None
    size_bytes: int


def same_image(
    values_sha256: str | None, pixel_sha256: str | None, other_values_sha256: str | None, other_pixel_sha256: str | None
) -> bool:
    """Return whether two instances agree in element values and pixels, whatever their transfer syntaxes.

    A digest that is missing on either side proves nothing.
    """
    mine, other = (values_sha256, pixel_sha256), (other_values_sha256, other_pixel_sha256)
    return None not in mine and mine == other


def digest_instance(
    file: BinaryIO,
    structure: Structure,
    *,
    compressed_here: bool = False,
    on_frame: Callable[[], None] = lambda: None,
    stored_sha256: Sha256Hex | None = None,
) -> InstanceDigests:
    """Return the digests of a Part 10 file whose structure `check_structure` found.

    `compressed_here` says that the file stands for a dataset that was received in another syntax: it must give it back.
    `on_frame` is called after each frame that is restored; what it raises ends the work. `stored_sha256` is that of the
    file, where the caller has taken it from these very bytes already.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole.
        NotRestorable: it does not give back what it stands for.
    """
    received = None
    if stored_sha256 is None:
        received, stored_sha256 = _digest_bytes(file, structure.dataset_offset)
    values_sha256 = _find_values(file)
    size_bytes = file.seek(0, io.SEEK_END)
    if not compressed_here:
        received = received or _digest_from(file, structure.dataset_offset)
        pixels = digest_pixels(file, structure)
        return InstanceDigests(received, stored_sha256, pixels, values_sha256, None, size_bytes)
    proof = prove_restorable(file, structure, on_frame)
    return InstanceDigests(
        received_sha256=proof.received_sha256,
        stored_sha256=stored_sha256,
        pixel_sha256=proof.pixel_sha256,
        values_sha256=values_sha256,
        received_transfer_syntax_uid=Uid(proof.received_transfer_syntax_uid),
        size_bytes=size_bytes,
    )


def _digest_from(file: BinaryIO, offset: int) -> Sha256Hex:
    digest = hashlib.sha256()
    file.seek(offset)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return Sha256Hex(digest.hexdigest())


def _digest_bytes(file: BinaryIO, dataset_offset: int) -> tuple[Sha256Hex, Sha256Hex]:
    received, stored = hashlib.sha256(), hashlib.sha256()
    position = file.seek(0)
    while chunk := memoryview(file.read(CHUNK_BYTES)):
        stored.update(chunk)
        received.update(chunk[max(dataset_offset - position, 0) :])
        position += len(chunk)
    return Sha256Hex(received.hexdigest()), Sha256Hex(stored.hexdigest())


def _find_values(file: BinaryIO) -> Sha256Hex | None:
    try:
        return digest_values(file)
    except (NotDicom, DatasetTruncated):  # the top level is sound: an item is not, or a text is too long
        return None
