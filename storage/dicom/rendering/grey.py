"""Grey samples as 8 bits of a screen: modality LUT, then VOI LUT or window, then MONOCHROME1 (PS3.4 section N.2). Pure.

Of the ways that a header offers the table comes first, then its first window; without either, 8-bit samples are shown
over all of their range, others from the least to the greatest value of the frame, padding left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from storage.dicom.rendering.header import (
    FRAME_VOI_LUT,
    PIXEL_PADDING,
    PIXEL_VALUE_TRANSFORMATION,
    ImageHeader,
    decimals,
    text,
    words,
)
from storage.dicom.rendering.lookup import Lookup, find_lookup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from storage.dicom.transcoding.description import PixelDescription

    Values = NDArray[np.float64]
    Picture = NDArray[np.uint8]

LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
FUNCTIONS: Final = (LINEAR, LINEAR_EXACT, SIGMOID)
BAND_PIXELS: Final = 1 << 20  # that are worked on together
WHITE: Final = 255.0
_RESCALE_INTERCEPT, _RESCALE_SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_WINDOW_CENTER, _WINDOW_WIDTH, _FUNCTION, _VOI_LUT = 0x00281050, 0x00281051, 0x00281056, 0x00283010


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the values behind the modality LUT (PS3.3 section C.11.2.1.2); widths are 1 or more, or above 0."""

    center: float
    width: float
    function: str = LINEAR

    def apply(self, values: Values) -> Values:
        """Return the values as 0 to 255."""
        import numpy as np

        if self.function == SIGMOID:
            exponents = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            curve: Values = WHITE / (1 + np.exp(exponents))
            return curve
        center, width = self.center, self.width
        if self.function == LINEAR:
            center, width = center - 0.5, width - 1
        if width <= 0:  # a threshold
            return np.where(values <= center, 0.0, WHITE)
        line: Values = np.clip((values - center) / width + 0.5, 0, 1) * WHITE
        return line


def show_grey(samples: Any, header: ImageHeader, frame: int, window: Window | None) -> Picture:
    """Return the samples of a frame as a picture; `window` takes the place of the header's own."""
    import numpy as np

    modality = _find_modality(header, frame)
    if samples.dtype.kind != "u" or samples.dtype.itemsize > 2:
        parts = (stored_values(samples[band], header.pixels) for band in bands(samples))
        voi = _find_voi(header, frame, window, parts, modality)
        return painted(samples, lambda part: _bytes(voi(modality(stored_values(part, header.pixels)))))
    every = np.arange(1 << (8 * samples.dtype.itemsize), dtype=samples.dtype)  # by table: each word is worked on once
    present = np.zeros(len(every), dtype=bool)
    for band in bands(samples):
        present[samples[band]] = True
    stored = stored_values(every, header.pixels)
    table = _bytes(_find_voi(header, frame, window, [stored[present]], modality)(modality(stored)))
    return painted(samples, lambda part: table[part])


def stored_values(samples: Any, pixels: PixelDescription) -> Values:
    """Return what words of Bits Allocated say: the bits of the sample alone, with their sign."""
    import numpy as np

    if samples.dtype.kind == "f":
        floats: Values = samples.astype(np.float64)
        return floats
    bits = pixels.bits_stored if 0 < pixels.bits_stored <= pixels.bits_allocated else pixels.bits_allocated
    lowest = pixels.high_bit + 1 - bits if bits <= pixels.high_bit + 1 <= pixels.bits_allocated else 0
    values = (samples.astype(np.int64) >> lowest) & ((1 << bits) - 1)
    if pixels.is_signed:
        values -= (values >> (bits - 1)) << bits
    whole: Values = values.astype(np.float64)
    return whole


