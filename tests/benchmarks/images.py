"""Instances for benchmarks: real ones from BENCH_DATA under fresh UIDs, or phantoms that look like a scanner's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, generate_uid

CT_SIDE = 512
MR_SIDE = 256
CT_BYTES = CT_SIDE * CT_SIDE * 2
NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian}


@dataclass(frozen=True)
class Images:
    """Part 10 files, one list for each study; `source` says what they are."""

    studies: list[list[Path]]
    source: str

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for study in self.studies for path in study)


def write_ct(directory: Path, data: Path | None, *, studies: int, slices: int) -> Images:
    """Write CT slices of 0.5 MB, each with its own pixels: those of a real CT in `data`, shifted, or a phantom's."""
    template = find_ct(data) if data is not None else None
    stacks = []
    for study in range(studies):
        study_uid, series_uid = generate_uid(), generate_uid()
        folder = directory / f"study-{study}"
        folder.mkdir(parents=True)
        paths = []
        for number in range(slices):
            dataset = _real_slice(template, number) if template is not None else _phantom_slice(study, number)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = number + 1
            paths.append(folder / f"{number:04}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        stacks.append(paths)
    source = f"real CT slice of {CT_BYTES} pixel bytes" if template is not None else "CT phantom with noise"
    return Images(stacks, source)


def write_mr(directory: Path, _data: Path | None, *, studies: int, slices: int) -> Images:
    """Write MR slices of a phantom: 256 × 256, its noise that of a magnitude image (Rician), as 12 of 16 bits."""
    stacks = []
    for study in range(studies):
        study_uid, series_uid = generate_uid(), generate_uid()
        folder = directory / f"study-{study}"
        folder.mkdir(parents=True)
        paths = []
        for number in range(slices):
            dataset = _phantom_slice(study, number)
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
            dataset.Modality, dataset.Rows, dataset.Columns = "MR", MR_SIDE, MR_SIDE
            del dataset.RescaleIntercept, dataset.RescaleSlope
            dataset.PixelData = mr_phantom_pixels(study * 1000 + number).tobytes()
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = number + 1
            paths.append(folder / f"{number:04}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        stacks.append(paths)
    return Images(stacks, "MR phantom with noise")


def mr_phantom_pixels(seed: int) -> np.ndarray:
    """Return a head with tissues, a slow change of the coil's sensitivity, and Rician noise."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : MR_SIDE * 1j, -1 : 1 : MR_SIDE * 1j]
    image = np.zeros((MR_SIDE, MR_SIDE))
    image[x**2 / 0.45 + y**2 / 0.7 < 1] = 600
    for _ in range(12):
        cx, cy, radius = chance.uniform(-0.4, 0.4), chance.uniform(-0.5, 0.5), chance.uniform(0.05, 0.25)
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = chance.uniform(200, 1400)
    image *= 1 + 0.3 * np.cos(x + y)
    real, imaginary = chance.normal(0, 10, image.shape), chance.normal(0, 10, image.shape)
    return np.clip(np.hypot(image + real, imaginary), 0, 4095).astype("<u2")


def fill_with_noise(studies: list[list[Path]]) -> None:
    """Let the pixels be noise in all 16 bits, which no codec makes smaller: what comes is what travels."""
    chance = np.random.default_rng(1)
    for path in (path for study in studies for path in study):
        dataset = dcmread(path)
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.PixelData = chance.bytes(len(dataset.PixelData))
        dataset.save_as(path, enforce_file_format=True)


def find_ct(data: Path) -> Dataset | None:
    """Return an uncompressed CT slice of 512 × 512 × 16 bit out of `data`, None when there is none."""
    for path in sorted(data.rglob("*")):
        if not path.is_file() or path.stat().st_size < CT_BYTES:
            continue
        try:
            dataset = dcmread(path)
        except InvalidDicomError:
            continue
        is_ct = dataset.get("SOPClassUID") == CTImageStorage and dataset.file_meta.TransferSyntaxUID in NATIVE
        if is_ct and len(dataset.get("PixelData", b"")) == CT_BYTES:
            return dataset
    return None


def phantom_pixels(seed: int) -> np.ndarray:
    """Return a round body with organs, air around it and detector noise, as 12 of 16 bits."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : CT_SIDE * 1j, -1 : 1 : CT_SIDE * 1j]
    image = np.full((CT_SIDE, CT_SIDE), 24.0)
    body = x**2 / 0.6 + y**2 / 0.4 < 1
    image[body] = 1040
    for _ in range(6):
        cx, cy, radius = chance.uniform(-0.4, 0.4), chance.uniform(-0.3, 0.3), chance.uniform(0.05, 0.2)
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] += chance.uniform(-200, 400)
    image[body] += chance.normal(0, 12, int(body.sum()))
    return np.clip(image, 0, 4095).astype("<u2")


def _phantom_slice(study: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "BENCH^PHANTOM", f"BENCH-{study}"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20250101", "080000", f"A{study}"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = CT_SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.PixelData = phantom_pixels(study * 1000 + number).tobytes()
    return dataset


def _real_slice(template: Dataset, number: int) -> Dataset:
    rows = np.frombuffer(template.PixelData, "<u2").reshape(CT_SIDE, CT_SIDE)
    dataset = Dataset(template)
    dataset.file_meta = FileMetaDataset(template.file_meta)
    dataset.PixelData = np.roll(rows, number, axis=0).tobytes()
    return dataset
