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
    code,
    date_text,
    items,
    person_name,
    time_text,
    to_part10,
)
from reading_queue.documents.structured_report import EvidenceInstance, instance_reference, references
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.rejection_codes import REJECTIONS
from storage.contract.identifiers import Uid

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
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
    dataset.CurrentRequestedProcedureEvidenceSequence = items(*references(rejected))
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = items(code(rejection, "DCM", REJECTIONS[rejection]))
    dataset.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    dataset.ContentTemplateSequence = items(template)
    dataset.ContentSequence = items(_description(reason), *map(_selected, sorted(set(rejected))))
    return to_part10(dataset)


def _description(reason: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = items(code("113012", "DCM", "Key Object Description"))
    item.TextValue = reason
    return item


def _selected(instance: EvidenceInstance) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "COMPOSITE"
    item.ReferencedSOPSequence = items(instance_reference(instance.sop_class_uid, instance.sop_instance_uid))
    return item
