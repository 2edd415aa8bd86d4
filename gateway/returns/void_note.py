"""What tells a PACS that a report which it holds is void: a rejection note (IHE RAD IOCM, change requester).

A Key Object Selection (PS3.3 section A.35.4, TID 2010) titled "Rejected for Patient Safety Reasons" (CID 7011) that
names the one object. Pure: the same object gives the same note. A PACS that knows IOCM hides what is named; every other
one shows the note beside it.
"""

from __future__ import annotations

import uuid
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ImplicitVRLittleEndian

KEY_OBJECT_SELECTION: Final = UID("1.2.840.10008.5.1.4.1.1.88.59")
REJECTED_FOR_SAFETY: Final = "113037"
SERIES_NUMBER: Final = 9904
WORDS: Final = "The report that is named here was entered in error: it is about the wrong patient and must not be used."
# Patient, study and what else the note has in common with the object that it rejects (PS3.3 table A.35.4-1).
_IN_COMMON: Final = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "Manufacturer",
    "ContentDate",
    "ContentTime",
)
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)


def build_void_note(rejected: Dataset) -> Dataset:
    """Return the note that rejects this SR or encapsulated PDF, ready to be sent in implicit VR little endian.

    Its UIDs come from that of the object (PS3.5 section B.2), so that a PACS takes it, sent again, as the same note.
    """
    note = Dataset()
    for name in _TYPE_2:
        setattr(note, name, "")
    for name in _IN_COMMON:
        if name in rejected:
            note[name] = rejected[name]
    note.SOPClassUID = KEY_OBJECT_SELECTION
    note.SOPInstanceUID = _derived(rejected.SOPInstanceUID, "note")
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", SERIES_NUMBER, 1
    note.SeriesInstanceUID = _derived(rejected.SOPInstanceUID, "series")
    note.ReferencedPerformedProcedureStepSequence = Sequence()
    note.ReferencedRequestSequence = Sequence()
    note.CurrentRequestedProcedureEvidenceSequence = Sequence([_evidence(rejected)])
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = _code(REJECTED_FOR_SAFETY, "Rejected for Patient Safety Reasons")
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ContentTemplateSequence = Sequence([template])
    why, named = Dataset(), Dataset()
    why.RelationshipType, why.ValueType, why.TextValue = "CONTAINS", "TEXT", WORDS
    why.ConceptNameCodeSequence = _code("113012", "Key Object Description")
    # An SR is no image, and neither is a PDF: both are COMPOSITE here.
    named.RelationshipType, named.ValueType = "CONTAINS", "COMPOSITE"
    named.ReferencedSOPSequence = Sequence([_reference(rejected)])
    note.ContentSequence = Sequence([why, named])
    note.file_meta = FileMetaDataset()
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return note


def _evidence(rejected: Dataset) -> Dataset:
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = rejected.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([_reference(rejected)])
    study.StudyInstanceUID = rejected.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    return study


def _reference(rejected: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = rejected.SOPClassUID, rejected.SOPInstanceUID
    return item


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return Sequence([item])


def _derived(sop_instance_uid: str, what: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{sop_instance_uid}/void/{what}').int}")
