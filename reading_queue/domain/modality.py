"""As which modality and about which body regions a case is read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

# The first of these present names the reading: a PET/CT is read as PT, a CT with a scout in CR as CT.
READ_AS_FIRST: Final = ("PT", "NM", "MR", "CT", "XA", "MG", "RF", "US", "DX", "CR", "RG")
# Objects that accompany images and are never what is read (PS3.3 C.7.3.1.1.1).
NOT_IMAGES: Final = frozenset({"AU", "DOC", "KO", "PLAN", "PR", "REG", "SEG", "SR"})
UNKNOWN: Final = "OT"
BETWEEN_REGIONS: Final = "/"  # never part of a region: Body Part Examined is a code string (PS3.5 section 6.2)


def most_telling(modalities: Iterable[str]) -> str:
    """Return the modality code as which a study with these series is read; OT when none tells."""
    present = {modality.strip().upper() for modality in modalities} - {""}
    for modality in READ_AS_FIRST:
        if modality in present:
            return modality
    return min(present - NOT_IMAGES, default=UNKNOWN)


def join_regions(body_parts: Iterable[str]) -> str:
    """Return the body regions of a case in one text, each once; empty when no study says any."""
    return BETWEEN_REGIONS.join(sorted({part for part in body_parts if part}))


def regions_of(text: str) -> frozenset[str]:
    """Return the regions of such a text, in capitals; the empty one is unknown, which no list of regions holds."""
    return frozenset(text.upper().split(BETWEEN_REGIONS))


def covers_regions(listed: Collection[str], text: str) -> bool:
    """Return whether a list of regions, where none means all, holds every region of such a text, however written."""
    return not listed or regions_of(text) <= {region.upper() for region in listed}
