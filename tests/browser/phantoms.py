"""Images of the kinds that clinics send, made so that every slice and frame looks unlike all others."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundMultiFrameImageStorage,
)

from storage.contract.identifiers import new_uid
from tests.browser.pictures import Picture

FIELDS = 4  # a pattern has FIELDS × FIELDS fields, each black or white
FRAMES, SLICES = 10, 40
COLOURS = np.array([(255, 60, 0), (0, 200, 80), (40, 80, 255), (230, 220, 40), (200, 0, 200)], dtype=float)


def pattern(number: int, rows: int, columns: int) -> Picture:
    """Return a picture of black and white fields, 0 and 1, that no other number up to 65,535 has."""
    bits = (number * 40_503 % 65_536) >> np.arange(FIELDS * FIELDS) & 1  # neighbours differ in half of the fields
    fields = bits.reshape(FIELDS, FIELDS).astype(float)
    return np.kron(fields, np.ones((rows // FIELDS, columns // FIELDS)))


def as_colours(grey: Picture) -> Picture:
    """Return a grey picture, 0 to 1, as a screen shows it."""
    return np.repeat(grey[:, :, np.newaxis] * 255, 3, axis=2)


def radiograph(folder: Path) -> tuple[Path, Picture]:
    """Write a digital radiograph of full size, MONOCHROME1 with 14 bits, and return what it shows."""
    rows, columns = 2400, 2000
    ramp = np.linspace(0.1, 0.9, columns)[np.newaxis, :] * np.ones((rows, 1))
    shown = np.where(pattern(7, rows, columns) > 0, ramp, 1 - ramp)
    dataset = _dataset(DigitalXRayImageStorageForPresentation, "DX")
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 14, 13, 0
    dataset.WindowCenter, dataset.WindowWidth = "8192", "16384"
    dataset.ImagerPixelSpacing, dataset.BodyPartExamined = [0.14, 0.14], "CHEST"
    dataset.PixelData = ((1 - shown) * 16383).astype("<u2").tobytes()  # the least value is white
    return _save(dataset, folder / "radiograph.dcm"), as_colours(shown)


def ultrasound_loop(folder: Path, *, jpeg: bool) -> tuple[Path, list[Picture]]:
    """Write a loop in colours, uncompressed or in JPEG baseline, and return what each frame shows."""
    rows, columns = 240, 320
    frames = [pattern(n, rows, columns)[:, :, np.newaxis] * COLOURS[n % len(COLOURS)] for n in range(1, FRAMES + 1)]
    dataset = _dataset(UltrasoundMultiFrameImageStorage, "US", JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422" if jpeg else "RGB"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, FRAMES
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.FrameTime, dataset.FrameIncrementPointer = "40", 0x00181063
    raw = [frame.astype(np.uint8) for frame in frames]
    if jpeg:
        dataset.LossyImageCompression = "01"
        dataset.PixelData = encapsulate([_as_jpeg(frame) for frame in raw])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = b"".join(frame.tobytes() for frame in raw)
    return _save(dataset, folder / f"loop-{'jpeg' if jpeg else 'native'}.dcm"), frames


def stack(folder: Path) -> tuple[list[Path], list[Picture]]:
    """Write the slices of a CT, in their order, and return what each shows."""
    side = 256
    pictures = [pattern(n, side, side) for n in range(1, SLICES + 1)]
    first = _dataset(CTImageStorage, "CT")
    files = []
    for number, picture in enumerate(pictures, 1):
        dataset = _dataset(CTImageStorage, "CT", study_uid=first.StudyInstanceUID, series_uid=first.SeriesInstanceUID)
        dataset.InstanceNumber, dataset.PatientPosition = number, "HFS"
        dataset.FrameOfReferenceUID = first.SOPInstanceUID
        dataset.ImagePositionPatient, dataset.SliceThickness = [-128, -128, -number * 5], "5"
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        dataset.PhotometricInterpretation, dataset.Rows, dataset.Columns = "MONOCHROME2", side, side
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
        dataset.WindowCenter, dataset.WindowWidth = "0", "2000"
        dataset.PixelData = (24 + picture * 2000).astype("<u2").tobytes()
        files.append(_save(dataset, folder / f"slice-{number}.dcm"))
    return files, [as_colours(picture) for picture in pictures]


def _dataset(
    sop_class: str,
    modality: str,
    syntax: str = ExplicitVRLittleEndian,
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, syntax
    meta.MediaStorageSOPInstanceUID = new_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "GB18030"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid or new_uid(), series_uid or new_uid()
    dataset.PatientName, dataset.PatientID = "画像", f"P-{dataset.StudyInstanceUID[-12:]}"
    dataset.PatientBirthDate, dataset.PatientSex = "19620415", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260302", "083000", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 1
    dataset.SamplesPerPixel = 1
    return dataset


def _as_jpeg(frame: np.ndarray) -> bytes:  # type: ignore[type-arg]
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95, subsampling="4:2:2")
    return stream.getvalue()


def _save(dataset: FileDataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path
