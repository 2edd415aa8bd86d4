"""What can be asked for and matched, at which level, and where the journal keeps it. Pure: one table.

A level answers its own attributes and those of the levels above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.query.levels import RANK, Level
from gateway.query.matching import Kind


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; `column` is its name in the rows of `gateway.journal.holdings`."""

    keyword: str
    level: Level
    column: str
    kind: Kind

    def is_answered_at(self, level: Level) -> bool:
        """Return whether an answer of this level can hold it."""
        return RANK[self.level] <= RANK[level]


ATTRIBUTES: Final = {
    attribute.keyword: attribute
    for attribute in (
        Attribute("PatientID", Level.PATIENT, "patient_number", Kind.TEXT),
        Attribute("PatientName", Level.PATIENT, "patient_name", Kind.NAME),
        Attribute("PatientBirthDate", Level.PATIENT, "birth_date", Kind.DATE),
        Attribute("PatientSex", Level.PATIENT, "sex", Kind.TEXT),
        Attribute("NumberOfPatientRelatedStudies", Level.PATIENT, "patient_studies", Kind.RETURNED),
        Attribute("NumberOfPatientRelatedSeries", Level.PATIENT, "patient_series", Kind.RETURNED),
        Attribute("NumberOfPatientRelatedInstances", Level.PATIENT, "patient_instances", Kind.RETURNED),
        Attribute("StudyInstanceUID", Level.STUDY, "study_uid", Kind.UID),
        Attribute("StudyDate", Level.STUDY, "study_date", Kind.DATE),
        Attribute("StudyTime", Level.STUDY, "study_time", Kind.TIME),
        Attribute("AccessionNumber", Level.STUDY, "accession_number", Kind.TEXT),
        Attribute("StudyID", Level.STUDY, "study_number", Kind.TEXT),
        Attribute("StudyDescription", Level.STUDY, "study_description", Kind.TEXT),
        Attribute("ReferringPhysicianName", Level.STUDY, "referring_physician", Kind.NAME),
        Attribute("ModalitiesInStudy", Level.STUDY, "modalities", Kind.CODES),
        Attribute("SOPClassesInStudy", Level.STUDY, "sop_classes", Kind.CODES),
        Attribute("NumberOfStudyRelatedSeries", Level.STUDY, "study_series", Kind.RETURNED),
        Attribute("NumberOfStudyRelatedInstances", Level.STUDY, "study_instances", Kind.RETURNED),
        Attribute("SeriesInstanceUID", Level.SERIES, "series_uid", Kind.UID),
        Attribute("Modality", Level.SERIES, "modality", Kind.TEXT),
        Attribute("SeriesNumber", Level.SERIES, "series_number", Kind.NUMBER),
        Attribute("SeriesDescription", Level.SERIES, "series_description", Kind.TEXT),
        Attribute("BodyPartExamined", Level.SERIES, "body_part", Kind.TEXT),
        Attribute("NumberOfSeriesRelatedInstances", Level.SERIES, "series_instances", Kind.RETURNED),
        Attribute("SOPInstanceUID", Level.IMAGE, "sop_instance_uid", Kind.UID),
        Attribute("SOPClassUID", Level.IMAGE, "sop_class_uid", Kind.UID),
        Attribute("InstanceNumber", Level.IMAGE, "instance_number", Kind.NUMBER),
    )
}
ANSWERED_ANYWAY: Final = frozenset(
    {"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability", "TimezoneOffsetFromUTC"}
)
