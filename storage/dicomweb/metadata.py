"""The metadata resource: the headers of a study, a series or an instance (PS3.18 section 10.4.1.1.2).

A study and its series are answered from the object that was prepared for the study's revision; until there is one, and
for an instance, from what was kept with each pack.
"""

from __future__ import annotations

import gzip
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from sqlalchemy.orm import Session

from storage.catalogue.shown import Also
from storage.catalogue.tables import PreparedMetadata, Study
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.conditional import is_unchanged
from storage.dicomweb.corrections import Corrections, find_corrections
from storage.dicomweb.errors import StudyNotFound
from storage.dicomweb.headers import DicomJson, encoded, in_order, read_headers, uid_of
from storage.dicomweb.multipart import gathered
from storage.dicomweb.negotiation import choose_json, parse_accept, takes_gzip
from storage.dicomweb.prepared import Stretch, unpacked
from storage.dicomweb.retrieval import damaged_of, headers_keys_of, some_of
from storage.dicomweb.sending import NOTHING_KEPT, send
from storage.dicomweb.service import ACCESSED, DICOM_JSON, Service, accepted, warning_of
from storage.dicomweb.stored_body import StoredBody, read_bodies
from storage.objects.protocol import ObjectMissing, ObjectStore

LEVEL: Final = 4  # of what is compressed while somebody waits


class Metadata:
    """The handler."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer the headers of what the address names, or that the reader has them already."""
        may_see, also = self._service.access.may_see(request), self._service.access.also_shown(request)
        choose_json(parse_accept(accepted(request)))
        packed = takes_gzip(request.headers.get("Accept-Encoding", ""))

        def load() -> tuple[web.StreamResponse, Generator[bytes] | None]:
            with self._service.transaction() as session:
                study = queries.get_study(session, may_see, request.match_info["study"], also).study
                known = _look_up(session, study, request.match_info, also)
                damaged = damaged_of(session, study, request.match_info, also)
                self._service.access.record(session, request, ACCESSED, study.site_id, study.study_uid)
            headers = {**NOTHING_KEPT, "ETag": f'W/"{known.tag}"', "Vary": "Accept, Accept-Encoding"}
            if damaged:
                headers["Warning"] = warning_of(f"Of damaged instances there are only the headers: {some_of(damaged)}")
            if is_unchanged(request, known.tag):
                return web.Response(status=304, headers=headers), None
            pieces, size_bytes = _read(self._service.objects, known, packed=packed)
            encoding = {"Content-Encoding": "gzip"} if packed else {}
            response = web.StreamResponse(headers={**headers, **encoding, "Content-Type": DICOM_JSON})
            response.content_length = size_bytes
            return response, pieces

        response, pieces = await self._service.run(load)
        return response if pieces is None else await send(request, self._service.run, response, pieces)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A whole gzip answer: a stretch of the object that was prepared, and what stands around it."""

    body: StoredBody
    json_bytes: int
    before: bytes = b""
    behind: bytes = b""

    @property
    def size_bytes(self) -> int:
        return len(self.before) + len(self.body) + len(self.behind)

    def fragments(self, objects: ObjectStore) -> Iterator[bytes | memoryview]:
        yield self.before
        for _, piece in read_bodies(objects, [self.body]):
            yield piece
        yield self.behind


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalogue knows of an answer before anything is read."""

    tag: str
    keys: list[str]
    series_uid: str | None
    sop_instance_uid: str | None
    prepared: _Prepared | None
    corrections: Corrections

    def is_asked(self, dataset: DicomJson) -> bool:
        """Return whether this instance is part of the answer."""
        return self.series_uid in (None, uid_of(dataset, "series")) and self.sop_instance_uid in (
            None,
            uid_of(dataset, "instance"),
        )


def _look_up(session: Session, study: Study, words: web.UrlMappingMatchInfo, also: Also) -> _Known:
    """Return what is known. Raises StudyNotFound."""
    keys = headers_keys_of(session, study, words, also)
    series_uid, sop_instance_uid = words.get("series"), words.get("instance")
    prepared = None if also or sop_instance_uid is not None else _find_prepared(session, study, series_uid)
    tag = "-".join([study.study_id, str(study.revision), str(study.instance_count), *sorted(also)])
    return _Known(tag, keys, series_uid, sop_instance_uid, prepared, find_corrections(session, study, also))


def _find_prepared(session: Session, study: Study, series_uid: str | None) -> _Prepared | None:
    """Return what was prepared of the study as it now is."""
    row = session.get(PreparedMetadata, study.study_id)
    if row is None or study.revision == 0:  # what is not whole yet can be corrected without a new revision
        return None
    if (row.revision, row.instance_count) != (study.revision, study.instance_count):
        return None
    if series_uid is None:
        return _Prepared(StoredBody(row.object_key, [(0, row.size_bytes)]), row.json_bytes)
    if series_uid not in row.series:
        return None
    stretch = Stretch(**row.series[series_uid])
    body = StoredBody(row.object_key, [(stretch.offset, stretch.length)])
    return _Prepared(body, stretch.json_bytes, stretch.before, stretch.behind)


def _read(objects: ObjectStore, known: _Known, *, packed: bool) -> tuple[Generator[bytes], int]:
    """Return the answer in pieces, and its length."""
    if known.prepared is not None:
        with suppress(ObjectMissing):  # a newer one has just taken its place
            return _read_prepared(objects, known.prepared, packed=packed)
    found = in_order(one for one in known.corrections.apply(read_headers(objects, known.keys)) if known.is_asked(one))
    if not found:
        raise StudyNotFound
    text = encoded(found)
    text = gzip.compress(text, LEVEL, mtime=0) if packed else text
    return gathered(iter([text])), len(text)


def _read_prepared(objects: ObjectStore, prepared: _Prepared, *, packed: bool) -> tuple[Generator[bytes], int]:
    pieces = gathered(prepared.fragments(objects))
    pieces = _resumed(next(pieces), pieces)  # an object that is gone is found out now
    return (pieces, prepared.size_bytes) if packed else (unpacked(pieces), prepared.json_bytes)


def _resumed(first: bytes, rest: Generator[bytes]) -> Generator[bytes]:
    yield first
    yield from rest
