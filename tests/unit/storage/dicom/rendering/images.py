"""Small images made for one test each, and the pictures that come of them."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from storage.dicom.rendering import PNG, ImageHeader, Wishes, read_image_header, read_native_frame, render
from storage.dicom.structure import check_structure

Picture = np.ndarray[Any, np.dtype[Any]]


def image(samples: Picture, frames: int = 1, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """Return a Part 10 file of these samples: (frames ×) rows × columns (× 3); attributes may say anything else."""
    one = samples if frames == 1 else samples[0]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "2.25.1"
    meta.TransferSyntaxUID = UID(syntax)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "2.25.1"
    dataset.Rows, dataset.Columns = one.shape[:2]
    dataset.SamplesPerPixel = 3 if one.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if one.ndim == 3 else "MONOCHROME2"
    if one.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = samples.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    dataset.NumberOfFrames = frames
    dataset.PixelData = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if UID(syntax).is_encapsulated:
        dataset["PixelData"].VR = "OB"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def encapsulated(codestream: bytes, like: Picture, syntax: str, **attributes: Any) -> bytes:
    """Return a file whose one frame is this codestream."""
    return image(like, syntax=syntax, PixelData=encapsulate([codestream]), **attributes)


def header_of(file: bytes) -> ImageHeader:
    return read_image_header(io.BytesIO(file))


def shown(file: bytes, number: int = 1, wishes: Wishes | None = None) -> Picture:
    """Return the picture of a frame, without loss."""
    header, spans = header_of(file), check_structure(io.BytesIO(file)).frames
    if spans:
        frame = b"".join(file[offset : offset + length] for offset, length in spans[number - 1])
    else:
        frame = read_native_frame(io.BytesIO(file), header, number)
    return np.asarray(imagecodecs.png_decode(render(frame, header, number, wishes or Wishes(), PNG)))


def lookup(first: int, entries: list[int], bits: int, vr: str = "US") -> Dataset:
    """Return an item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, vr, [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    item.ModalityLUTType = "US"
    return item


def ramp(least: int, greatest: int, kind: str = "<i2") -> Picture:
    """Return every value from the least to the greatest, in one row each."""
    return np.arange(least, greatest + 1, dtype=kind).reshape(-1, 1)
