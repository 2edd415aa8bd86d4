"""The DICOM modules that every document of a report shares: patient, study, equipment, SOP common.

Pure. Text is written as ISO_IR 192 from decoded strings only, never from a PersonName of an image: such a value
remembers the bytes of its first character set.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from reading_queue.domain.report import ReportContent
from storage.contract.identifiers import Uid

MANUFACTURER: Final = "Counterpart"
LONG_STRING_CHARACTERS_MAX: Final = 64  # LO and one component group of PN, PS3.5 table 6.2-1
SHORT_STRING_CHARACTERS_MAX: Final = 16  # SH
_IMPLEMENTATION_CLASS_UID: Final = UID("2.25.149407480727357526181368743812770669582")
_TM: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class DocumentIdentity:
    """What the document is in DICOM, and when and in which time zone it was made (`created_at` is aware)."""

    sop_class_uid: str
    sop_instance_uid: Uid
    series_uid: Uid
    series_number: int
    modality: str
    created_at: datetime


def new_document(content: ReportContent, identity: DocumentIdentity) -> Dataset:
    """Return a dataset with patient, study, series, equipment and SOP common modules (PS3.3 section A.35.1)."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.TimezoneOffsetFromUTC = identity.created_at.strftime("%z")
    dataset.SOPClassUID = identity.sop_class_uid
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceCreationDate = date_text(identity.created_at)
    dataset.InstanceCreationTime = time_text(identity.created_at)
    _add_patient(dataset, content)
    _add_study(dataset, content)
    dataset.Modality = identity.modality
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.SeriesNumber = identity.series_number
    dataset.InstanceNumber = content.report_version
    dataset.Manufacturer = MANUFACTURER
    dataset.InstitutionName = line(content.verifier.organisation_name)
    dataset.ContentDate = date_text(identity.created_at)
    dataset.ContentTime = time_text(identity.created_at)
    return dataset


def to_part10(dataset: Dataset) -> bytes:
    """Return `dataset` as a Part 10 file, explicit VR little endian; the same dataset gives the same bytes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def line(text: str, characters_max: int = LONG_STRING_CHARACTERS_MAX) -> str:
    r"""Return `text` fit for one value of LO, SH or PN: no control characters, no `\`, at most so many characters."""
    return _CONTROL.sub(" ", text).replace("\\", "/").strip()[:characters_max]


def date_text(at: date) -> str:
    """Return the day of `at` as DICOM DA."""
    return at.strftime("%Y%m%d")


def time_text(at: datetime) -> str:
    """Return the time of day of `at` as DICOM TM."""
    return at.strftime("%H%M%S")


def datetime_text(at: datetime, zone_of: datetime) -> str:
    """Return `at` as DICOM DT in the time zone of `zone_of`; (0008,0201) says which one."""
    return at.astimezone(zone_of.tzinfo).strftime("%Y%m%d%H%M%S")


def _add_patient(dataset: Dataset, content: ReportContent) -> None:
    patient = content.patient
    dataset.PatientName = person_name(patient.name)
    dataset.PatientID = line(patient.patient_number)
    dataset.PatientBirthDate = patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""
    dataset.PatientSex = patient.sex if patient.sex in {"M", "F", "O"} else ""


def _add_study(dataset: Dataset, content: ReportContent) -> None:
    """Add the first study's module: the document lies beside that study's images, the others are named as evidence."""
    study = content.studies[0]
    dataset.StudyInstanceUID = study.study_uid
    dataset.StudyDate = study.study_date.strftime("%Y%m%d") if study.study_date else ""
    dataset.StudyTime = study.study_time if _TM.fullmatch(study.study_time) else ""
    dataset.AccessionNumber = line(study.accession_number, SHORT_STRING_CHARACTERS_MAX)
    dataset.ReferringPhysicianName = person_name(study.referring_physician)
    dataset.StudyDescription = line(study.description)
    dataset.StudyID = ""


def person_name(name: str) -> str:
    """Return `name` as PN, each of its up to three component groups cut to what the VR allows (PS3.5 section 6.2.1).

    Hanzi stay in the group they came in: clinics' archives show the first one, and match the images by it.
    """
    return "=".join(line(group) for group in name.split("=")[:3])
