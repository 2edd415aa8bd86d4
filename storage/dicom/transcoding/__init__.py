"""Lossless compression of instances, and the way back: the received dataset to the bit, or a syntax that a peer takes.

Used on both sides of the line. Pure but for the files that it is handed.
"""

from storage.dicom.transcoding.compressing import AsIs, Compressed, compress
from storage.dicom.transcoding.pixels import NO_PIXELS, digest_pixels
from storage.dicom.transcoding.restoring import (
    NotRestorable,
    Restored,
    is_compressed_here,
    prove_restorable,
    restored_dataset,
)
from storage.dicom.transcoding.syntaxes import CannotWrite, choose_syntax, write_in_syntax

__all__ = [
    "NO_PIXELS",
    "AsIs",
    "CannotWrite",
    "Compressed",
    "NotRestorable",
    "Restored",
    "choose_syntax",
    "compress",
    "digest_pixels",
    "is_compressed_here",
    "prove_restorable",
    "restored_dataset",
    "write_in_syntax",
]