def bands(samples: Any) -> Iterator[slice]:
    """Yield stripes of rows, each of moderate size, so that what is computed with them stays small."""
    rows, columns = samples.shape[:2]
    height = max(BAND_PIXELS // columns, 1)
    return (slice(start, start + height) for start in range(0, rows, height))


def painted(samples: Any, shade: Callable[[Any], Picture], colours: tuple[int, ...] = ()) -> Picture:
    """Return a picture of the samples, each band as `shade` gives it."""
    import numpy as np

    picture = np.empty((*samples.shape[:2], *colours), np.uint8)
    for band in bands(samples):
        picture[band] = shade(samples[band])
    return picture


def _find_modality(header: ImageHeader, frame: int) -> Callable[[Values], Values]:
    lookup = find_lookup(header.dataset, _MODALITY_LUT, signed=header.pixels.is_signed)
    if lookup is not None:
        return lookup.apply
    group = header.group(PIXEL_VALUE_TRANSFORMATION, frame)
    slope, intercept = decimals(group, _RESCALE_SLOPE), decimals(group, _RESCALE_INTERCEPT)
    scale, start = (slope[0] if slope else 1.0) or 1.0, intercept[0] if intercept else 0.0
    return lambda values: values * scale + start


def _find_voi(
    header: ImageHeader,
    frame: int,
    window: Window | None,
    parts: Iterable[Values],
    modality: Callable[[Values], Values],
) -> Callable[[Values], Values]:
    """Return what makes 0 to 255 of values behind the modality LUT; `parts` are the stored ones that the frame has."""
    group = header.group(FRAME_VOI_LUT, frame)
    lookup = find_lookup(group, _VOI_LUT, signed=header.pixels.is_signed or bool(decimals(group, _RESCALE_INTERCEPT)))
    window = window or (None if lookup is not None else _find_window(group))
    shades: Callable[[Values], Values]
    if window is not None:
        shades = window.apply
    elif lookup is not None:
        shades = partial(_by_lookup, lookup)
    else:
        shades = _whole_range(header, parts, modality).apply
    if header.pixels.photometric_interpretation == "MONOCHROME1":
        return lambda values: WHITE - shades(values)
    return shades


def _find_window(group: Dataset) -> Window | None:
    centers, widths = decimals(group, _WINDOW_CENTER), decimals(group, _WINDOW_WIDTH)
    function = text(group, _FUNCTION)
    if not centers or not widths or widths[0] <= 0:
        return None
    return Window(centers[0], widths[0], function if function in FUNCTIONS else LINEAR)


def _whole_range(header: ImageHeader, parts: Iterable[Values], modality: Callable[[Values], Values]) -> Window:
    """Return the window in which all that the frame has is seen."""
    import numpy as np

    pixels = header.pixels
    if pixels.bits_stored <= 8 and not pixels.is_signed:
        limits = modality(np.array([0.0, (1 << pixels.bits_stored) - 1.0]))
        return _between(float(limits.min()), float(limits.max()))
    padding = [words(header.dataset, tag, signed=pixels.is_signed) for tag in PIXEL_PADDING]
    padded = [number[0] for number in padding if len(number) == 1]
    least, greatest = np.inf, -np.inf
    for part in parts:
        kept = part[np.isfinite(part)]
        if padded:
            kept = kept[(kept < min(padded)) | (kept > max(padded))]
        if kept.size:
            limits = modality(np.array([kept.min(), kept.max()]))
            least, greatest = min(least, float(limits.min())), max(greatest, float(limits.max()))
    return _between(least, greatest) if np.isfinite(least) else _between(0.0, 1.0)


def _between(least: float, greatest: float) -> Window:
    return Window((least + greatest) / 2, (greatest - least) or 1.0, LINEAR_EXACT)


def _by_lookup(lookup: Lookup, values: Values) -> Values:
    return lookup.apply(values) * (WHITE / lookup.highest)


def _bytes(shades: Values) -> Picture:
    import numpy as np

    return np.clip(np.nan_to_num(shades) + 0.5, 0, WHITE).astype(np.uint8)
