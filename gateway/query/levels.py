"""The information models of Query/Retrieve and their levels (PS3.4 section C.6). Pure: tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """A level as Query/Retrieve Level (0008,0052) names it."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


RANK: Final = {level: rank for rank, level in enumerate(Level)}
UNIQUE_KEYS: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


@dataclass(frozen=True, slots=True)
class InformationModel:
    """One model: its levels from the top, and its SOP classes."""

    name: str
    levels: tuple[Level, ...]
    find: str
    move: str
    get: str


PATIENT_ROOT: Final = InformationModel(
    "Patient Root",
    tuple(Level),
    find="1.2.840.10008.5.1.4.1.2.1.1",
    move="1.2.840.10008.5.1.4.1.2.1.2",
    get="1.2.840.10008.5.1.4.1.2.1.3",
)
STUDY_ROOT: Final = InformationModel(
    "Study Root",
    (Level.STUDY, Level.SERIES, Level.IMAGE),
    find="1.2.840.10008.5.1.4.1.2.2.1",
    move="1.2.840.10008.5.1.4.1.2.2.2",
    get="1.2.840.10008.5.1.4.1.2.2.3",
)
MODELS: Final = (PATIENT_ROOT, STUDY_ROOT)


def find_model(sop_class_uid: str) -> InformationModel:
    """Return the model of a find, move or get SOP class. Raises KeyError."""
    return _BY_CLASS[sop_class_uid]


_BY_CLASS: Final = {uid: model for model in MODELS for uid in (model.find, model.move, model.get)}
