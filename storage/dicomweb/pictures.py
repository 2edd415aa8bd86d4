"""Pictures of stored frames, made while somebody waits for them: one is read, decoded and encoded, then the next.

Nothing that is made is kept. What is too large is refused before any of it is decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.dicom.rendering import (
    FRAME_BYTES_MAX,
    CannotRender,
    ImageHeader,
    OutsideImage,
    Wishes,
    read_image_header,
    read_native_frame,
    render,
)
from storage.dicomweb.addresses import frame_address
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.errors import BadQuery, DicomwebError, NotAcceptable
from storage.dicomweb.frames import REWRITTEN_HERE, frame_body, open_instance
from storage.dicomweb.multipart import LocatedPart
from storage.dicomweb.stored_body import read_body
from storage.objects.protocol import ObjectStore

OVERLAYS_LEFT_OUT = "Overlays are left out of the picture"
_PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Image:
    """A stored image, which of its frames are asked for, and the UIDs of its address."""

    stored: StoredInstance
    numbers: Sequence[int]
    study_uid: str
    series_uid: str

    @property
    def facts(self) -> tuple[object, ...]:
        """Return what determines the pictures, but for the wishes."""
        return self.stored.instance.stored_sha256, *self.numbers

    def address(self, number: int) -> str:
        """Return where the picture of one frame is."""
        uids = {"study": self.study_uid, "series": self.series_uid}
        return frame_address({**uids, "instance": self.stored.instance.sop_instance_uid}, number)


def one_picture(objects: ObjectStore, image: Image, wishes: Wishes, media_type: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the picture of an image's one frame, and notes on what it lacks.

    Raises:
        NotAcceptable: it cannot be shown; the message says why.
        BadQuery: the region is not inside of it.
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    header = _header_of(objects, image.stored)
    picture = _picture(objects, image.stored, header, image.numbers[0], wishes, media_type)
    return picture, (OVERLAYS_LEFT_OUT,) if header.has_overlays else ()


def pictures_of(
    objects: ObjectStore, images: Sequence[Image], wishes: Wishes, media_type: str
) -> Iterator[LocatedPart]:
    """Yield the picture of each frame with its own address; in the place of one that cannot be shown, why.

    Raises:
        ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
    """
    for image in images:
        header: ImageHeader | None = None
        for number in image.numbers:
            try:
                header = header or _header_of(objects, image.stored)
                picture = _picture(objects, image.stored, header, number, wishes, media_type)
                yield media_type, image.address(number), [picture]
            except DicomwebError as error:
                words = {"type": "about:blank", "title": error.code, "code": error.code, "detail": str(error)}
                yield _PROBLEM, image.address(number), [json.dumps(words | {"status": error.status}).encode()]


def _header_of(objects: ObjectStore, stored: StoredInstance) -> ImageHeader:
    try:
        with open_instance(objects, stored) as file:
            return read_image_header(file)
    except CannotRender as exc:
        raise NotAcceptable(f"the image is not shown: {exc}") from exc


def _picture(
    objects: ObjectStore, stored: StoredInstance, header: ImageHeader, number: int, wishes: Wishes, media_type: str
) -> bytes:
    try:
        return render(_frame(objects, stored, header, number), header, number, wishes, media_type)
    except OutsideImage as exc:
        raise BadQuery(str(exc)) from exc
    except CannotRender as exc:
        raise NotAcceptable(f"the image is not shown: {exc}") from exc


def _frame(objects: ObjectStore, stored: StoredInstance, header: ImageHeader, number: int) -> bytes:
    """Return the stored bytes of a frame; of uncompressed ones in little endian."""
    if header.transfer_syntax_uid in REWRITTEN_HERE or not stored.instance.frame_spans:
        with open_instance(objects, stored) as file:
            return read_native_frame(file, header, number)
    body = frame_body(stored, number)
    if len(body) > 2 * FRAME_BYTES_MAX:
        raise CannotRender("a frame has too many bytes")
    return read_body(objects, body)
