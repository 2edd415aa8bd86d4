"""Files to store: images of a study, and evidence that speaks of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reading.claims import ReadingTaskView
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


def claim_offered(hub: Hub, viewer: Viewer) -> ReadingTaskView:
    """Take the first reading task that is offered to this physician."""
    return reading.claim(hub, viewer, reading.offers_of(hub, viewer)[0].reading_task_id)


def uid_of(file: bytes) -> str:
    return str(header_of(file).SOPInstanceUID)


def study_of(file: bytes) -> str:
    return str(header_of(file).StudyInstanceUID)


def evidence(about: Sequence[bytes], sop_class: str = KEY_OBJECTS, **header: Any) -> bytes:
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


def key_images(about: Sequence[bytes], **header: Any) -> bytes:
    """Return a Key Object Selection of these images (TID 2010)."""
    return evidence(about, ContentSequence=[_image_item(file) for file in about], **header)


def measurements(about: Sequence[bytes], *millimetres: str) -> bytes:
    """Return measured lengths on the first of these images, as viewers write them (TID 1500, 1501)."""
    group = Dataset()
    group.ValueType, group.ConceptNameCodeSequence = "CONTAINER", [_code("125007", "DCM", "Measurement Group")]
    group.ContentSequence = [_length_item(about[0], value) for value in millimetres]
    whole = Dataset()
    whole.ValueType, whole.ConceptNameCodeSequence = "CONTAINER", [_code("126010", "DCM", "Imaging Measurements")]
    whole.ContentSequence = [group]
    return evidence(about, COMPREHENSIVE_SR, ContentSequence=[whole])


def _length_item(image: bytes, millimetres: str) -> Dataset:
    value, line, number = Dataset(), Dataset(), Dataset()
    value.NumericValue, value.MeasurementUnitsCodeSequence = millimetres, [_code("mm", "UCUM", "millimeter")]
    line.ValueType, line.GraphicType, line.GraphicData = "SCOORD", "POLYLINE", [1.0, 1.0, 9.0, 9.0]
    line.ContentSequence = [_image_item(image)]
    number.ValueType, number.ConceptNameCodeSequence = "NUM", [_code("410668003", "SCT", "Length")]
    number.MeasuredValueSequence, number.ContentSequence = [value], [line]
    return number


def _image_item(file: bytes) -> Dataset:
    item = Dataset()
    item.ValueType, item.ReferencedSOPSequence = "IMAGE", [_reference(file)]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


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
