"""The DICOMweb service: QIDO-RS and the part of WADO-RS that a viewer needs, over the catalogue and the packs.

Knows nothing of accounts: who may see what comes in as a callable and becomes a condition of every query. Holds
nothing that must survive.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import web
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from storage.dicomweb import bulkdata, frames
from storage.dicomweb import catalogue_queries as queries
from storage.dicomweb.catalogue_queries import MaySee, StoredInstance
from storage.dicomweb.errors import DicomwebError, NotAcceptable, StudyNotFound
from storage.dicomweb.json_rows import DicomJson, instance_json, series_json, study_json
from storage.dicomweb.multipart import Multipart
from storage.objects.protocol import ObjectStore

DICOM_JSON: Final = "application/dicom+json"
ACCESSED: Final = "110103"  # DICOM Instances Accessed (PS3.15 A.5)

UIDS: Final = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}  # as they stand in addresses


class Run(Protocol):
    """Calls a synchronous function off the event loop."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]:
        """Return what the function returns."""


class Access(Protocol):
    """Who may see what, from the part of the hub that knows its people."""

    def may_see(self, request: web.Request) -> MaySee:
        """Return the caller's right; raises when nobody is logged in."""

    def record(self, session: Session, request: web.Request, event_code: str, site_id: str, study_uid: str) -> None:
        """Write to the audit trail that the caller opened the study's images."""


class Dicomweb:
    """The handlers and what they stand on."""

    def __init__(self, engine: Engine, objects: ObjectStore, run: Run, access: Access) -> None:
        self._engine, self._objects, self._run, self._access = engine, objects, run, access

    # ---- QIDO-RS (PS3.18 section 10.6) ---------------------------------------------------------------------------

    async def search_studies(self, request: web.Request) -> web.Response:
        """Answer the studies that match the query and that the caller may see."""
        may_see, query = self._access.may_see(request), dict(request.query)

        def search() -> list[DicomJson]:
            with self._transaction() as session:
                return [study_json(row) for row in queries.find_studies(session, may_see, query)]

        return dicom_json(await self._run(search))

    async def search_series(self, request: web.Request) -> web.Response:
        """Answer the series of a study."""
        may_see, study_uid = self._access.may_see(request), request.match_info["study"]

        def search() -> list[DicomJson]:
            with self._transaction() as session:
                study = queries.get_study(session, may_see, study_uid).study
                return [series_json(study.study_uid, series) for series in queries.series_of(session, study)]

        return dicom_json(await self._run(search))

    async def search_instances(self, request: web.Request) -> web.Response:
        """Answer the instances of a study or of a series."""
        may_see, words = self._access.may_see(request), request.match_info

        def search() -> list[DicomJson]:
            with self._transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                rows = queries.instances_of(session, study, words.get("series"))
                return [instance_json(study.study_uid, series, instance) for series, instance in rows]

        return dicom_json(await self._run(search))

    # ---- WADO-RS (PS3.18 section 10.4) ---------------------------------------------------------------------------

    async def metadata(self, request: web.Request) -> web.Response:
        """Answer the headers of a study, a series or an instance, from what was prepared with each pack."""
        may_see, words = self._access.may_see(request), request.match_info

        def load() -> list[DicomJson]:
            with self._transaction() as session:
                study = queries.get_study(session, may_see, words["study"]).study
                keys = queries.headers_keys_of(session, study)
                self._access.record(session, request, ACCESSED, study.site_id, study.study_uid)
            datasets = [dataset for key in keys for dataset in self._headers(request, key)]
            return [dataset for dataset in datasets if _is_asked(dataset, words.get("series"), words.get("instance"))]

        found = await self._run(load)
        if not found:
            raise StudyNotFound
        return dicom_json(found)

    async def instance(self, request: web.Request) -> web.StreamResponse:
        """Answer one instance as it is stored."""
        may_see, words = self._access.may_see(request), request.match_info

        def load() -> bytes:
            with self._transaction() as session:
                stored = self._find(session, may_see, words)
                self._access.record(session, request, ACCESSED, stored.instance.site_id, words["study"])
            return frames.read_instance(self._objects, stored)

        return await send(request, Multipart([("application/dicom", await self._run(load))]))

    async def frames(self, request: web.Request) -> web.StreamResponse:
        """Answer frames of one instance, in the syntax in which they are stored."""
        may_see, words = self._access.may_see(request), request.match_info
        numbers = frames.parse_frame_numbers(words["frames"])
        refuse_unless_multipart(request)

        def load() -> list[tuple[str, bytes]]:
            with self._transaction() as session:
                stored = self._find(session, may_see, words)
            content_type = frames.media_type_of(stored.instance)
            return [(content_type, frame) for frame in frames.read_frames(self._objects, stored, numbers)]

        return await send(request, Multipart(await self._run(load)))

    async def bulk_data(self, request: web.Request) -> web.StreamResponse:
        """Answer one long binary value of an instance."""
        may_see, words = self._access.may_see(request), request.match_info

        def load() -> bytes:
            with self._transaction() as session:
                stored = self._find(session, may_see, words)
            return bulkdata.read_value(frames.read_instance(self._objects, stored), words["path"])

        return await send(request, Multipart([("application/octet-stream", await self._run(load))]))

    def _headers(self, request: web.Request, key: str) -> list[DicomJson]:
        """Return the prepared headers of one pack, with whole addresses of their bulk data."""
        prepared = self._objects.read(key)
        datasets: list[DicomJson] = json.loads(prepared)
        if b"BulkDataURI" in prepared:
            for dataset in datasets:
                uids = {name: dataset[tag]["Value"][0] for name, tag in UIDS.items()}
                bulkdata.complete_addresses(dataset, partial(bulk_data_address, request.app, uids))
        return datasets

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """Commit when the block ends; rows stay readable after it, for the store is read outside of transactions."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @staticmethod
    def _find(session: Session, may_see: MaySee, words: web.UrlMappingMatchInfo) -> StoredInstance:
        study = queries.get_study(session, may_see, words["study"]).study
        return queries.get_instance(session, study, words["series"], words["instance"])


def build_dicomweb(engine: Engine, objects: ObjectStore, run: Run, access: Access) -> web.Application:
    """Return the application to be mounted under /dicomweb."""
    service = Dicomweb(engine, objects, run, access)
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = series + "/instances/{instance}"
    app = web.Application(middlewares=[answer_in_words])
    app.add_routes(
        [
            web.get("/studies", service.search_studies, name="dicomweb.studies"),
            web.get(f"{study}/series", service.search_series, name="dicomweb.series"),
            web.get(f"{study}/instances", service.search_instances, name="dicomweb.study_instances"),
            web.get(f"{series}/instances", service.search_instances, name="dicomweb.instances"),
            web.get(f"{study}/metadata", service.metadata, name="dicomweb.study_metadata"),
            web.get(f"{series}/metadata", service.metadata, name="dicomweb.series_metadata"),
            web.get(f"{instance}/metadata", service.metadata, name="dicomweb.instance_metadata"),
            web.get(instance, service.instance, name="dicomweb.instance"),
            web.get(f"{instance}/bulkdata/{{path:.+}}", service.bulk_data, name="dicomweb.bulk_data"),
            web.get(f"{instance}/frames/{{frames}}", service.frames, name="dicomweb.frames"),
        ]
    )
    return app


@web.middleware
async def answer_in_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn refusals into problem details (RFC 9457)."""
    try:
        return await handler(request)
    except DicomwebError as error:
        body = {"type": "about:blank", "title": error.code, "status": error.status, "code": error.code}
        return web.json_response(
            {**body, "detail": str(error)}, status=error.status, content_type="application/problem+json"
        )


