"""Long binary values (overlays, palettes, waveforms): left out of the headers, given one by one (PS3.18 section 10.4).

The prepared headers say `bulkdata/<path>`, where the path is the element's tag, or for an element inside sequences
`<tag>/<item>/…/<tag>`; what is answered says the whole address. Pixel data has its own way, by frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from storage.dicom.elements import EXPLICIT_BIG_ENDIAN
from storage.dicomweb.errors import BulkDataNotFound
from storage.dicomweb.frames import little_endian_words

PREFIX: Final = "bulkdata/"
PIXEL_DATA_PATHS: Final = frozenset({"7FE00008", "7FE00009", "7FE00010"})
_PATH: Final = re.compile(r"[0-9A-F]{8}(/[0-9]{1,6}/[0-9A-F]{8}){0,32}")


def stored_address(path: str) -> str | None:
    """Return what the prepared headers say of the long binary value at `path`; None for pixel data."""
    return None if path in PIXEL_DATA_PATHS else PREFIX + path


def complete_addresses(dataset: dict[str, Any], address_of: Callable[[str], str]) -> None:
    """Replace each `bulkdata/<path>` in a dataset of the DICOM JSON model by `address_of(path)`."""
    for element in dataset.values():
        address = element.get("BulkDataURI", "")
        if address.startswith(PREFIX):
            element["BulkDataURI"] = address_of(address.removeprefix(PREFIX))
        elif element["vr"] == "SQ":
            for item in element.get("Value", ()):
                complete_addresses(item, address_of)


def read_value(file: BinaryIO, path: str) -> bytes:
    """Return the binary value at `path` of a Part 10 file, in little endian. Raises BulkDataNotFound."""
    import pydicom

    if _PATH.fullmatch(path) is None or path in PIXEL_DATA_PATHS:
        raise BulkDataNotFound
    *way, last = path.split("/")
    dataset: pydicom.Dataset = pydicom.dcmread(file, stop_before_pixels=True)
    big_endian = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG_ENDIAN
    try:
        for tag, item in zip(way[::2], way[1::2], strict=True):
            dataset = dataset[int(tag, 16)].value[int(item)]
        element = dataset[int(last, 16)]
    except (KeyError, IndexError, TypeError) as exc:
        raise BulkDataNotFound from exc
    if not isinstance(element.value, bytes):
        raise BulkDataNotFound
    return little_endian_words(element.value, element.VR, 16) if big_endian else element.value
