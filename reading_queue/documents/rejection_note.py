"""The rejection note of a person at the hub: a Key Object Selection (PS3.3 section A.35.4, TID 2010; IHE RAD IOCM).

Pure: the same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset

from reading_queue.documents.headers import (
    MANUFACTURER,
    date_text,
    person_name,
    time_text,
    to_part10,
)
from storage.catalogue.indexing import PatientFacts
from storage.contract.identifiers import Uid
from storage.contract.rejection_codes import KEY_OBJECT_SELECTION
from storage.dicom.document_parts import EvidenceInstance, add_rejection, items

SERIES_NUMBER: Final = 9903


def build_rejection_note(
    patient: PatientFacts,
    rejected: Sequence[EvidenceInstance],
    *,
    rejection: str,
    reason: str,
    sop_instance_uid: Uid,
    series_uid: Uid,
    created_at: datetime,
) -> bytes:
    """Return the note that rejects these instances of one study, at least one, Part 10; `rejection` is its DCM code.

    `patient` as the images name them, so that the note lies with them wherever it goes.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.TimezoneOffsetFromUTC = created_at.strftime("%z")
    dataset.SOPClassUID, dataset.SOPInstanceUID = KEY_OBJECT_SELECTION, sop_instance_uid
    dataset.PatientName = person_name(patient.name)
    dataset.PatientID = patient.number
    dataset.PatientBirthDate = date_text(patient.birth_date) if patient.birth_date else ""
    dataset.PatientSex = patient.sex if patient.sex in {"M", "F", "O"} else ""
    dataset.StudyInstanceUID = rejected[0].study_uid
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "KO", series_uid, SERIES_NUMBER
    dataset.ReferencedPerformedProcedureStepSequence = items()
    dataset.InstanceNumber = 1
    dataset.Manufacturer = MANUFACTURER
    dataset.ContentDate, dataset.ContentTime = date_text(created_at), time_text(created_at)
    dataset.ReferencedRequestSequence = items()
    add_rejection(dataset, rejection, reason, rejected)
    return to_part10(dataset)
