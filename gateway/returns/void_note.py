"""What tells a PACS that a report which it holds is void: a rejection note (IHE RAD IOCM, change requester).

A Key Object Selection (PS3.3 section A.35.4, TID 2010) titled "Rejected for Patient Safety Reasons" (CID 7011) that
names the one object. Pure: the same object gives the same note. A PACS that knows IOCM hides what is named; every other
one shows the note beside it.
"""

from __future__ import annotations

import uuid
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from storage.contract.rejection_codes import KEY_OBJECT_SELECTION, SAFETY
from storage.dicom.document_parts import EvidenceInstance, add_rejection, items

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
    note.ReferencedPerformedProcedureStepSequence = items()
    note.ReferencedRequestSequence = items()
    add_rejection(note, SAFETY, WORDS, [_as_evidence(rejected)])
    note.file_meta = FileMetaDataset()
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return note


def _as_evidence(rejected: Dataset) -> EvidenceInstance:
    return EvidenceInstance(
        rejected.StudyInstanceUID, rejected.SeriesInstanceUID, rejected.SOPClassUID, rejected.SOPInstanceUID
    )


def _derived(sop_instance_uid: str, what: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{sop_instance_uid}/void/{what}').int}")
