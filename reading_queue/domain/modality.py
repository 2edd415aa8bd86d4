"""Which modality a study is read as. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# The first of these present names the reading: a PET/CT is read as PT, a CT with a scout in CR as CT.
READ_AS_FIRST: Final = ("PT", "NM", "MR", "CT", "XA", "MG", "RF", "US", "DX", "CR", "RG")
# Objects that accompany images and are never what is read (PS3.3 C.7.3.1.1.1).
NOT_IMAGES: Final = frozenset({"AU", "DOC", "KO", "PLAN", "PR", "REG", "SEG", "SR"})
UNKNOWN: Final = "OT"


def most_telling(modalities: Iterable[str]) -> str:
    """Return the modality code as which a study with these series is read; OT when none tells."""
    present = {modality.strip().upper() for modality in modalities} - {""}
    for modality in READ_AS_FIRST:
        if modality in present:
            return modality
    return min(present - NOT_IMAGES, default=UNKNOWN)
