"""Files to store: images of a study, and evidence that speaks of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from storage.contract.identifiers import new_uid
from tests.integration.dicomweb.county import bundled, header_of, with_header, with_own_uids

KEY_OBJECTS, COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.5.1.4.1.1.88.33"


def images(study: int, count: int = 1) -> list[bytes]:
    """Return instances of one study of its own, all of one series."""
    first = with_own_uids(bundled("CT_small.dcm"), study)
    return [first, *(with_header(first, SOPInstanceUID=f"{uid_of(first)}.{n}") for n in range(1, count))]


def big_images(study: int, count: int, size_bytes: int) -> list[bytes]:
    """Return instances of this size, one study of one series."""
    side = 1024
    frames = max(size_bytes // (2 * side * side), 1)
    first, *_ = images(study)
    shape = {"Rows": side, "Columns": side, "NumberOfFrames": frames, "PixelData": bytes(2 * side * side * frames)}
    return [with_header(first, SOPInstanceUID=f"{uid_of(first)}.{n}", **shape) for n in range(count)]


def uid_of(file: bytes) -> str:
    return str(header_of(file).SOPInstanceUID)


def study_of(file: bytes) -> str:
    return str(header_of(file).StudyInstanceUID)


def evidence(about: Sequence[bytes], sop_class: str = KEY_OBJECTS, **header: str) -> bytes:
    """Return a document of the study of these images that speaks of them."""
    image = pydicom.dcmread(io.BytesIO(about[0]), stop_before_pixels=True)
    document = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.SpecificCharacterSet = "ISO_IR 192"
    for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        if keyword in image:
            setattr(document, keyword, str(image[keyword].value))  # a name keeps the bytes that it was read from
    document.SOPClassUID, document.SOPInstanceUID = sop_class, new_uid()
    document.SeriesInstanceUID, document.Modality = new_uid(), "KO" if sop_class == KEY_OBJECTS else "SR"
    document.SeriesNumber, document.InstanceNumber = 99, 1
    document.CurrentRequestedProcedureEvidenceSequence = [_study_item(about)]
    for keyword, value in header.items():
        setattr(document, keyword, value)
    stream = io.BytesIO()
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _study_item(about: Sequence[bytes]) -> Dataset:
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID = study_of(about[0])
    study.ReferencedSeriesSequence = [series]
    series.SeriesInstanceUID = str(header_of(about[0]).SeriesInstanceUID)
    series.ReferencedSOPSequence = [_reference(file) for file in about]
    return study


def _reference(file: bytes) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header_of(file).SOPClassUID, uid_of(file)
    return item
