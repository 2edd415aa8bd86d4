"""A frame of uncompressed pixel data, read where it lies: in any byte order, of single bits, or in a deflated file."""

from __future__ import annotations

from typing import BinaryIO

from storage.dicom.elements import (
    EXPLICIT_BIG_ENDIAN,
    DatasetTruncated,
    NotDicom,
    open_dataset,
    read_file_meta,
)
from storage.dicom.rendering.header import CannotRender, ImageHeader
from storage.dicom.transcoding.description import DatasetLayout, read_dataset_layout
from storage.dicom.transcoding.pixels import frame_bits, word_bytes_of
from storage.dicom.values import turn_words


def read_native_frame(file: BinaryIO, header: ImageHeader, number: int) -> bytes:
    """Return the frame in little-endian words; one of single bits begins with the first bit.

    Raises:
        CannotRender: the file is damaged or ends too early.
    """
    try:
        meta = read_file_meta(file)
        dataset, start, end = open_dataset(file, meta)
        try:
            return _read(dataset, read_dataset_layout(dataset, meta, start, end), header, number)
        finally:
            if dataset is not file:
                dataset.close()
    except (NotDicom, DatasetTruncated) as exc:
        raise CannotRender("its pixel data cannot be read") from exc


def _read(dataset: BinaryIO, layout: DatasetLayout, header: ImageHeader, number: int) -> bytes:
    if layout.pixels is None or layout.pixels.length is None:
        raise CannotRender("its frames are not told apart")
    width = word_bytes_of(layout, layout.pixels) if layout.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else 1
    bits = frame_bits(header.pixels)
    first, behind = (number - 1) * bits, number * bits
    begin, end = first // 8 // width * width, -(-behind // (8 * width)) * width
    dataset.seek(layout.pixels.value_offset + begin)
    found = dataset.read(min(end, layout.pixels.length) - begin)
    found = turn_words(found, width) if width > 1 else found
    if len(found) * 8 < behind - begin * 8:
        raise CannotRender("its pixel data ends before its description does")
    return _from_bit(found, first - begin * 8, bits)


def _from_bit(found: bytes, shift: int, bits: int) -> bytes:
    if shift % 8 == 0:
        return found[shift // 8 : shift // 8 + -(-bits // 8)]
    import numpy as np

    single = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")[shift : shift + bits]
    return np.packbits(single, bitorder="little").tobytes()
