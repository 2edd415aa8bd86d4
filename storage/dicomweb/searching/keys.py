"""The keys by which studies, series and instances can be searched (PS3.18 tables 10.6.1-3 to 10.6.1-5). Pure.

The one list: queries are read by it, the conformance statement is compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Level(IntEnum):
    """What is searched for; a deeper search may use the keys of the levels above it."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2

    @property
    def words(self) -> str:
        """What is searched for, in a sentence."""
        return ("studies", "series", "instances")[self]


class Matching(StrEnum):
    """How a value is matched (PS3.4 section C.2.2.2)."""

    UID = "list of UIDs"
    TEXT = "single value or wildcards"
    NAME = "single value or wildcards, in any component group"
    CODE = "single value or wildcards, or a list of them"
    DATE = "single value or range"
    TIME = "single value or range of times"
    NUMBER = "whole number"
    REQUEST = "single value or wildcards, in any item of the sequence"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `keyword` and `tag` as they may stand in a query."""

    keyword: str
    tag: str
    vr: str
    level: Level
    matching: Matching


_REQUEST, _REQUEST_TAG = "RequestAttributesSequence", "00400275"
STUDY_DATE: Final = Key("StudyDate", "00080020", "DA", Level.STUDY, Matching.DATE)
KEYS: Final = (
    STUDY_DATE,
    Key("StudyTime", "00080030", "TM", Level.STUDY, Matching.TIME),
    Key("AccessionNumber", "00080050", "SH", Level.STUDY, Matching.TEXT),
    Key("ModalitiesInStudy", "00080061", "CS", Level.STUDY, Matching.CODE),
    Key("ReferringPhysicianName", "00080090", "PN", Level.STUDY, Matching.NAME),
    Key("StudyDescription", "00081030", "LO", Level.STUDY, Matching.TEXT),
    Key("PatientName", "00100010", "PN", Level.STUDY, Matching.NAME),
    Key("PatientID", "00100020", "LO", Level.STUDY, Matching.TEXT),
    Key("IssuerOfPatientID", "00100021", "LO", Level.STUDY, Matching.TEXT),  # the site: an ID is unique only within it
    Key("PatientBirthDate", "00100030", "DA", Level.STUDY, Matching.DATE),
    Key("PatientSex", "00100040", "CS", Level.STUDY, Matching.CODE),
    Key("StudyInstanceUID", "0020000D", "UI", Level.STUDY, Matching.UID),
    Key("StudyID", "00200010", "SH", Level.STUDY, Matching.TEXT),
    Key("Modality", "00080060", "CS", Level.SERIES, Matching.CODE),
    Key("SeriesDescription", "0008103E", "LO", Level.SERIES, Matching.TEXT),
    Key("BodyPartExamined", "00180015", "CS", Level.SERIES, Matching.CODE),
    Key("SeriesInstanceUID", "0020000E", "UI", Level.SERIES, Matching.UID),
    Key("SeriesNumber", "00200011", "IS", Level.SERIES, Matching.NUMBER),
    Key("PerformedProcedureStepStartDate", "00400244", "DA", Level.SERIES, Matching.DATE),
    Key("PerformedProcedureStepStartTime", "00400245", "TM", Level.SERIES, Matching.TIME),
    Key(f"{_REQUEST}.ScheduledProcedureStepID", f"{_REQUEST_TAG}.00400009", "SH", Level.SERIES, Matching.REQUEST),
    Key(f"{_REQUEST}.RequestedProcedureID", f"{_REQUEST_TAG}.00401001", "SH", Level.SERIES, Matching.REQUEST),
    Key("SOPClassUID", "00080016", "UI", Level.INSTANCE, Matching.UID),
    Key("SOPInstanceUID", "00080018", "UI", Level.INSTANCE, Matching.UID),
    Key("InstanceNumber", "00200013", "IS", Level.INSTANCE, Matching.NUMBER),
)


def find_key(name: str, level: Level) -> Key | None:
    """Return the key that a query for `level` calls so, by keyword or by tag."""
    upper = name.upper()
    return next((key for key in KEYS if key.level <= level and (name == key.keyword or upper == key.tag)), None)


def keywords_of(level: Level) -> list[str]:
    """Return what a search for `level` can be narrowed by."""
    return [key.keyword for key in KEYS if key.level <= level]
