"""How a reader wants pictures to be: the query of rendered resources, thumbnails and WADO-URI as wishes. Pure.

PS3.18 sections 8.3.5 and 9.5.1.2. What cannot be understood is refused; what is understood and not done (annotations,
colour profiles) is told in a note, which becomes a Warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from storage.dicom.rendering import Region, Viewport, Window, Wishes
from storage.dicom.rendering.grey import LINEAR, LINEAR_EXACT, SIGMOID
from storage.dicomweb.errors import BadQuery

VIEWPORT_SIDE_MAX: Final = 4096  # pixels
THUMBNAIL: Final = Viewport(128, 128, may_grow=False)  # where no other size is asked for
_FUNCTIONS: Final = {"linear": LINEAR, "linear-exact": LINEAR_EXACT, "sigmoid": SIGMOID}
_ANNOTATIONS: Final = frozenset({"patient", "technique"})
_PROFILES: Final = frozenset({"no", "yes", "srgb", "adobergb", "rommrgb", "displayp3"})
NO_ANNOTATION: Final = "The following annotation values are not supported: "  # in the words of section 8.3.5.1.1
NO_PROFILE: Final = "Colour profiles are not applied: colours are those of the samples"


@dataclass(frozen=True, slots=True)
class Asked:
    """The wishes, and what of the query was passed over."""

    wishes: Wishes
    notes: tuple[str, ...] = ()


def parse_rendering(query: Mapping[str, str]) -> Asked:
    """Return what the query of a rendered resource asks for. Raises BadQuery."""
    wishes, notes = Wishes(), []
    if "viewport" in query:
        wishes = replace(wishes, viewport=_parse_viewport(query["viewport"]))
    if "window" in query:
        wishes = replace(wishes, window=_parse_window(query["window"]))
    if "quality" in query:
        wishes = replace(wishes, quality=_whole(query["quality"], "quality", 1, 100))
    if "annotation" in query:
        notes.append(_parse_annotation(query["annotation"]))
    profile = query.get("iccprofile", "no").lower()
    if profile not in _PROFILES:
        raise BadQuery(f"iccprofile is one of {', '.join(sorted(_PROFILES))}")
    if profile != "no":
        notes.append(NO_PROFILE)
    return Asked(wishes, tuple(notes))


def parse_thumbnail(query: Mapping[str, str]) -> Asked:
    """Return what the query of a thumbnail asks for: its size at most. Raises BadQuery."""
    viewport = _parse_viewport(query["viewport"]) if "viewport" in query else THUMBNAIL
    return Asked(Wishes(replace(viewport, may_grow=False)))


def parse_uri_rendering(query: Mapping[str, str]) -> Asked:
    """Return what the query of a WADO-URI request for a picture asks for. Raises BadQuery."""
    columns = _whole(query["columns"], "columns", 1, VIEWPORT_SIDE_MAX) if "columns" in query else None
    rows = _whole(query["rows"], "rows", 1, VIEWPORT_SIDE_MAX) if "rows" in query else None
    region = _parse_shares(query["region"]) if "region" in query else None
    wishes, notes = Wishes(Viewport(columns, rows, region)), []
    if ("windowCenter" in query) != ("windowWidth" in query):
        raise BadQuery("windowCenter and windowWidth are only given together")
    if "windowCenter" in query:
        wishes = replace(wishes, window=_parse_window(f"{query['windowCenter']},{query['windowWidth']}"))
    if "imageQuality" in query:
        wishes = replace(wishes, quality=_whole(query["imageQuality"], "imageQuality", 1, 100))
    for name in ("annotation", "imageAnnotation"):
        if name in query:
            notes.append(_parse_annotation(query[name]))
    return Asked(wishes, tuple(notes))


def _parse_viewport(text: str) -> Viewport:
    """Return `width,height` or `width,height,left,top,width,height`, of whose last four any may be empty."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 6):
        raise BadQuery("viewport is width,height or width,height,left,top,width,height")
    width, height = (_whole(part, "viewport", 1, VIEWPORT_SIDE_MAX) for part in parts[:2])
    if not any(parts[2:]):
        return Viewport(width, height)
    left, top = (_decimal(part or "0", "viewport") for part in parts[2:4])
    wide, high = (_decimal(part, "viewport") if part else None for part in parts[4:])
    if left < 0 or top < 0 or wide == 0 or high == 0:
        raise BadQuery("the region of viewport begins inside of the image and is not empty")
    region = Region(
        left,
        top,
        None if wide is None else abs(wide),
        None if high is None else abs(high),
        flip_columns=wide is not None and wide < 0,
        flip_rows=high is not None and high < 0,
    )
    return Viewport(width, height, region)


def _parse_shares(text: str) -> Region:
    """Return `xmin,ymin,xmax,ymax`, each 0 to 1 (section 9.5.1.2.5)."""
    parts = [_decimal(part, "region") for part in text.split(",")]
    if len(parts) != 4 or not (0 <= parts[0] < parts[2] <= 1 and 0 <= parts[1] < parts[3] <= 1):
        raise BadQuery("region is xmin,ymin,xmax,ymax, each from 0 to 1, the greater ones last")
    left, top, right, bottom = parts
    return Region(left, top, right - left, bottom - top, in_shares=True)


def _parse_window(text: str) -> Window:
    """Return `center,width` with or without the function."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3):
        raise BadQuery("window is center,width,function")
    function = _FUNCTIONS.get(parts[2].lower() if len(parts) == 3 else "linear")
    if function is None:
        raise BadQuery(f"the function of a window is one of {', '.join(_FUNCTIONS)}")
    center, width = _decimal(parts[0], "window"), _decimal(parts[1], "window")
    if width < 1 if function == LINEAR else width <= 0:
        raise BadQuery("the width of a window is at least 1, or more than 0 where it is not linear")
    return Window(center, width, function)


def _parse_annotation(text: str) -> str:
    """Return the note that nothing is written into pictures."""
    keywords = [part.strip().lower() for part in text.split(",")]
    if not _ANNOTATIONS.issuperset(keywords):
        raise BadQuery(f"annotation is {' or '.join(sorted(_ANNOTATIONS))}, or both")
    return NO_ANNOTATION + ", ".join(keywords)


def _whole(text: str, name: str, least: int, greatest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= greatest):
        raise BadQuery(f"{name} has whole numbers from {least} to {greatest}")
    return int(text)


def _decimal(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError as exc:
        raise BadQuery(f"{name} has decimal numbers") from exc
    if not math.isfinite(number) or abs(number) > 1e9:
        raise BadQuery(f"{name} has decimal numbers of moderate size")
    return number
