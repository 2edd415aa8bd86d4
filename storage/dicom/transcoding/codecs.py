"""Frames to codestreams and back, without loss. Bytes in, bytes out; native frames are little endian.

imagecodecs lets other threads run while it works, so two threads use two cores (processes would spend the gain on
passing pixels). Codestreams carry whole allocated words, so that a frame comes back to the bit. Pure.
"""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any, Final

from storage.dicom.transcoding.codestreams import bare, find_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.dicom.transcoding.description import PixelDescription

    Samples = NDArray[np.generic]

HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"

# Their decoding is exact arithmetic, the same in every decoder; lossy ones differ in the last bits.
LOSSLESS: Final = frozenset(
    {HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE_LOSSLESS}
    | {JPEG_LOSSLESS, JPEG_LOSSLESS_SV1}
)
WITH_PRECISION_BYTES_MAX: Final = 1024 * 1024
LONGEST_CODE_FACTOR: Final = 4  # no sample's code is longer: LIMIT of ISO/IEC 14495-1, A.2.1
CODESTREAM_HEAD_BYTES_MAX: Final = 1024
_SPIFF: Final = b"\xff\xe8"
_START_OF_IMAGE: Final = b"\xff\xd8"


class DirtySamples(Exception):
    """A sample uses bits above Bits Stored, which readers of a codestream would take for its value."""


class FrameNotDecoded(Exception):
    """The codestream is damaged, of another kind, or not of the described size."""


def encode_htj2k(frame: bytes, image: PixelDescription) -> bytes:
    """Return the HTJ2K codestream (PS3.5 section A.4.4) of a native frame of one sample per pixel.

    Not for colours: coded apart without a transform, browsers' decoders give them plane by plane and show them wrong.

    Raises:
        DirtySamples: see there.
    """
    import imagecodecs

    samples = _as_samples(frame, image)
    _check_clean(samples, image)
    return bytes(imagecodecs.htj2k_encode(samples, reversible=True))


def encode_jpeg_ls(frame: bytes, image: PixelDescription) -> bytes:
    """Return the JPEG-LS codestream (PS3.5 section A.4.3) of a native frame, colours interleaved by pixel.

    No colour transform is used, so that Photometric Interpretation stays true. The codec knows no sign: words of signed
    samples go in as they are (PS3.5 section 8.2.3).

    Raises:
        DirtySamples: see there.
    """
    import imagecodecs

    samples = _as_samples(frame, image)
    _check_clean(samples, image)
    has_precision = image.samples == 1 and not image.is_signed and 8 < image.bits_stored < 16
    if has_precision and len(frame) <= WITH_PRECISION_BYTES_MAX:
        with suppress(RuntimeError):  # its buffer is as large as the frame: too small for noise and for tiny images
            return _encode_with_precision(frame, image)
    unsigned = (samples if image.samples == 1 else _in_pixels(samples, image)).view(f"<u{image.sample_bytes}")
    room = LONGEST_CODE_FACTOR * len(frame) + CODESTREAM_HEAD_BYTES_MAX  # the codec's own is too small for noise
    return _without_spiff(bytes(imagecodecs.jpegls_encode(unsigned, out=room)))


def _encode_with_precision(frame: bytes, image: PixelDescription) -> bytes:
    """Say the true number of bits, which saves up to 2 %; only for small frames, since it lets no other thread run."""
    import jpeg_ls

    return bytes(
        jpeg_ls.encode_pixel_data(
            frame,
            rows=image.rows,
            columns=image.columns,
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=image.bits_stored,
            planar_configuration=0,
        )
    )


def decode(codestream: bytes, transfer_syntax_uid: str, image: PixelDescription, *, planar: bool = False) -> bytes:
    """Return the native little-endian frame, colour by plane when `planar`, else by pixel.

    Samples whose sign the codec does not know are extended from Bits Stored.

    Raises:
        FrameNotDecoded: see there; also for syntaxes that are not in `LOSSLESS`.
    """
    import numpy as np

    size = find_size(bare(codestream))
    if size is not None and prod(size) != image.rows * image.columns * image.samples:
        raise FrameNotDecoded(f"a frame says that it has {size[0]} × {size[1]} × {size[2]} samples")
    try:
        decoded = np.asarray(_decode_samples(codestream, transfer_syntax_uid, image))
    except Exception as exc:  # each codec has its own exceptions for bytes that are no codestream
        raise FrameNotDecoded(f"a frame in {transfer_syntax_uid} cannot be decoded") from exc
    samples = in_words(by_pixel(decoded, image), image)
    if planar and image.samples > 1:
        samples = np.moveaxis(samples, -1, 0)
    return samples.tobytes()


