"""Images to send, and what a screen must show of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from storage.contract.identifiers import new_uid

# The folder itself: asking pydicom for a file by name may try the network.
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
PATIENT = "赵䶮"  # the second character is missing from GB 2312 and GBK
STUDY_DESCRIPTION, SERIES_DESCRIPTION = "胸部CT平扫", "肺窗 5mm"
SIZE, SLICES = 128, 6
BLOCKS = 16  # pictures are compared by the mean colours of BLOCKS × BLOCKS fields

Picture = np.ndarray[Any, np.dtype[np.float64]]  # rows × columns × RGB, 0 to 255


def chest_phantom(folder: Path) -> list[Path]:
    """Write the slices of a chest, all alike: soft tissue, two lungs, spine; lung window; text in GB18030."""
    study_uid, series_uid = new_uid(), new_uid()
    files = []
    for number in range(1, SLICES + 1):
        dataset = _slice(number)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        files.append(folder / f"{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def study_uid_of(file: Path) -> str:
    """Return the file's Study Instance UID."""
    return str(pydicom.dcmread(file, stop_before_pixels=True).StudyInstanceUID)


def expected_picture(file: Path) -> Picture:
    """Return what a screen shows of the file's first frame, in its own window."""
    dataset = pydicom.dcmread(file)
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(pixels, dataset) / 257.0  # 16 bits each
    if dataset.SamplesPerPixel == 3:
        if dataset.PhotometricInterpretation.startswith("YBR_FULL"):
            pixels = convert_color_space(pixels, dataset.PhotometricInterpretation, "RGB")
        return pixels.astype(float)
    hounsfield = pixels * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    darkest = float(dataset.WindowCenter) - float(dataset.WindowWidth) / 2
    grey = np.clip((hounsfield - darkest) / float(dataset.WindowWidth), 0, 1) * 255
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def picture_on(canvas_png: bytes, shape: tuple[int, int]) -> Picture:
    """Return the part of a canvas where an image of this shape lies when it is fitted into the middle."""
    with Image.open(io.BytesIO(canvas_png)) as opened:
        canvas = np.asarray(opened.convert("RGB"), dtype=float)
    rows, columns = shape
    scale = min(canvas.shape[0] / rows, canvas.shape[1] / columns)
    height, width = round(rows * scale), round(columns * scale)
    top, left = (canvas.shape[0] - height) // 2, (canvas.shape[1] - width) // 2
    return canvas[top : top + height, left : left + width]


def difference(one: Picture, other: Picture) -> float:
    """Return how much the mean colours of the two pictures' fields differ in the mean, 0 to 255."""
    return float(np.abs(_fields(one) - _fields(other)).mean())


def _fields(picture: Picture) -> Picture:
    image = Image.fromarray(picture.astype(np.uint8))
    return np.asarray(image.resize((BLOCKS, BLOCKS), Image.Resampling.BOX), dtype=float)


def _slice(number: int) -> FileDataset:
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    hounsfield = np.full((SIZE, SIZE), -1000)
    hounsfield[(columns / 0.9) ** 2 + (rows / 0.65) ** 2 < 1] = 40
    for side in (-1, 1):
        hounsfield[((columns - side * 0.4) / 0.28) ** 2 + (rows / 0.45) ** 2 < 1] = -850
    hounsfield[columns**2 + ((rows - 0.42) / 0.8) ** 2 < 0.11**2] = 400

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = new_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "GB18030"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = PATIENT, "QH-T01-0001"
    dataset.PatientBirthDate, dataset.PatientSex = "19620415", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260302", "083000", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "T0100001", ""
    dataset.StudyDescription, dataset.SeriesDescription = STUDY_DESCRIPTION, SERIES_DESCRIPTION
    dataset.Modality, dataset.BodyPartExamined = "CT", "CHEST"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.FrameOfReferenceUID, dataset.PatientPosition = "2.25.1", "HFS"
    dataset.ImagePositionPatient, dataset.SliceThickness = [-180, -180, number * 5], "5"
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [2.8, 2.8]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.WindowCenter, dataset.WindowWidth = "-400", "1500"
    dataset.PixelData = (hounsfield + 1024).astype("<u2").tobytes()
    return dataset
