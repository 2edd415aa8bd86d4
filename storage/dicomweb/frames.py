"""Frames of stored instances: one range read each, in the syntax in which they are stored.

Samples are never decoded nor converted here. Native frames whose stored form no browser reads (big endian, deflated)
are given as the same samples in little endian.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from storage.catalogue.tables import Instance
from storage.dicom.elements import EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.errors import BadQuery, FrameNotFound
from storage.objects.protocol import ObjectStore

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


def media_type_of(instance: Instance) -> str:
    """Return the media type of the instance's frames with its transfer syntax, as a part's Content-Type."""
    syntax = instance.transfer_syntax_uid
    if syntax in REWRITTEN_HERE or syntax == IMPLICIT_LITTLE_ENDIAN:
        syntax = EXPLICIT_LITTLE_ENDIAN
    return f"{MEDIA_TYPES.get(syntax, 'application/octet-stream')}; transfer-syntax={syntax}"


def read_frames(objects: ObjectStore, stored: StoredInstance, numbers: Sequence[int]) -> list[bytes]:
    """Return the bytes of the frames, in the order asked. Raises FrameNotFound."""
    instance = stored.instance
    if any(not 1 <= number <= max(instance.frame_count, 1) for number in numbers):
        raise FrameNotFound(f"the instance has {instance.frame_count} frames")
    if instance.transfer_syntax_uid in REWRITTEN_HERE or not instance.frame_spans:
        return _rewritten_frames(objects, stored, numbers)
    return [_read_spans(objects, stored, instance.frame_spans[number - 1]["spans"]) for number in numbers]


def read_instance(objects: ObjectStore, stored: StoredInstance) -> bytes:
    """Return the instance's Part 10 file."""
    instance = stored.instance
    return objects.read(stored.object_key, offset=instance.offset_bytes, length=instance.size_bytes)


def _read_spans(objects: ObjectStore, stored: StoredInstance, spans: Sequence[tuple[int, int]]) -> bytes:
    start = stored.instance.offset_bytes
    return b"".join(objects.read(stored.object_key, offset=start + offset, length=size) for offset, size in spans)


def _rewritten_frames(objects: ObjectStore, stored: StoredInstance, numbers: Sequence[int]) -> list[bytes]:
    import pydicom
    from pydicom.pixels.utils import get_expected_length

    dataset = pydicom.dcmread(io.BytesIO(read_instance(objects, stored)))
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