def planes_to_pixels(frame: bytes, image: PixelDescription) -> bytes:
    """Return a native frame that is colour by plane as one that is colour by pixel."""
    import numpy as np

    words = np.frombuffer(frame, f"<u{image.sample_bytes}").reshape(image.samples, image.rows, image.columns)
    return np.moveaxis(words, 0, -1).tobytes()


def _decode_samples(codestream: bytes, syntax: str, image: PixelDescription) -> Any:
    import imagecodecs

    if syntax in (HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL):
        return imagecodecs.htj2k_decode(codestream, planar=False)
    if syntax == JPEG_2000_LOSSLESS:
        return imagecodecs.jpeg2k_decode(codestream, planar=False)
    if syntax == JPEG_LS_LOSSLESS:
        return imagecodecs.jpegls_decode(codestream)
    if syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        return imagecodecs.jpegsof3_decode(codestream)
    if syntax == RLE_LOSSLESS:
        return _decode_rle(codestream, image)
    raise FrameNotDecoded(f"transfer syntax {syntax} is none of those that are decoded")


def _decode_rle(codestream: bytes, image: PixelDescription) -> Samples:
    import numpy as np
    from rle.rle import decode_frame

    planes = decode_frame(codestream, image.rows * image.columns, image.bits_allocated, "<")
    words = np.frombuffer(planes, f"<u{image.sample_bytes}")
    return np.moveaxis(words.reshape(image.samples, image.rows, image.columns), 0, -1)


def by_pixel(decoded: Samples, image: PixelDescription) -> Samples:
    """Return decoded samples as rows, columns and colours. Raises FrameNotDecoded where they are not as many."""
    shape = (image.rows, image.columns, image.samples)
    if decoded.size != image.rows * image.columns * image.samples:
        raise FrameNotDecoded(f"a frame has {decoded.size} samples, {shape} are described")
    return decoded.reshape(shape)


def in_words(samples: Samples, image: PixelDescription) -> Samples:
    """Return decoded samples in words of Bits Allocated. Raises FrameNotDecoded where they do not fit."""
    import numpy as np

    if not image.sample_bytes or samples.dtype.itemsize > image.sample_bytes or samples.dtype.kind not in "iu":
        raise FrameNotDecoded(f"samples of {samples.dtype} do not fit into {image.bits_allocated} bits")
    if samples.dtype.kind == "u" and image.is_signed and image.bits_stored < image.bits_allocated:
        sign = 1 << (image.bits_stored - 1)
        values = samples.astype(np.int64)
        extended = (values & (2 * sign - 1)) - ((values & sign) << 1)
        samples = np.where(values < 2 * sign, extended, values)
    return samples.astype(f"<{'i' if samples.dtype.kind == 'i' else 'u'}{image.sample_bytes}")


def _as_samples(frame: bytes, image: PixelDescription) -> Samples:
    import numpy as np

    kind = "i" if image.is_signed else "u"
    samples = np.frombuffer(frame, f"<{kind}{image.sample_bytes}")
    return samples.reshape(image.rows, image.columns) if image.samples == 1 else samples


def _in_pixels(samples: Samples, image: PixelDescription) -> Samples:
    """Return a native frame's samples as rows, columns and colours."""
    import numpy as np

    if image.planar_configuration == 1:
        by_plane = samples.reshape(image.samples, image.rows, image.columns)
        return np.ascontiguousarray(np.moveaxis(by_plane, 0, -1))
    return samples.reshape(image.rows, image.columns, image.samples)


def _check_clean(samples: Samples, image: PixelDescription) -> None:
    if image.bits_stored == image.bits_allocated:
        return
    low, high = (-(1 << (image.bits_stored - 1)), (1 << (image.bits_stored - 1)) - 1) if image.is_signed else (0, 0)
    if not image.is_signed:
        high = (1 << image.bits_stored) - 1
    values: Any = samples
    if int(values.min()) < low or int(values.max()) > high:
        raise DirtySamples(f"samples use more than the {image.bits_stored} bits that are stored")


def _without_spiff(codestream: bytes) -> bytes:
    """Return a JPEG-LS codestream without the SPIFF header, which DICOM has no use for."""
    offset = 2
    while codestream[offset : offset + 2] == _SPIFF:
        offset += 2 + int.from_bytes(codestream[offset + 2 : offset + 4], "big")
    return _START_OF_IMAGE + codestream[offset:]
