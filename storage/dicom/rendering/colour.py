"""Colours as red, green and blue of 8 bits: palettes, RGB and YBR (PS3.3 section C.7.6.3.1.2). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.dicom.rendering.grey import painted, stored_values
from storage.dicom.rendering.header import CannotRender, ImageHeader
from storage.dicom.rendering.samples import JPEG_SYNTAXES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

RGB: Final = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})  # the decoder undoes the two transforms of JPEG 2000
YBR: Final = frozenset({"YBR_FULL", "YBR_FULL_422"})


def show_palette(samples: Any, header: ImageHeader) -> Picture:
    """Return the colours that palette numbers stand for.

    Raises:
        CannotRender: there is no palette that can be read.
    """
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    if samples.dtype.kind != "u" or samples.dtype.itemsize > 2:
        raise CannotRender("its palette has numbers of more than 16 bits")
    numbers = stored_values(np.arange(1 << (8 * samples.dtype.itemsize)), header.pixels).astype(np.int64)
    try:
        colours = apply_color_lut(numbers, header.dataset)
    except Exception as exc:  # pydicom raises whatever it likes on damaged palettes
        raise CannotRender("its palette cannot be read") from exc
    table = (colours >> 8 * (colours.dtype.itemsize - 1)).astype(np.uint8)[:, :3]
    return painted(samples, lambda part: table[part], (3,))


def show_colours(samples: Any, header: ImageHeader) -> Picture:
    """Return samples of three colours as red, green and blue.

    Raises:
        CannotRender: their photometric interpretation is none of those that are known here.
    """
    import numpy as np

    pixels = header.pixels
    interpretation = pixels.photometric_interpretation
    if interpretation not in RGB | YBR:
        raise CannotRender(f"its photometric interpretation {interpretation!r} is not shown here")
    if not 1 <= pixels.bits_stored <= pixels.bits_allocated:
        raise CannotRender("its samples have no bits")
    shift = max(pixels.bits_stored - 8, 0)

    def shade(part: Any) -> Picture:
        eight_bits: Picture = np.minimum(part >> shift, 255).astype(np.uint8)
        return eight_bits

    # The decoder of baseline JPEG has made RGB of its YBR already.
    if interpretation in YBR and header.transfer_syntax_uid not in JPEG_SYNTAXES:
        return painted(samples, lambda part: _red_green_blue(shade(part)), (3,))
    return painted(samples, shade, (3,))


def _red_green_blue(part: Picture) -> Picture:
    import numpy as np

    luma, blue, red = (part[..., channel].astype(np.float32) for channel in range(3))
    blue, red = blue - 128, red - 128
    colours = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.clip(colours + 0.5, 0, 255).astype(np.uint8)
