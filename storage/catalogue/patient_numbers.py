"""The number that the catalogue invents for a patient who came without one; people and other systems never see it.

Pure. It is a function of the study, so that one patient without a number is never taken for another without a number.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

NO_NUMBER_PREFIX: Final = "?"
NO_NUMBER_PATTERN: Final = r"^[?][0-9a-f]{16}$"  # the same in Python and in PostgreSQL


def invent_number(study_uid: str) -> str:
    """Return the number under which the catalogue files the patient of this study when the images give none."""
    return NO_NUMBER_PREFIX + hashlib.sha256(study_uid.encode()).hexdigest()[:16]


def shown_number(patient_number: str) -> str:
    """Return the number as the site knows it, empty when the catalogue has invented it."""
    return "" if re.fullmatch(NO_NUMBER_PATTERN, patient_number) else patient_number
