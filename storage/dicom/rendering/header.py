"""What a header says of how its image is shown, of all frames or of one (PS3.3 sections C.7.6.3, C.7.6.16, C.11)."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from storage.dicom.elements import DatasetTruncated, NotDicom, open_dataset, read_file_meta
from storage.dicom.transcoding.description import HEADER_BYTES_MAX, PixelDescription, read_dataset_layout
from storage.dicom.transcoding.pixels import frame_bits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXELS_MAX: Final = 40_000_000  # of one frame; the largest mammograms and radiographs have 30 million
FRAME_BYTES_MAX: Final = 3 * PIXELS_MAX
PIXEL_PADDING: Final = (0x00280120, 0x00280121)  # one value, or a range with the limit
PER_FRAME_GROUPS, SHARED_GROUPS = 0x52009230, 0x52009229
PIXEL_VALUE_TRANSFORMATION, FRAME_VOI_LUT, PIXEL_MEASURES = 0x00289145, 0x00289132, 0x00289110
SPACINGS: Final = (0x00280030, 0x00181164, 0x00182010)  # of pixels, at the imager, of the scanner of films
PIXEL_ASPECT_RATIO: Final = 0x00280034
ASPECT_MAX: Final = 8.0  # of what an image may be stretched
SAME_ASPECT: Final = 0.01
_OVERLAY_ROWS: Final = tuple(0x60000010 + (number << 17) for number in range(16))
_PALETTE: Final = (
    tuple(range(0x00281101, 0x00281104)) + tuple(range(0x00281201, 0x00281204)) + (0x00281221, 0x00281222, 0x00281223)
)
_WANTED: Final = (
    *(0x00280100, 0x00280103, *PIXEL_PADDING, PIXEL_ASPECT_RATIO, *SPACINGS, *_PALETTE, *_OVERLAY_ROWS),
    *(0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056, 0x00283000, 0x00283010),
    *(PER_FRAME_GROUPS, SHARED_GROUPS),
)


class CannotRender(Exception):
    """The image is not shown; the message says why, in words without a value of the header that could name a person."""


class OutsideImage(CannotRender):
    """The region that is asked for is not inside of the image."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Transfer syntax and pixels of an image, and how they are shown; `pixel_tag` is where its samples are."""

    transfer_syntax_uid: str
    pixels: PixelDescription
    pixel_tag: int
    is_encapsulated: bool
    dataset: Dataset

    @property
    def has_overlays(self) -> bool:
        """Return whether there are planes of graphics that are not shown."""
        return any(tag in self.dataset for tag in _OVERLAY_ROWS)

    def group(self, sequence: int, frame: int) -> Dataset:
        """Return the attributes of a functional group that hold for a frame; the header itself without such a group."""
        for groups, item in ((PER_FRAME_GROUPS, frame - 1), (SHARED_GROUPS, 0)):
            with suppress(KeyError, IndexError, TypeError, AttributeError):
                found: Dataset = self.dataset[groups].value[item][sequence].value[0]
                return found
        return self.dataset

    def aspect(self, frame: int) -> tuple[float, float]:
        """Return height and width of a pixel on the screen, the less of both 1 (PS3.3 section C.7.6.3.1.7)."""
        ratio = decimals(self.dataset, PIXEL_ASPECT_RATIO)
        for tag in SPACINGS:
            ratio = ratio or decimals(self.group(PIXEL_MEASURES, frame), tag) or decimals(self.dataset, tag)
        if len(ratio) != 2 or min(ratio) <= 0:
            return 1.0, 1.0
        least = min(ratio)
        height, width = ratio[0] / least, ratio[1] / least
        return (height, width) if SAME_ASPECT < max(height, width) - 1 < ASPECT_MAX else (1.0, 1.0)


def read_image_header(file: BinaryIO) -> ImageHeader:
    """Return the header of a Part 10 file with an image of moderate size.

    Raises:
        CannotRender: it is no image, too large, or cannot be read.
    """
    from pydicom.filereader import read_dataset

    try:
        meta = read_file_meta(file)
        dataset, start, end = open_dataset(file, meta)
        try:
            layout = read_dataset_layout(dataset, meta, start, end)
            if layout.pixels is None:
                raise CannotRender("it has no pixel data")
            _refuse_size(layout.description)
            before, behind = layout.header
            if behind - before > HEADER_BYTES_MAX:
                raise CannotRender(f"its header has more than {HEADER_BYTES_MAX} bytes")
            dataset.seek(before)
            header = read_dataset(
                dataset,
                layout.encoding.implicit,
                not layout.encoding.big_endian,
                bytelength=behind - before,
                specific_tags=list(_WANTED),
            )
        finally:
            if dataset is not file:
                dataset.close()
    except (NotDicom, DatasetTruncated) as exc:
        raise CannotRender("its header cannot be read") from exc
    return ImageHeader(
        layout.transfer_syntax_uid, layout.description, layout.pixels.tag, layout.pixels.length is None, header
    )


def decimals(dataset: Dataset, tag: int) -> list[float]:
    """Return the numbers of a decimal or integer string; an empty list where one of them is none."""
    value = raw_value(dataset, tag)
    try:
        numbers = [float(text) for text in value.decode("ascii").split("\\")]
    except (UnicodeDecodeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def words(dataset: Dataset, tag: int, *, signed: bool) -> list[int]:
    """Return the 16-bit numbers of an element; an element that says its own sign is taken at its word."""
    element = dataset.get_item(tag)
    value = raw_value(dataset, tag)
    if len(value) % 2 or element is None:
        return []
    vr = {"SS": "h", "US": "H"}.get(str(element.VR), "h" if signed else "H")
    order = "<" if getattr(element, "is_little_endian", True) else ">"
    return list(struct.unpack(f"{order}{len(value) // 2}{vr}", value))


def text(dataset: Dataset, tag: int) -> str:
    """Return a code string."""
    return raw_value(dataset, tag).decode("ascii", "replace").strip(" \0")


def raw_value(dataset: Dataset, tag: int) -> bytes:
    """Return an element's value as it was written; nothing without one. Never interprets, so that it never warns."""
    element: Any = dataset.get_item(tag)
    value = None if element is None else element.value
    return value if isinstance(value, bytes) else b""


def _refuse_size(pixels: PixelDescription) -> None:
    if not (pixels.rows and pixels.columns):
        raise CannotRender("it does not say how large it is")
    if pixels.rows * pixels.columns > PIXELS_MAX or frame_bits(pixels) > FRAME_BYTES_MAX * 8:
        raise CannotRender(
            f"its frames have {pixels.columns} × {pixels.rows} pixels, more than are shown here ({PIXELS_MAX})"
        )
    if pixels.samples not in (1, 3):
        raise CannotRender(f"it has {pixels.samples} samples for each pixel, neither 1 nor 3")
