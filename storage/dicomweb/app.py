"""The DICOMweb service: QIDO-RS, WADO-RS, WADO-URI and STOW-RS; its routes and its refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy import Engine

from storage.dicomweb.errors import BytesMissing, DicomwebError, StoreSilent
from storage.dicomweb.metadata import Metadata
from storage.dicomweb.negotiation import choose_json, parse_accept
from storage.dicomweb.qido import Qido
from storage.dicomweb.rendered import Rendered
from storage.dicomweb.service import Access, Run, Service, accepted
from storage.dicomweb.stow import Stow
from storage.dicomweb.wado import Wado
from storage.dicomweb.wado_uri import WadoUri
from storage.objects.protocol import ObjectMissing, ObjectStore, ObjectStoreError
from storage.screens.offload import Offload

TRANSCODING_THREADS: Final = 2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def build_dicomweb(
    engine: Engine, objects: ObjectStore, run: Run, access: Access, stow: Stow | None = None
) -> web.Application:
    """Return the application to be mounted under /dicomweb; without `stow` it stores nothing."""
    transcode = Offload(TRANSCODING_THREADS, name="transcode")
    service = Service(engine, objects, run, transcode, access)
    qido, wado, metadata, rendered = Qido(service), Wado(service), Metadata(service), Rendered(service)
    uri = WadoUri(service, rendered)
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = series + "/instances/{instance}"
    frame = instance + "/frames/{frames}"
    app = web.Application(middlewares=[answer_in_words])

    async def close(_app: web.Application) -> None:
        transcode.close()

    app.on_cleanup.append(close)
    app.add_routes(
        [
            web.get("/studies", as_json(qido.search_studies), name="dicomweb.studies"),
            web.get("/series", as_json(qido.search_series), name="dicomweb.all_series"),
            web.get("/instances", as_json(qido.search_instances), name="dicomweb.all_instances"),
            web.get(study, wado.instances, name="dicomweb.study"),
            web.get(series, wado.instances, name="dicomweb.one_series"),
            web.get(instance, wado.instances, name="dicomweb.instance"),
            web.get(f"{study}/series", as_json(qido.search_series), name="dicomweb.series"),
            web.get(f"{study}/instances", as_json(qido.search_instances), name="dicomweb.study_instances"),
            web.get(f"{series}/instances", as_json(qido.search_instances), name="dicomweb.instances"),
            web.get(f"{study}/metadata", metadata.answer, name="dicomweb.study_metadata"),
            web.get(f"{series}/metadata", metadata.answer, name="dicomweb.series_metadata"),
            web.get(f"{instance}/metadata", metadata.answer, name="dicomweb.instance_metadata"),
            web.get(f"{instance}/bulkdata/{{path:.+}}", wado.bulk_data, name="dicomweb.bulk_data"),
            web.get(f"{instance}/frames/{{frames}}", wado.frames, name="dicomweb.frames"),
            web.get("/wado", uri.retrieve, name="dicomweb.uri"),
        ]
    )
    for level, name in ((study, "study"), (series, "series"), (instance, "instance"), (frame, "frame")):
        app.router.add_get(f"{level}/rendered", rendered.rendered, name=f"dicomweb.{name}_rendered")
        app.router.add_get(f"{level}/thumbnail", rendered.thumbnail, name=f"dicomweb.{name}_thumbnail")
    if stow is not None:
        app.add_routes(stow.routes())
    return app


def as_json(handler: Handler) -> Handler:
    """Return the handler for those who take its one form."""

    async def answer(request: web.Request) -> web.StreamResponse:
        choose_json(parse_accept(accepted(request)))
        return await handler(request)

    return answer


@web.middleware
async def answer_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, and an object store that fails, into problem details (RFC 9457)."""
    try:
        return await handler(request)
    except DicomwebError as error:
        return problem(error)
    except ObjectMissing:
        _log.exception("bytes_missing")
        return problem(BytesMissing())
    except ObjectStoreError as error:
        _log.warning("store_unavailable", reason=type(error).__name__)
        return problem(StoreSilent())


def problem(error: DicomwebError) -> web.Response:
    """Return the answer that tells this refusal."""
    words = {"type": "about:blank", "title": error.code, "status": error.status, "code": error.code}
    return web.json_response(
        {**words, "detail": str(error)},
        status=error.status,
        headers=error.headers,
        content_type="application/problem+json",
    )
