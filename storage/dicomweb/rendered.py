"""Rendered resources and thumbnails: studies, series, instances, frames as pictures (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from sqlalchemy.orm import Session

from storage.catalogue.tables import Study
from storage.dicom.rendering import IMAGE_TYPES
from storage.dicomweb import bulkdata, frames
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.answers import Answers, unchanged
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.conditional import is_unchanged, tag_of
from storage.dicomweb.errors import BadQuery, BulkDataNotFound, FrameNotFound, NotAcceptable, ThumbnailNotFound
from storage.dicomweb.negotiation import Taken, choose_images, parse_accept
from storage.dicomweb.pictures import Image, one_picture, pictures_of
from storage.dicomweb.rendering_query import Asked, parse_rendering, parse_thumbnail
from storage.dicomweb.retrieval import Retrieved, find_typical, images_of
from storage.dicomweb.service import ACCESSED, Service, accepted

PICTURES_MAX: Final = 10_000  # in one answer
RENDERING: Final = 1  # counted up when the same image gives another picture, for the tags
PDF: Final = "application/pdf"
ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
_DOCUMENT: Final = "00420011"

Finder = Callable[[Session, Study, Mapping[str, str]], "_Found"]


@dataclass(frozen=True, slots=True)
class _Found:
    """The images that are asked for, and notes on those that are not given."""

    images: Sequence[Image]
    lacking: tuple[str, ...] = ()


class Rendered:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service, self._answers = service, Answers(service)

    async def rendered(self, request: web.Request) -> web.StreamResponse:
        """Answer the pictures of a study, a series, an instance, or some of its frames."""
        asked, taken = parse_rendering(request.query), parse_accept(accepted(request))
        numbers = frames.parse_frame_numbers(request.match_info["frames"]) if "frames" in request.match_info else None

        def find(session: Session, study: Study, words: Mapping[str, str]) -> _Found:
            if "instance" not in words:
                return _images(images_of(session, study, words), study)
            stored = queries.get_instance(session, study, words["series"], words["instance"])
            return _Found([Image(stored, _frames_of(stored, numbers), study.study_uid, words["series"])])

        found = await self._load(request, find)
        return await self.give(request, asked, taken, found.images, lacking=found.lacking)

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """Answer a small picture of a study, a series, an instance or a frame: of the middle where there are many."""
        asked, taken = parse_thumbnail(request.query), parse_accept(accepted(request))
        numbers = frames.parse_frame_numbers(request.match_info["frames"]) if "frames" in request.match_info else None
        if numbers is not None and len(numbers) > 1:
            raise BadQuery("a thumbnail is of one frame")

        def find(session: Session, study: Study, words: Mapping[str, str]) -> _Found:
            if "instance" in words:
                stored = queries.get_instance(session, study, words["series"], words["instance"])
                typical = None if not stored.instance.frame_count else (stored, words["series"])
            else:
                typical = find_typical(session, study, words)
            if typical is None:
                raise ThumbnailNotFound
            stored, series_uid = typical
            shown = [(stored.instance.frame_count + 1) // 2] if numbers is None else _frames_of(stored, numbers)
            return _Found([Image(stored, shown, study.study_uid, series_uid)])

        found = await self._load(request, find)
        return await self.give(request, asked, taken, found.images)

    async def give(
        self,
        request: web.Request,
        asked: Asked,
        taken: Sequence[Taken],
        images: Sequence[Image],
        *,
        lacking: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        """Send the pictures, alone or in a multipart answer. Raises NotAcceptable."""
        count = sum(len(image.numbers) for image in images)
        if count > PICTURES_MAX:
            raise NotAcceptable(f"these are {count} pictures, at most {PICTURES_MAX} come together: ask for parts")
        if not images[0].numbers:
            return await self._document(request, taken, images[0])
        is_multipart, media_type = choose_images(taken, IMAGE_TYPES, one=count == 1)
        tag = tag_of((image.facts for image in images), [asked, is_multipart, media_type, RENDERING])
        if is_unchanged(request, tag):
            return unchanged(tag, weak=is_multipart)
        if is_multipart:
            parts = pictures_of(self._service.objects, images, asked.wishes, media_type)
            return await self._answers.pictures(request, media_type, parts, tag, notes=asked.notes, lacking=lacking)
        picture, notes = await self._service.transcode(
            one_picture, self._service.objects, images[0], asked.wishes, media_type
        )
        return await self._answers.alone(request, media_type, picture, tag, (*asked.notes, *notes))

    async def _document(self, request: web.Request, taken: Sequence[Taken], image: Image) -> web.StreamResponse:
        """Send what lies in an encapsulated PDF; anything else that is no image is not shown. Raises NotAcceptable."""
        stored = image.stored
        if stored.instance.sop_class_uid != ENCAPSULATED_PDF:
            raise NotAcceptable(
                f"an instance of SOP class {stored.instance.sop_class_uid} is no image; nothing is shown"
            )
        is_multipart, _ = choose_images(taken, [PDF], one=True)
        tag = tag_of(image.facts, [PDF, is_multipart, RENDERING])
        if is_unchanged(request, tag):
            return unchanged(tag, weak=is_multipart)

        def read() -> bytes:
            try:
                with frames.open_instance(self._service.objects, stored) as file:
                    return bulkdata.read_value(file, _DOCUMENT).removesuffix(b"\0")
            except BulkDataNotFound as exc:
                raise NotAcceptable("there is no document in it") from exc

        document = await self._service.run(read)
        if is_multipart:
            return await self._answers.parts(request, [(PDF, document)], tag)
        return await self._answers.alone(request, PDF, document, tag)

    async def _load(self, request: web.Request, find: Finder) -> _Found:
        """Return what `find` finds in the study, of which the audit trail says from now on that it was looked at.

        Raises:
            StudyNotFound, StudyAmbiguous: see there.
        """
        may_see, words = self._service.access.may_see(request), request.match_info

        def load() -> _Found:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                found = find(session, study, words)
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
                return found

        found: _Found = await self._service.run(load)
        return found


def _images(retrieved: Retrieved[tuple[StoredInstance, str]], study: Study) -> _Found:
    images = [Image(stored, _frames_of(stored, None), study.study_uid, uid) for stored, uid in retrieved.given]
    return _Found(images, retrieved.notes)


def _frames_of(stored: StoredInstance, numbers: Sequence[int] | None) -> Sequence[int]:
    """Return the frames that are asked for, all of them by default; none of what is no image. Raises FrameNotFound."""
    count = stored.instance.frame_count
    if numbers is None:
        return range(1, count + 1)
    if not count:
        raise FrameNotFound("the instance is no image")
    frames.refuse_missing(stored.instance, numbers)
    return numbers
