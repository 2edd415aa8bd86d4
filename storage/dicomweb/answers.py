"""How files, frames and pictures go out: alone or in a multipart answer, stored ones read and others made meanwhile.

The tag of what lies in one part is strong, so that a reader may go on where a line broke off; that of many parts, which
no two answers divide by the same boundary, is weak.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

from aiohttp import web

from storage.dicomweb.conditional import find_range
from storage.dicomweb.multipart import LocatedPart, Multipart, Part, gathered
from storage.dicomweb.negotiation import DICOM, FileForm
from storage.dicomweb.retrieval import StoredFile
from storage.dicomweb.sending import NOTHING_KEPT, send
from storage.dicomweb.service import Service, warning_of
from storage.dicomweb.stored_body import StoredBody, read_bodies
from storage.dicomweb.transcoded import MadeFile, file_in_form, files_in_form


class Answers:
    """The answers of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def files(
        self,
        request: web.Request,
        form: FileForm,
        files: Sequence[StoredFile],
        tag: str,
        *,
        one: bool,
        lacking: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        """Send Part 10 files in the form that is taken; `one` when a single file was asked for.

        `lacking` says what of the resource is left out; the answer is partial then.

        Raises:
            NotAcceptable: a single file has no such form.
        """
        if all(form.is_as_stored(file.transfer_syntax_uid, file.received_transfer_syntax_uid) for file in files):
            return await self._stored_files(request, form, files, tag, lacking)
        if one:
            return await self._made_file(request, form, files[0], tag)
        multipart, parts = Multipart(DICOM), files_in_form(self._service.objects, files, form)
        return await self._made(request, multipart, multipart.made(parts), tag, lacking=lacking)

    async def made(
        self, request: web.Request, media_type: str, parts: Iterator[tuple[str, Iterable[bytes]]], tag: str
    ) -> web.StreamResponse:
        """Send a multipart answer whose parts are made meanwhile."""
        multipart = Multipart(media_type)
        return await self._made(request, multipart, multipart.made(parts), tag)

    async def pictures(
        self,
        request: web.Request,
        media_type: str,
        parts: Iterable[LocatedPart],
        tag: str,
        *,
        notes: tuple[str, ...],
        lacking: tuple[str, ...],
    ) -> web.StreamResponse:
        """Send a multipart answer of pictures that are made meanwhile; `notes` tell what is not done to them."""
        multipart = Multipart(media_type)
        return await self._made(request, multipart, multipart.located(parts), tag, notes=notes, lacking=lacking)

    async def parts(
        self, request: web.Request, parts: Sequence[Part], tag: str, lacking: tuple[str, ...] = ()
    ) -> web.StreamResponse:
        """Send a multipart answer whose length is known."""
        multipart = Multipart(parts[0][0])
        headers = {**head_of(multipart.content_type, tag, weak=True), **_warning(lacking)}
        response = web.StreamResponse(status=_status(lacking), headers=headers)
        response.content_length = multipart.size_bytes(parts)
        pieces = multipart.pieces(self._service.objects, parts)
        return await send(request, self._service.run, response, pieces)

    async def alone(
        self,
        request: web.Request,
        content_type: str,
        body: bytes | StoredBody,
        tag: str,
        notes: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        """Send one thing without a frame around it, or the range of it that is asked for."""
        headers, status = {**head_of(content_type, tag, weak=False), **_warning(notes)}, 200
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

    async def _made(
        self,
        request: web.Request,
        multipart: Multipart,
        pieces: Generator[bytes],
        tag: str,
        *,
        notes: tuple[str, ...] = (),
        lacking: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        headers = {**head_of(multipart.content_type, tag, weak=True), **_warning((*notes, *lacking))}
        response = web.StreamResponse(status=_status(lacking), headers=headers)
        return await send(request, self._service.transcode, response, pieces)

    async def _stored_files(
        self,
        request: web.Request,
        form: FileForm,
        files: Sequence[StoredFile],
        tag: str,
        lacking: tuple[str, ...] = (),
    ) -> web.StreamResponse:
        """Send files as they are stored."""
        if form.is_multipart:
            return await self.parts(request, [(file.media_type, file.body) for file in files], tag, lacking)
        return await self.alone(request, files[0].media_type, files[0].body, tag)

    async def _made_file(self, request: web.Request, form: FileForm, file: StoredFile, tag: str) -> web.StreamResponse:
        """Send one file in a form that is made before anything is said, so that it can still be refused."""
        made: MadeFile | None = await self._service.transcode(file_in_form, self._service.objects, file, form)
        if made is None:
            return await self._stored_files(request, form, [file], tag)
        content_type = file.media_type_in(made.syntax)
        if form.is_multipart:
            return await self.made(request, content_type, iter([(content_type, made.chunks())]), tag)
        response = web.StreamResponse(headers=head_of(content_type, tag, weak=False))
        response.content_length = made.size_bytes
        return await send(request, self._service.run, response, made.chunks())


def head_of(content_type: str, tag: str, *, weak: bool) -> dict[str, str]:
    """Return the headers of an answer of this tag."""
    return {**NOTHING_KEPT, "Vary": "Accept", "ETag": f'{"W/" if weak else ""}"{tag}"', "Content-Type": content_type}


def unchanged(tag: str, *, weak: bool) -> web.Response:
    """Return the answer to a reader who has what it asks for."""
    headers = head_of("", tag, weak=weak)
    del headers["Content-Type"]
    return web.Response(status=304, headers=headers)


def _status(lacking: tuple[str, ...]) -> int:
    """Return the status of an answer that gives only some of what was asked for (PS3.18 section 10.4.3.1)."""
    return 206 if lacking else 200


def _warning(notes: tuple[str, ...]) -> dict[str, str]:
    return {"Warning": warning_of(*notes)} if notes else {}
