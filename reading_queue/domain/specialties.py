"""Whose field a study is: which specialties are preferred for it, the most telling first. Pure.

A preference, never a condition: who lacks it may still be asked. The names are those of the network description.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

from reading_queue.domain.modality import regions_of

PAEDIATRIC: Final = "paediatric"
CHILD_UNTIL_YEARS: Final = 18  # clinical practice: who is younger is read by a paediatric reader
OF_MODALITY: Final[Mapping[str, str]] = {"MG": "breast", "US": "ultrasound", "NM": "nuclear", "PT": "nuclear"}
# Body Part Examined (0018,0015), PS3.16 Annex L, as far as it is one specialty's.
OF_REGION: Final[Mapping[str, str]] = {
    **dict.fromkeys(("HEAD", "BRAIN", "SKULL", "NECK", "SPINE", "CSPINE", "TSPINE", "LSPINE"), "neuro"),
    **dict.fromkeys(("CHEST", "LUNG", "THORAX", "RIB"), "chest"),
    **dict.fromkeys(("HEART", "CORONARYARTERY", "AORTA"), "cardiac"),
    **dict.fromkeys(("ABDOMEN", "LIVER", "PANCREAS", "KIDNEY", "BLADDER", "PELVIS", "ABDOMENPELVIS"), "abdomen"),
    **dict.fromkeys(("ARM", "HAND", "WRIST", "ELBOW", "SHOULDER", "LEG", "FOOT", "ANKLE"), "musculoskeletal"),
    **dict.fromkeys(("KNEE", "HIP", "EXTREMITY", "FEMUR", "TIBIA", "HUMERUS", "CLAVICLE"), "musculoskeletal"),
    "BREAST": "breast",
}


def specialties_for(modality: str, body_region: str, birth_date: date | None, today: date) -> tuple[str, ...]:
    """Return the specialties that a study is best read by, the most telling first; none when nothing tells."""
    wanted = [PAEDIATRIC] if birth_date is not None and is_child(birth_date, today) else []
    fields = OF_MODALITY.get(modality), *(OF_REGION.get(region) for region in sorted(regions_of(body_region)))
    return tuple(dict.fromkeys((*wanted, *(one for one in fields if one is not None))))


def is_child(birth_date: date, today: date) -> bool:
    """Return whether somebody is a child today."""
    years = today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))
    return years < CHILD_UNTIL_YEARS
