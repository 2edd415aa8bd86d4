"""WADO-RS: instances, frames and long values, over the catalogue and the packs (PS3.18 section 10.4).

In the form in which they are stored wherever the reader takes it, else in one that is made for it.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from sqlalchemy.orm import Session

from storage.dicomweb import bulkdata, frames
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.answers import Answers, unchanged
from storage.dicomweb.catalogue_queries import StoredInstance
from storage.dicomweb.conditional import is_unchanged, tag_of
from storage.dicomweb.negotiation import (
    OCTET_STREAM,
    Offer,
    choose_bytes,
    choose_files,
    choose_frames,
    is_first_choice,
    parse_accept,
)
from storage.dicomweb.retrieval import Retrieved, StoredFile, files_of
from storage.dicomweb.service import ACCESSED, Service, accepted
from storage.dicomweb.transcoded import frames_in_form, offers_of


class Wado:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service, self._answers = service, Answers(service)

    async def instances(self, request: web.Request) -> web.StreamResponse:
        """Answer all instances of a study or of a series, or one."""
        may_see, words = self._service.access.may_see(request), request.match_info
        also = self._service.access.also_shown(request)
        form = choose_files(parse_accept(accepted(request)), one="instance" in words)

        def load() -> Retrieved[StoredFile]:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, words["study"], also).study
                files = files_of(session, study, words, also)
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
                return files

        files: Retrieved[StoredFile] = await self._service.run(load)
        tag = tag_of((file.stored_sha256 for file in files.given), (form,), files.damaged)
        if is_unchanged(request, tag):
            return unchanged(tag, weak=form.is_multipart)
        return await self._answers.files(request, form, files.given, tag, one="instance" in words, lacking=files.notes)

    async def frames(self, request: web.Request) -> web.StreamResponse:
        """Answer frames of one instance."""
        words = request.match_info
        find = self._finder(request)
        numbers = frames.parse_frame_numbers(words["frames"])
        taken = parse_accept(accepted(request))

        def load() -> tuple[StoredInstance, bool, Offer]:
            with self._service.transaction() as session:
                stored = find(session)
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
                return await self._answers.made(request, offer.media_type, parts, tag)
            frame = await self._service.transcode(next, made)
            return await self._answers.alone(request, offer.content_type, frame, tag)
        bodies = await self._service.run(frames.read_frames, self._service.objects, stored, numbers)
        if is_multipart:
            return await self._answers.parts(request, [(offer.content_type, body) for body in bodies], tag)
        return await self._answers.alone(request, offer.content_type, bodies[0], tag)

    async def bulk_data(self, request: web.Request) -> web.StreamResponse:
        """Answer one long binary value of an instance."""
        words, find = request.match_info, self._finder(request)
        is_multipart = choose_bytes(parse_accept(accepted(request)))

        def find_stored() -> StoredInstance:
            with self._service.transaction() as session:
                return find(session)

        def load() -> bytes:
            with frames.open_instance(self._service.objects, stored) as file:
                return bulkdata.read_value(file, words["path"])

        stored = await self._service.run(find_stored)
        tag = tag_of([stored.instance.stored_sha256, words["path"], is_multipart])
        value = await self._service.run(load)
        if is_unchanged(request, tag):
            return unchanged(tag, weak=is_multipart)
        if is_multipart:
            return await self._answers.parts(request, [(OCTET_STREAM, value)], tag)
        return await self._answers.alone(request, OCTET_STREAM, value, tag)

    def _finder(self, request: web.Request) -> Callable[[Session], StoredInstance]:
        """Return what finds the instance that the address names, within the caller's right."""
        may_see, also = self._service.access.may_see(request), self._service.access.also_shown(request)
        words = request.match_info

        def find(session: Session) -> StoredInstance:
            study = queries.get_study(session, may_see, words["study"], also).study
            return queries.get_instance(session, study, words["series"], words["instance"], also)

        return find
