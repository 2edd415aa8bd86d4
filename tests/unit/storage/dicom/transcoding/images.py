"""Images of every kind that scanners send, made with pydicom in the syntax a test asks for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian

from storage.dicom.elements import read_file_meta

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def smooth(shape: tuple[int, ...], low: int, high: int, seed: int = 0) -> np.ndarray:
    """Values that go up and down slowly between two bounds, both reached, with a little noise."""
    chance = np.random.default_rng(seed)
    grid = np.indices(shape).sum(axis=0) / max(sum(shape), 1)
    values = (np.sin(grid * 9) + 1) / 2 * (high - low) + low + chance.normal(0, max((high - low) / 500, 0.3), shape)
    values = np.clip(np.rint(values), low, high).astype(np.int64)
    values.flat[0], values.flat[-1] = low, high
    return values


def image(
    pixels: np.ndarray,
    *,
    bits: int,
    stored: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    planar: int | None = None,
    change: Callable[[Dataset], None] = lambda _: None,
) -> Dataset:
    """`pixels` are frames of rows and columns, with colours last (planar 0) or first in each frame (planar 1)."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "SAMPLE^ONE", "P1", "CT"
    dataset.StudyDate, dataset.StudyTime = "20250101", "080000"
    frames, *shape = pixels.shape
    colours = 1 if len(shape) == 2 else 3
    dataset.Rows, dataset.Columns = shape[1:] if planar == 1 else shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = colours, photometric
    if planar is not None:
        dataset.PlanarConfiguration = planar
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.BitsAllocated, dataset.BitsStored = bits, stored or bits
    dataset.HighBit, dataset.PixelRepresentation = (stored or bits) - 1, int(signed)
    dataset.PixelData = pixels.astype(f"<{'i' if signed else 'u'}{bits // 8}").tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    change(dataset)
    return dataset


def part10(dataset: Dataset, syntax: str = EXPLICIT) -> io.BytesIO:
    """The dataset as a file; words of its pixel data are turned round for big endian."""
    dataset = Dataset(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if syntax == ExplicitVRBigEndian and dataset["PixelData"].VR == "OW":
        words = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
        dataset.PixelData = words.tobytes()
        dataset["PixelData"].VR = "OW"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file


def everything(dataset: Dataset) -> None:
    """Adds private elements, nested sequences, an icon, an element whose sign follows the pixels, some behind them."""
    block = dataset.private_block(0x0029, "ACME 1.1", create=True)
    block.add_new(0x01, "LO", "private text")
    block.add_new(0x02, "UN", b"\x01\x02\x03\x04")
    block.add_new(0x03, "SQ", Sequence([_item("1.2.9")]))
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = b"\1\2\3\4"
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = Sequence([icon])
    inner = _item("1.2.10")
    inner.ReferencedSeriesSequence = Sequence([_item("1.2.11"), Dataset()])
    dataset.ReferencedStudySequence = Sequence([inner])
    dataset.ReferencedStudySequence.is_undefined_length = True
    dataset.ReferencedStudySequence[0].is_undefined_length_sequence_item = True
    dataset.RequestAttributesSequence = Sequence([])
    dataset.add_new(0x00280120, "SS" if dataset.PixelRepresentation else "US", 7)
    dataset.add_new(0x7FE10010, "LO", "BEHIND")
    dataset.add_new(0x7FE11001, "OB", b"behind the pixels ")


def _item(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = uid
    return item


def dataset_sha256(file: io.BytesIO) -> str:
    offset = read_file_meta(file).dataset_offset
    return hashlib.sha256(file.getvalue()[offset:]).hexdigest()