def bulk_data_address(app: web.Application, uids: dict[str, str], path: str) -> str:
    """Return the address of a long binary value of an instance on this host."""
    return str(app.router["dicomweb.bulk_data"].url_for(**uids, path=path))


def dicom_json(datasets: list[DicomJson]) -> web.Response:
    """Return datasets as DICOM JSON, compressed where the reader takes it."""
    response = web.json_response(datasets, content_type=DICOM_JSON, headers={"Cache-Control": "no-store"})
    response.enable_compression()
    return response


async def send(request: web.Request, multipart: Multipart) -> web.StreamResponse:
    """Send a multipart answer with its length known. Nothing stays in the browser of a shared desk."""
    headers = {"Content-Type": multipart.content_type, "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    response.content_length = multipart.size_bytes
    await response.prepare(request)
    for piece in multipart.pieces():
        await response.write(piece)
    await response.write_eof()
    return response


def refuse_unless_multipart(request: web.Request) -> None:
    """Raise NotAcceptable when the request names media types and none of them allows a multipart answer."""
    accepted = request.headers.get("Accept", "*/*")
    if not any(kind in accepted for kind in ("multipart/related", "multipart/*", "*/*")):
        raise NotAcceptable("frames are given as multipart/related")


def _is_asked(dataset: DicomJson, series_uid: str | None, sop_instance_uid: str | None) -> bool:
    return (series_uid is None or dataset["0020000E"]["Value"] == [series_uid]) and (
        sop_instance_uid is None or dataset["00080018"]["Value"] == [sop_instance_uid]
    )
