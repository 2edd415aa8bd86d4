"""WADO-URI: one instance or one picture, named in the query of one address (PS3.18 section 9).

What is asked for stands in the query: it is never logged, nor repeated in an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN
from storage.dicom.rendering import JPEG
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.answers import Answers, unchanged
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.conditional import is_unchanged, tag_of
from storage.dicomweb.errors import BadQuery, NotAcceptable
from storage.dicomweb.negotiation import ANYTHING, DICOM, FileForm, Taken, parse_accept
from storage.dicomweb.pictures import Image
from storage.dicomweb.rendered import Rendered
from storage.dicomweb.rendering_query import Asked, parse_uri_rendering
from storage.dicomweb.retrieval import Retrieved, StoredFile, files_of
from storage.dicomweb.service import ACCESSED, Service

UIDS: Final = {"studyUID": "study", "seriesUID": "series", "objectUID": "instance"}
NOT_DONE: Final = {
    "anonymize": "instances are given as they are: nothing is de-identified here",
    "presentationUID": "presentation states are not applied here",
    "presentationSeriesUID": "presentation states are not applied here",
}
_ONLY_PICTURES: Final = (
    *("frameNumber", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality"),
    *("annotation", "imageAnnotation"),
)


class WadoUri:
    """The handler."""

    def __init__(self, service: Service, rendered: Rendered) -> None:
        self._service, self._rendered, self._answers = service, rendered, Answers(service)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Answer one instance as a file or as a picture."""
        query = request.query
        words = _parse_address(query)
        taken = _parse_content_type(request)
        if any(one.media_type == DICOM for one in taken[:1]):
            return await self._file(request, words)
        asked, number = parse_uri_rendering(query), _parse_frame_number(query)
        if "transferSyntax" in query:
            raise BadQuery("transferSyntax is only for application/dicom")
        may_see = self._service.access.may_see(request)

        def load() -> tuple[StoredInstance, Image]:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                stored = queries.get_instance(session, study, words["series"], words["instance"])
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
                return stored, Image(stored, _frames(stored, number), study.study_uid, words["series"])

        stored, image = await self._service.run(load)
        if number is None and stored.instance.frame_count > 1:
            note = f"This is frame 1 of {stored.instance.frame_count}: frameNumber chooses another"
            asked = Asked(asked.wishes, (*asked.notes, note))
        return await self._rendered.give(request, asked, taken, [image])

    async def _file(self, request: web.Request, words: Mapping[str, str]) -> web.StreamResponse:
        """Answer the Part 10 file; in Explicit VR Little Endian where no transfer syntax is named (section 9.4.1.2)."""
        needless = [name for name in _ONLY_PICTURES if name in request.query]
        if needless:
            raise BadQuery(f"{needless[0]} is only for pictures, not for {DICOM}")
        may_see = self._service.access.may_see(request)
        syntax = request.query.get("transferSyntax")
        form = FileForm(
            is_multipart=False, syntaxes=((1.0, syntax or EXPLICIT_LITTLE_ENDIAN),), by_default=syntax is None
        )

        def load() -> Retrieved[StoredFile]:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                files = files_of(session, study, words)
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
                return files

        files: Retrieved[StoredFile] = await self._service.run(load)
        tag = tag_of((file.stored_sha256 for file in files.given), (form,))
        if is_unchanged(request, tag):
            return unchanged(tag, weak=False)
        return await self._answers.files(request, form, files.given, tag, one=True)


def _parse_address(query: Mapping[str, str]) -> dict[str, str]:
    """Return the UIDs that the query names. Raises BadQuery and NotAcceptable."""
    if query.get("requestType") != "WADO":
        raise BadQuery("requestType is WADO")
    absent = [name for name in UIDS if not query.get(name)]
    if absent:
        raise BadQuery(f"{', '.join(absent)} must be given")
    for name, words in NOT_DONE.items():
        if name in query:
            raise NotAcceptable(words)
    return {word: query[name] for name, word in UIDS.items()}


def _parse_content_type(request: web.Request) -> list[Taken]:
    """Return what is taken: contentType counts alone, else Accept, else a JPEG picture (section 9.3)."""
    # A `+` of the query is a blank by now, so that types with one are compared by parse_accept alone.
    texts = request.query.getall("contentType", []) or request.headers.getall("Accept", [])
    taken = [one for one in parse_accept(texts) if one.is_multipart is not True]
    if not taken:
        raise NotAcceptable(f"this is given as {DICOM}, or shown as a picture")
    return [Taken(JPEG, is_multipart=False, syntax=None, quality=1.0) if _is_any(one) else one for one in taken]


def _is_any(one: Taken) -> bool:
    return one.media_type == ANYTHING


def _parse_frame_number(query: Mapping[str, str]) -> int | None:
    text = query.get("frameNumber")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise BadQuery("frameNumber is a whole number from 1")
    return int(text)


def _frames(stored: StoredInstance, number: int | None) -> list[int]:
    """Return the one frame that is shown; none of what is no image. Raises BadQuery (section 9.5.2.1)."""
    count = stored.instance.frame_count
    if number is not None and number > count:
        raise BadQuery(f"the instance has {count} frames")
    return [number or 1] if count else []
