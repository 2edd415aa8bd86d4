"""A small study whose text is in GB18030: one patient, two series, three slices."""

from __future__ import annotations

import io

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

GB18030_STUDY = "2.25.1018030"
BONE_SERIES, LUNG_SERIES = f"{GB18030_STUDY}.1", f"{GB18030_STUDY}.2"
PATIENT_NAME, PATIENT_NUMBER = "赵䶮^阿=Zhao^Yan", "T01_0001"  # the second character is missing from GB 2312 and GBK
DESCRIPTIONS = {BONE_SERIES: "骨窗 5mm", LUNG_SERIES: "肺窗 5mm"}
SIZE = 32


def gb18030_study() -> list[bytes]:
    """Return the Part 10 files: two slices of BONE_SERIES, one of LUNG_SERIES."""
    return [_slice(BONE_SERIES, 1, 1), _slice(BONE_SERIES, 1, 2), _slice(LUNG_SERIES, 2, 3)]


def _slice(series_uid: str, series_number: int, number: int) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series_uid}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "GB18030"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{series_uid}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = GB18030_STUDY, series_uid
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_NUMBER
    dataset.PatientBirthDate, dataset.PatientSex = "19620415", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260301", "083000", "S-1"
    dataset.AccessionNumber, dataset.StudyDescription = "T01-77", "胸部CT平扫"
    dataset.SeriesDescription, dataset.SeriesNumber = DESCRIPTIONS[series_uid], series_number
    dataset.Modality, dataset.BodyPartExamined, dataset.InstanceNumber = "CT", "CHEST", number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.arange(SIZE * SIZE, dtype="<u2").tobytes()
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
