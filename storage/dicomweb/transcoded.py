"""Files and frames in another form than the stored one, made while somebody waits for them.

Without loss where that is possible at all; an image that was stored with loss is decoded only for a reader who asks for
that in so many words. Memory is bounded: a file larger than that is made on disk, frames come one by one. Nothing that
is made is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import IO, Final

from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN, DatasetTruncated, NotDicom
from storage.dicom.transcoding import CannotWrite, choose_syntax, write_in_syntax
from storage.dicom.transcoding.codecs import (
    HTJ2K_LOSSLESS,
    JPEG_LS_LOSSLESS,
    LOSSLESS,
    DirtySamples,
    FrameNotDecoded,
    decode,
    encode_htj2k,
    encode_jpeg_ls,
)
from storage.dicom.transcoding.description import PixelDescription, obstacle_in_image, read_layout
from storage.dicom.transcoding.syntaxes import LOSSY
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.errors import NotAcceptable
from storage.dicomweb.frames import MEDIA_TYPES, REWRITTEN_HERE, frame_body, open_instance, stored_offer
from storage.dicomweb.negotiation import OCTET_STREAM, FileForm, Offer
from storage.dicomweb.retrieval import StoredFile
from storage.dicomweb.stored_body import read_bodies, read_body
from storage.objects.protocol import ObjectStore
from storage.objects.ranged import open_range

IN_MEMORY_BYTES_MAX: Final = 8 * 1024 * 1024  # of one file that is made; then on disk
DECODED_BYTES_MAX: Final = 64 * 1024 * 1024  # of a lossy image, which is decoded as a whole
CHUNK_BYTES: Final = 1024 * 1024
_SAMPLES_MAX: Final = 3
_ENCODERS: Final = {JPEG_LS_LOSSLESS: encode_jpeg_ls, HTJ2K_LOSSLESS: encode_htj2k}


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file in another syntax; closed when its chunks are taken or it is forgotten."""

    syntax: str
    size_bytes: int
    file: IO[bytes]

    def chunks(self) -> Generator[bytes]:
        """Yield its bytes."""
        with self.file:
            while chunk := self.file.read(CHUNK_BYTES):
                yield chunk


def file_in_form(objects: ObjectStore, file: StoredFile, form: FileForm) -> MadeFile | None:
    """Return the file in the dearest form that there is of it; None when that is how it is stored.

    Raises:
        NotAcceptable: there is none.
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    reasons: list[str] = []
    for syntax in form.in_order(file.transfer_syntax_uid, file.received_transfer_syntax_uid):
        if syntax == file.transfer_syntax_uid:
            return None
        try:
            return _made(objects, file, syntax, form)
        except CannotWrite as exc:
            reasons.append(str(exc))
    if form.by_default:
        return None
    raise NotAcceptable(f"the instance is stored in {file.transfer_syntax_uid}: {'; '.join(reasons)}")


def files_in_form(
    objects: ObjectStore, files: Sequence[StoredFile], form: FileForm
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield Content-Type and bytes of each file; what has no form that is taken comes as it is stored, and says so.

    Raises:
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    for file in files:
        made = None
        with suppress(NotAcceptable):
            made = file_in_form(objects, file, form)
        if made is None:
            yield file.media_type, (bytes(piece) for _, piece in read_bodies(objects, [file.body]))
        else:
            with closing(made.chunks()) as chunks:
                yield file.media_type_in(made.syntax), chunks


def offers_of(objects: ObjectStore, stored: StoredInstance) -> list[Offer]:
    """Return the forms in which the instance's frames can be given, the stored one first."""
    offers = [stored_offer(stored.instance)]
    syntax = stored.instance.transfer_syntax_uid
    if syntax in REWRITTEN_HERE or not stored.instance.frame_spans:
        return offers
    if offers[0].media_type != OCTET_STREAM and syntax in LOSSLESS:
        offers.append(Offer(OCTET_STREAM, EXPLICIT_LITTLE_ENDIAN))
    if syntax in LOSSLESS or offers[0].syntax == EXPLICIT_LITTLE_ENDIAN:
        image = _describe(objects, stored)
        if image is not None and obstacle_in_image(image) is None:
            codecs = [JPEG_LS_LOSSLESS] if image.samples > 1 else [JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS]
            offers += [Offer(MEDIA_TYPES[codec], codec) for codec in codecs if codec != syntax]
    return offers


def frames_in_form(
    objects: ObjectStore, stored: StoredInstance, numbers: Sequence[int], offer: Offer
) -> Generator[bytes]:
    """Yield the frames in a form that is not the stored one.

    Raises:
        NotAcceptable: the samples have no such form.
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    image = _describe(objects, stored)
    if image is None:
        raise NotAcceptable("the instance's frames are only given as they are stored")
    syntax = stored.instance.transfer_syntax_uid
    encode = _ENCODERS.get(offer.syntax)
    for number in numbers:
        frame = read_body(objects, frame_body(stored, number))
        try:
            if syntax in LOSSLESS:
                frame = decode(frame, syntax, image, planar=image.planar_configuration == 1)
            yield frame if encode is None else encode(frame, image)
        except (FrameNotDecoded, DirtySamples) as exc:
            raise NotAcceptable(f"frame {number} is only given as it is stored: {exc}") from exc


def _made(objects: ObjectStore, file: StoredFile, syntax: str, form: FileForm) -> MadeFile:
    """Write the file in this syntax. Raises CannotWrite."""
    if file.transfer_syntax_uid in LOSSY and (form.by_default or file.samples * _SAMPLES_MAX > DECODED_BYTES_MAX):
        raise CannotWrite("it was compressed with loss")
    made = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX)  # noqa: SIM115 -- the answer closes it
    try:
        _write(objects, file, syntax, made)
    except BaseException:
        made.close()
        raise
    size_bytes = made.tell()
    made.seek(0)
    return MadeFile(syntax, size_bytes, made)


def _write(objects: ObjectStore, file: StoredFile, syntax: str, writer: IO[bytes]) -> None:
    with open_range(objects, file.object_key, file.offset_bytes, file.size_bytes) as source:
        if choose_syntax(source, [syntax]) is None:
            raise CannotWrite(f"it has no form in {syntax}")
        write_in_syntax(source, syntax, writer)


def _describe(objects: ObjectStore, stored: StoredInstance) -> PixelDescription | None:
    """Return what the instance says of its pixels; None when that cannot be read."""
    with open_instance(objects, stored) as file:
        try:
            return read_layout(file).description
        except (NotDicom, DatasetTruncated):
            return None
