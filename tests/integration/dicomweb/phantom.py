"""A small study whose text is in GB18030 (one patient, two series, three slices), and studies of noise of any size."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

GB18030_STUDY = "2.25.1018030"
BONE_SERIES, LUNG_SERIES = f"{GB18030_STUDY}.1", f"{GB18030_STUDY}.2"
PATIENT_NAME, PATIENT_NUMBER = "赵䶮^阿=Zhao^Yan", "T01_0001"  # the second character is missing from GB 2312 and GBK
DESCRIPTIONS = {BONE_SERIES: "骨窗 5mm", LUNG_SERIES: "肺窗 5mm"}
SIZE = 32


def noise_study(study_uid: str, series_count: int, slices: int, size: int) -> list[bytes]:
    """Return the Part 10 files of a CT of noise: `slices` slices of `size` × `size` samples in each series."""
    return [
        _noise_slice(study_uid, series, number, size)
        for series in range(1, series_count + 1)
        for number in range(1, slices + 1)
    ]


def gb18030_study() -> list[bytes]:
    """Return the Part 10 files: two slices of BONE_SERIES, one of LUNG_SERIES."""
    return [_slice(BONE_SERIES, 1, 1), _slice(BONE_SERIES, 1, 2), _slice(LUNG_SERIES, 2, 3)]


def _slice(series_uid: str, series_number: int, number: int) -> bytes:
    dataset = _ct(GB18030_STUDY, series_uid, series_number, number, np.arange(SIZE * SIZE, dtype="<u2"))
    dataset.SpecificCharacterSet = "GB18030"
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_NUMBER
    dataset.PatientBirthDate, dataset.PatientSex = "19620415", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260301", "083000", "S-1"
    dataset.AccessionNumber, dataset.StudyDescription = "T01-77", "胸部CT平扫"
    dataset.SeriesDescription, dataset.BodyPartExamined = DESCRIPTIONS[series_uid], "CHEST"
    dataset.PerformedProcedureStepStartDate, dataset.PerformedProcedureStepStartTime = "20260301", "0831"
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = f"STEP-{series_number}", "PROC-1"
    dataset.RequestAttributesSequence = [request]
    return _part_10(dataset)


def _noise_slice(study_uid: str, series_number: int, number: int, size: int) -> bytes:
    noise = np.random.default_rng([series_number, number]).integers(0, 4096, size * size, dtype="<u2")
    dataset = _ct(study_uid, f"{study_uid}.{series_number}", series_number, number, noise)
    dataset.PatientName, dataset.PatientID = "Noise^Of", f"NOISE-{study_uid}"
    return _part_10(dataset)


def _ct(study_uid: str, series_uid: str, series_number: int, number: int, samples: NDArray[np.uint16]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series_uid}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{series_uid}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", series_number, number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = math.isqrt(samples.size)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = samples.tobytes()
    return dataset


def _part_10(dataset: FileDataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
