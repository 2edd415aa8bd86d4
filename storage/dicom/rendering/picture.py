"""One frame as an image file for a browser. Pure; the same frame and wishes give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from storage.dicom.rendering.colour import show_colours, show_palette
from storage.dicom.rendering.grey import Window, show_grey
from storage.dicom.rendering.header import CannotRender, ImageHeader
from storage.dicom.rendering.samples import decode_samples
from storage.dicom.rendering.viewport import Viewport, fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
IMAGE_TYPES: Final = (JPEG, PNG)
QUALITY: Final = 90
_PNG_LEVEL: Final = 4
_MONOCHROME: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a reader wants an image to be shown; `quality` is that of JPEG, 1 to 100."""

    viewport: Viewport = field(default_factory=Viewport)
    window: Window | None = None
    quality: int = QUALITY


def render(frame: bytes, header: ImageHeader, number: int, wishes: Wishes, media_type: str) -> bytes:
    """Return the image file of frame `number`, whose stored bytes are `frame`.

    Raises:
        CannotRender: it is damaged, or of a kind that is not shown here.
    """
    import imagecodecs

    picture = fit(_shown(frame, header, number, wishes.window), wishes.viewport, header.aspect(number))
    if media_type == PNG:
        return bytes(imagecodecs.png_encode(picture, level=_PNG_LEVEL))
    return bytes(imagecodecs.jpeg8_encode(picture, level=wishes.quality))


def _shown(frame: bytes, header: ImageHeader, number: int, window: Window | None) -> NDArray[np.uint8]:
    samples = decode_samples(frame, header)
    interpretation = header.pixels.photometric_interpretation
    if header.pixels.samples == 3:
        return show_colours(samples, header)
    if interpretation == "PALETTE COLOR":
        return show_palette(samples, header)
    if interpretation not in _MONOCHROME:
        raise CannotRender(f"its photometric interpretation {interpretation!r} is not shown here")
    return show_grey(samples, header, number, window)
