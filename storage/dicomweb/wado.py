"""WADO-RS: instances, frames and long values, over the catalogue and the packs (PS3.18 section 10.4).

In the form in which they are stored wherever the reader takes it, else in one that is made for it. The tag of what
lies in one part is strong, so that a reader may go on where a line broke off; that of many parts, which no two answers
divide by the same boundary, is weak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aiohttp import web
from sqlalchemy.orm import Session

from storage.dicomweb import bulkdata, frames
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.catalogue_queries import MaySee, StoredInstance
from storage.dicomweb.conditional import find_range, is_unchanged, tag_of
from storage.dicomweb.multipart import Multipart, Part, gathered
from storage.dicomweb.negotiation import (
    DICOM,
    OCTET_STREAM,
    FileForm,
    Offer,
    choose_bytes,
    choose_files,
    choose_frames,
    is_first_choice,
    parse_accept,
)
from storage.dicomweb.retrieval import StoredFile, files_of
from storage.dicomweb.sending import NOTHING_KEPT, send
from storage.dicomweb.service import ACCESSED, Service, accepted
from storage.dicomweb.stored_body import StoredBody, read_bodies
from storage.dicomweb.transcoded import MadeFile, file_in_form, files_in_form, frames_in_form, offers_of


class Wado:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def instances(self, request: web.Request) -> web.StreamResponse:
        """Answer all instances of a study or of a series, or one."""
        may_see, words = self._service.access.may_see(request), request.match_info
        form = choose_files(parse_accept(accepted(request)), one="instance" in words)

        def load() -> list[StoredFile]:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                files = files_of(session, study, words)
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
                return files

        files: list[StoredFile] = await self._service.run(load)
        tag = tag_of((file.stored_sha256 for file in files), (form,))
        if is_unchanged(request, tag):
            return unchanged(tag, weak=form.is_multipart)
        if all(form.is_as_stored(file.transfer_syntax_uid, file.received_transfer_syntax_uid) for file in files):
            return await self._send_files(request, form, files, tag)
        if "instance" in words:
            return await self._send_made_file(request, form, files[0], tag)
        return await self._send_made(request, DICOM, files_in_form(self._service.objects, files, form), tag)

    async def frames(self, request: web.Request) -> web.StreamResponse:
        """Answer frames of one instance."""
        may_see, words = self._service.access.may_see(request), request.match_info
        numbers = frames.parse_frame_numbers(words["frames"])
        taken = parse_accept(accepted(request))

        def load() -> tuple[StoredInstance, bool, Offer]:
            with self._service.transaction() as session:
                stored = self._find(session, may_see, words)
            frames.refuse_missing(stored.instance, numbers)
            offers = [frames.stored_offer(stored.instance)]
            if not is_first_choice(taken, offers[0], one=len(numbers) == 1):
                offers = offers_of(self._service.objects, stored)
            return stored, *choose_frames(taken, offers, one=len(numbers) == 1)

        stored, is_multipart, offer = await self._service.run(load)
        tag = tag_of([stored.instance.stored_sha256], numbers, [offer, is_multipart])
        if is_unchanged(request, tag):
            return unchanged(tag, weak=is_multipart)
        if offer != frames.stored_offer(stored.instance):
            made = frames_in_form(self._service.objects, stored, numbers, offer)
            if is_multipart:
                parts = ((offer.content_type, [frame]) for frame in made)
                return await self._send_made(request, offer.media_type, parts, tag)
            frame = await self._service.transcode(next, made)
            return await self._send_alone(request, offer.content_type, frame, tag)
        bodies = await self._service.run(frames.read_frames, self._service.objects, stored, numbers)
        if is_multipart:
            return await self._send_parts(request, [(offer.content_type, body) for body in bodies], tag)
        return await self._send_alone(request, offer.content_type, bodies[0], tag)

    async def bulk_data(self, request: web.Request) -> web.StreamResponse:
        """Answer one long binary value of an instance."""
        may_see, words = self._service.access.may_see(request), request.match_info
        is_multipart = choose_bytes(parse_accept(accepted(request)))

        def find() -> StoredInstance:
            with self._service.transaction() as session:
                return self._find(session, may_see, words)

        def load() -> bytes:
            with frames.open_instance(self._service.objects, stored) as file:
                return bulkdata.read_value(file, words["path"])

        stored = await self._service.run(find)
        tag = tag_of([stored.instance.stored_sha256, words["path"], is_multipart])
        value = await self._service.run(load)
        if is_unchanged(request, tag):
            return unchanged(tag, weak=is_multipart)
        if is_multipart:
            return await self._send_parts(request, [(OCTET_STREAM, value)], tag)
        return await self._send_alone(request, OCTET_STREAM, value, tag)

    async def _send_files(
        self, request: web.Request, form: FileForm, files: Sequence[StoredFile], tag: str
    ) -> web.StreamResponse:
        """Send files as they are stored."""
        if form.is_multipart:
            return await self._send_parts(request, [(file.media_type, file.body) for file in files], tag)
        return await self._send_alone(request, files[0].media_type, files[0].body, tag)

    async def _send_made_file(
        self, request: web.Request, form: FileForm, file: StoredFile, tag: str
    ) -> web.StreamResponse:
        """Send one file in a form that is made before anything is said, so that it can still be refused."""
        made: MadeFile | None = await self._service.transcode(file_in_form, self._service.objects, file, form)
        if made is None:
            return await self._send_files(request, form, [file], tag)
        content_type = file.media_type_in(made.syntax)
        if form.is_multipart:
            return await self._send_made(request, content_type, iter([(content_type, made.chunks())]), tag)
        response = web.StreamResponse(headers=head_of(content_type, tag, weak=False))
        response.content_length = made.size_bytes
        return await send(request, self._service.run, response, made.chunks())

    async def _send_made(
        self, request: web.Request, media_type: str, parts: Iterator[tuple[str, Iterable[bytes]]], tag: str
    ) -> web.StreamResponse:
        """Send a multipart answer whose parts are made meanwhile."""
        multipart = Multipart(media_type)
        response = web.StreamResponse(headers=head_of(multipart.content_type, tag, weak=True))
        return await send(request, self._service.transcode, response, multipart.made(parts))

    async def _send_parts(self, request: web.Request, parts: Sequence[Part], tag: str) -> web.StreamResponse:
        """Send a multipart answer whose length is known."""
        multipart = Multipart(parts[0][0])
        response = web.StreamResponse(headers=head_of(multipart.content_type, tag, weak=True))
        response.content_length = multipart.size_bytes(parts)
        pieces = multipart.pieces(self._service.objects, parts)
        return await send(request, self._service.run, response, pieces)

    async def _send_alone(
        self, request: web.Request, content_type: str, body: bytes | StoredBody, tag: str
    ) -> web.StreamResponse:
        """Send one thing without a frame around it, or the range of it that is asked for."""
        headers, status = head_of(content_type, tag, weak=False), 200
        if isinstance(body, bytes) or len(body.spans) == 1:
            headers["Accept-Ranges"] = "bytes"
            asked = find_range(request, tag, len(body))
            if asked is not None:
                start, length = asked
                headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{len(body)}"
                status = 206
                body = body[start : start + length] if isinstance(body, bytes) else body.cut(start, length)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        if isinstance(body, bytes):
            pieces = gathered(iter([body]))
        else:
            pieces = gathered(piece for _, piece in read_bodies(self._service.objects, [body]))
        return await send(request, self._service.run, response, pieces)

    @staticmethod
    def _find(session: Session, may_see: MaySee, words: web.UrlMappingMatchInfo) -> StoredInstance:
        study = queries.get_study(session, may_see, words["study"]).study
        return queries.get_instance(session, study, words["series"], words["instance"])


def head_of(content_type: str, tag: str, *, weak: bool) -> dict[str, str]:
    """Return the headers of an answer of this tag."""
    return {**NOTHING_KEPT, "Vary": "Accept", "ETag": f'{"W/" if weak else ""}"{tag}"', "Content-Type": content_type}


def unchanged(tag: str, *, weak: bool) -> web.Response:
    """Return the answer to a reader who has what it asks for."""
    headers = head_of("", tag, weak=weak)
    del headers["Content-Type"]
    return web.Response(status=304, headers=headers)
