"""The samples of one frame as they are stored, out of its bytes in whatever transfer syntax. Pure.

Grey samples and palette numbers come as rows × columns of unsigned words (or floating-point numbers), colours as
rows × columns × 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.dicom.elements import DEFLATED, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from storage.dicom.rendering.header import CannotRender, ImageHeader
from storage.dicom.transcoding.codecs import LOSSLESS, RLE_LOSSLESS, FrameNotDecoded, by_pixel, decode, in_words
from storage.dicom.transcoding.codestreams import bare, find_size, tells_its_colours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.dicom.transcoding.description import PixelDescription

    Samples = NDArray[np.generic]

NATIVE: Final = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, *DEFLATED})
JPEG_SYNTAXES: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_LOSSY: Final = {
    **dict.fromkeys(JPEG_SYNTAXES, "jpeg8_decode"),
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "htj2k_decode",
}
_FLOATS: Final = {0x7FE00008: ("<f4", 32), 0x7FE00009: ("<f8", 64)}


def decode_samples(frame: bytes, header: ImageHeader) -> Samples:
    """Return the samples of a frame.

    Raises:
        CannotRender: its syntax is not decoded here, or the frame is damaged or not of the described size.
    """
    syntax, pixels = header.transfer_syntax_uid, header.pixels
    if syntax in NATIVE and not header.is_encapsulated:
        return _native(frame, header)
    if syntax not in LOSSLESS and syntax not in _LOSSY:
        raise CannotRender(f"transfer syntax {syntax} is not decoded here")
    frame = bare(frame)
    if syntax != RLE_LOSSLESS and find_size(frame) != (pixels.rows, pixels.columns, pixels.samples):
        raise CannotRender("a frame is not as large as its header says")
    try:
        if syntax in LOSSLESS:
            return _as_words(decode(frame, syntax, pixels), pixels)
        return _unsigned(in_words(by_pixel(_decode_lossy(frame, header), pixels), pixels), pixels)
    except FrameNotDecoded as exc:
        raise CannotRender("a frame is damaged, or not as its header says") from exc


def _decode_lossy(frame: bytes, header: ImageHeader) -> Samples:
    import imagecodecs
    import numpy as np

    syntax, options = header.transfer_syntax_uid, {}
    if syntax in JPEG_SYNTAXES and header.pixels.photometric_interpretation == "RGB" and not tells_its_colours(frame):
        options = {"colorspace": "RGB"}
    try:
        decoded: Samples = np.asarray(getattr(imagecodecs, _LOSSY[syntax])(frame, **options))
    except Exception as exc:  # each codec has its own exceptions for bytes that are no codestream
        raise FrameNotDecoded(f"a frame in {syntax} cannot be decoded") from exc
    return decoded


def _native(frame: bytes, header: ImageHeader) -> Samples:
    import numpy as np

    pixels = header.pixels
    shape = (pixels.rows, pixels.columns)
    count = pixels.rows * pixels.columns * pixels.samples
    if header.pixel_tag in _FLOATS:
        kind, bits = _FLOATS[header.pixel_tag]
        if pixels.bits_allocated != bits or pixels.samples != 1 or len(frame) * 8 < count * bits:
            raise CannotRender("its pixel data is not as its header says")
        return np.frombuffer(frame, kind, count).reshape(shape)
    if pixels.bits_allocated == 1 and pixels.samples == 1 and len(frame) * 8 >= count:
        return np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:count].reshape(shape)
    if pixels.samples == 3 and pixels.photometric_interpretation == "YBR_FULL_422":
        return _shared_chroma(frame, pixels)
    return _as_words(frame, pixels, planar=pixels.planar_configuration == 1)


def _as_words(frame: bytes, pixels: PixelDescription, *, planar: bool = False) -> Samples:
    import numpy as np

    count = pixels.rows * pixels.columns * pixels.samples
    if not pixels.sample_bytes or len(frame) < count * pixels.sample_bytes:
        raise CannotRender(f"its samples of {pixels.bits_allocated} bits are not read here, or are not all there")
    words = np.frombuffer(frame, f"<u{pixels.sample_bytes}", count)
    if pixels.samples == 1:
        return words.reshape(pixels.rows, pixels.columns)
    if planar:
        return np.moveaxis(words.reshape(3, pixels.rows, pixels.columns), 0, -1)
    return words.reshape(pixels.rows, pixels.columns, 3)


def _unsigned(decoded: Any, pixels: PixelDescription) -> Samples:
    words: Samples = decoded.view(f"<u{pixels.sample_bytes}")
    return words[:, :, 0] if pixels.samples == 1 else words


def _shared_chroma(frame: bytes, pixels: PixelDescription) -> Samples:
    """Return the colours of pixels of which two neighbours share their chroma (PS3.3 section C.7.6.3.1.2)."""
    import numpy as np

    if pixels.bits_allocated != 8 or pixels.columns % 2 or len(frame) < pixels.rows * pixels.columns * 2:
        raise CannotRender("its pixel data is not as its header says")
    pairs = np.frombuffer(frame, np.uint8, pixels.rows * pixels.columns * 2).reshape(pixels.rows, -1, 4)
    colours = np.empty((pixels.rows, pixels.columns, 3), np.uint8)
    colours[:, 0::2, 0], colours[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
    for column in (0, 1):
        colours[:, column::2, 1:] = pairs[:, :, 2:]
    return colours
