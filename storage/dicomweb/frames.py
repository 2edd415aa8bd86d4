"""Frames of stored instances: where they lie, in the syntax in which they are stored.

Samples are never decoded nor converted here. Native frames whose stored form no browser reads (big endian, deflated)
are given as the same samples in little endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final

from storage.catalogue.tables import Instance
from storage.dicom.elements import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.errors import BadQuery, FrameNotFound
from storage.dicomweb.negotiation import OCTET_STREAM, Offer
from storage.dicomweb.stored_body import StoredBody
from storage.objects.protocol import ObjectStore
from storage.objects.ranged import open_range

FRAMES_PER_REQUEST_MAX: Final = 1000
DEFLATED_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
REWRITTEN_HERE: Final = frozenset({EXPLICIT_BIG_ENDIAN, DEFLATED_LITTLE_ENDIAN})
MEDIA_TYPES: Final = {  # PS3.18 table 8.7.3-5
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
}


def parse_frame_numbers(text: str) -> list[int]:
    """Return the frame numbers of a list like `1,2,5` (PS3.18 section 10.4.1.1.6). Raises BadQuery."""
    parts = text.split(",")
    if len(parts) > FRAMES_PER_REQUEST_MAX:
        raise BadQuery(f"at most {FRAMES_PER_REQUEST_MAX} frames in one request")
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < 10 for part in parts):
        raise BadQuery("frames are whole numbers from 1, separated by commas")
    return [int(part) for part in parts]


def stored_offer(instance: Instance) -> Offer:
    """Return the form in which the instance's frames are stored, or the one that is given in its place."""
    syntax = instance.transfer_syntax_uid
    if syntax in REWRITTEN_HERE or syntax == IMPLICIT_LITTLE_ENDIAN:
        syntax = EXPLICIT_LITTLE_ENDIAN
    return Offer(MEDIA_TYPES.get(syntax, OCTET_STREAM), syntax)


def read_frames(objects: ObjectStore, stored: StoredInstance, numbers: Sequence[int]) -> list[bytes | StoredBody]:
    """Return the frames in the order asked; stored ones are read while they are sent. Raises FrameNotFound."""
    instance = stored.instance
    refuse_missing(instance, numbers)
    if instance.transfer_syntax_uid in REWRITTEN_HERE or not instance.frame_spans:
        return [*_rewritten_frames(objects, stored, numbers)]
    return [frame_body(stored, number) for number in numbers]


def refuse_missing(instance: Instance, numbers: Sequence[int]) -> None:
    """Raise FrameNotFound unless the instance has all these frames."""
    if any(not 1 <= number <= max(instance.frame_count, 1) for number in numbers):
        raise FrameNotFound(f"the instance has {instance.frame_count} frames")


def open_instance(objects: ObjectStore, stored: StoredInstance) -> BinaryIO:
    """Return the instance's Part 10 file as a file that is read where it lies; close it after use."""
    instance = stored.instance
    return open_range(objects, stored.object_key, instance.offset_bytes, instance.size_bytes)


def frame_body(stored: StoredInstance, number: int) -> StoredBody:
    """Return where a frame lies."""
    start, spans = stored.instance.offset_bytes, stored.instance.frame_spans[number - 1]["spans"]
    return StoredBody(stored.object_key, [(start + offset, length) for offset, length in spans])


def _rewritten_frames(objects: ObjectStore, stored: StoredInstance, numbers: Sequence[int]) -> list[bytes]:
    import pydicom
    from pydicom.pixels.utils import get_expected_length

    with open_instance(objects, stored) as file:
        dataset = pydicom.dcmread(file)
    if "PixelData" not in dataset:
        raise FrameNotFound("the instance has no pixel data")
    pixels: bytes = dataset.PixelData
    if stored.instance.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN:
        pixels = little_endian_words(pixels, dataset["PixelData"].VR, dataset.BitsAllocated)
    size = get_expected_length(dataset) // max(stored.instance.frame_count, 1)
    return [pixels[(number - 1) * size : number * size] for number in numbers]


def little_endian_words(pixels: bytes, vr: str, bits_allocated: int) -> bytes:
    """Return big-endian native pixel data as it stands in a little-endian file (PS3.5 section 8.1.1 and annex A.3).

    Words are swapped as wide as their VR says: OB not at all, OW in pairs of bytes even where samples are 8 bits.
    """
    import numpy as np

    width = max(bits_allocated // 8, 2) if vr == "OW" else bits_allocated // 8
    if vr == "OB" or width < 2:
        return pixels
    words = np.frombuffer(pixels[: len(pixels) // width * width], dtype=f">u{width}")
    return words.astype(f"<u{width}").tobytes()
