"""A picture, or a part of it, in the size of a reader's screen (PS3.18 section 8.3.5.1.3). Pure.

Pixels that are not square are made so. Great steps down are means of whole blocks, what is left is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.dicom.rendering.header import PIXELS_MAX, CannotRender, OutsideImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the source image: in pixels, or in shares of its width and height; mirrored where it is said."""

    left: float
    top: float
    width: float | None = None  # up to the edge
    height: float | None = None
    in_shares: bool = False
    flip_columns: bool = False
    flip_rows: bool = False


@dataclass(frozen=True, slots=True)
class Viewport:
    """What a picture is fitted into, its shape kept: at most so wide and so high; None where nothing is said."""

    width: int | None = None
    height: int | None = None
    region: Region | None = None
    may_grow: bool = True


def fit(picture: Picture, viewport: Viewport, aspect: tuple[float, float]) -> Picture:
    """Return the picture in the viewport; `aspect` are height and width of one of its pixels on the screen.

    Raises:
        OutsideImage: the region is not inside of it.
        CannotRender: it cannot be made square.
    """
    if viewport.region is not None:
        picture = _cut(picture, viewport.region)
    rows, columns = picture.shape[:2]
    height, width = rows * aspect[0], columns * aspect[1]
    scales = []
    if viewport.width is not None:
        scales.append(viewport.width / width)
    if viewport.height is not None:
        scales.append(viewport.height / height)
    scale = min(scales, default=1.0)
    scale = scale if viewport.may_grow else min(scale, 1.0)
    target = max(round(height * scale), 1), max(round(width * scale), 1)
    if target[0] * target[1] > PIXELS_MAX:
        raise CannotRender("its pixels are not square, and it is too large to make them so: ask for a viewport")
    return _resized(picture, *target)


def _cut(picture: Picture, region: Region) -> Picture:
    rows, columns = picture.shape[:2]
    wide, high = (columns, rows) if region.in_shares else (1, 1)
    left, top = round(region.left * wide), round(region.top * high)
    width = columns - left if region.width is None else round(region.width * wide)
    height = rows - top if region.height is None else round(region.height * high)
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > columns or top + height > rows:
        raise OutsideImage(f"the region is not inside of its {columns} × {rows} pixels")
    part = picture[top : top + height, left : left + width]
    part = part[:, ::-1] if region.flip_columns else part
    return part[::-1] if region.flip_rows else part


def _resized(picture: Any, rows: int, columns: int) -> Picture:
    import numpy as np

    for axis, length in ((0, rows), (1, columns)):
        if picture.shape[axis] != length:
            picture = _along(picture, axis, length)
    if picture.dtype != np.uint8:
        picture = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    resized: Picture = np.ascontiguousarray(picture)
    return resized


def _along(picture: Any, axis: int, length: int) -> Any:
    """Return the picture in this length along one axis."""
    import numpy as np

    present = picture.shape[axis]
    block = max(present // length, 1)
    shape = [1] * picture.ndim
    shape[axis] = -1
    if block > 1:
        starts = np.arange(0, present, block)
        sizes = np.diff(np.append(starts, present)).astype(np.float32)
        sums = np.add.reduceat(picture, starts, axis=axis, dtype=np.float32)
        picture = sums / sizes.reshape(shape)
    places = np.clip((np.arange(length) + 0.5) * (present / length / block) - 0.5, 0, picture.shape[axis] - 1)
    before = places.astype(np.intp)
    behind = np.minimum(before + 1, picture.shape[axis] - 1)
    share = (places - before).astype(np.float32).reshape(shape)
    return np.take(picture, before, axis) * (1 - share) + np.take(picture, behind, axis) * share
