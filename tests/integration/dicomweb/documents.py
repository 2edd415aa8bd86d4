"""Instances without pixels: an encapsulated PDF and a key object selection."""

from __future__ import annotations

import io

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

PDF_BYTES = b"%PDF-1.7\n%%EOF\n\n"


def encapsulated_pdf(study_uid: str = "2.25.88101") -> bytes:
    dataset = _document(study_uid, EncapsulatedPDFStorage, "DOC")
    dataset.MIMETypeOfEncapsulatedDocument, dataset.EncapsulatedDocument = "application/pdf", PDF_BYTES
    return _part_10(dataset)


def key_object(study_uid: str = "2.25.88102") -> bytes:
    dataset = _document(study_uid, KeyObjectSelectionDocumentStorage, "KO")
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113000", "DCM", "Of Interest"
    dataset.ValueType, dataset.ConceptNameCodeSequence = "CONTAINER", [title]
    return _part_10(dataset)


def _document(study_uid: str, sop_class: str, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, f"{study_uid}.1.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{study_uid}.1.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, f"{study_uid}.1"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 1
    dataset.PatientName, dataset.PatientID = "Paper^Of", f"PAPER-{study_uid}"
    return dataset


def _part_10(dataset: FileDataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
