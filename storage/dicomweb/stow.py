"""STOW-RS: a request's instances go into files, to whoever decides what becomes of them, and are answered one by one.

Promises: what is answered as stored is durable and proved; a body that is cut off, malformed or too large leaves
nothing behind. Memory is bounded by READ_BYTES for each request. Knows nothing of accounts, sites or cases: what a
deposit is comes in as `Deposits`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, Protocol

from aiohttp import hdrs, web

from storage.contract.identifiers import InvalidIdentifier, parse_uid
from storage.dicomweb.errors import BadQuery, DicomwebError, NotAcceptable
from storage.dicomweb.multipart_reading import MultipartMalformed, TooManyParts, parse_media_type
from storage.dicomweb.reception import DICOM, BodyTooLarge, NoRoom, Reception, ReceptionRoom
from storage.dicomweb.service import DICOM_JSON, Run
from storage.dicomweb.store_answer import Kept, Outcome, ReceivedFile, answer_json, warnings_of
from storage.objects.protocol import ObjectStoreError

READ_BYTES: Final = 512 * 1024
SILENCE_S: Final = 60.0  # between two pieces of a body; a slow line is fine, a dead one is not
AT_ONCE_MAX: Final = 4  # requests whose body comes or is looked at
WAIT_S: Final = 30.0  # for one of these to end
RETRY_SOON: Final = MappingProxyType({"Retry-After": "10"})  # seconds

Deposit = Callable[[Sequence[ReceivedFile], str | None], Outcome]


class Deposits(Protocol):
    """Who may store what, and how it is stored, from the part of the hub that knows its people."""

    def admit(self, request: web.Request) -> Deposit:
        """Return what stores for the caller; raises when nobody is logged in or they may store nothing."""


class BodyRefused(DicomwebError):
    """The body cannot be read, so that nothing of it was stored."""

    status, code = 400, "body_malformed"


class UnsupportedMediaType(DicomwebError):
    """Instances are stored as multipart/related; type="application/dicom"."""

    status, code = 415, "unsupported_media_type"


class TooLarge(DicomwebError):
    """The request is larger than one request may be; nothing was stored."""

    status, code = 413, "too_large"


class DiskFull(DicomwebError):
    """The hub's disk has no room for this; nothing was stored."""

    status, code = 507, "no_room"


class Stalled(DicomwebError):
    """Nothing came for a long time, so that nothing was stored."""

    status, code = 408, "upload_stalled"


class Busy(DicomwebError):
    """The hub is storing as much at once as it can; send it again in a moment. Nothing was stored."""

    status, code = 503, "busy"
    headers = RETRY_SOON


class StoreDown(DicomwebError):
    """The object store does not answer. Send it again later: what is held already is not stored twice."""

    status, code = 503, "store_unavailable"
    headers = RETRY_SOON


class Stow:
    """The handlers of the Store transaction (PS3.18 section 10.5)."""

    def __init__(self, deposits: Deposits, room: ReceptionRoom, run: Run) -> None:
        self._deposits, self._room, self._run = deposits, room, run
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, to be added below the DICOMweb service's prefix."""
        return [
            web.post("/studies", self.store, name="dicomweb.store"),
            web.post("/studies/{study}", self.store, name="dicomweb.store_study"),
        ]

    async def store(self, request: web.Request) -> web.Response:
        """Store the instances of the body and answer for each of them."""
        deposit = self._deposits.admit(request)
        study_uid = _study_of(request)
        _refuse_unless_accepted(request)
        boundary = _boundary_of(request)
        async with self._turn():
            reception = await self._begin(boundary, request.content_length)
            try:
                files = await self._receive(request, reception)
                outcome = await self._run(deposit, files, study_uid)
            except ObjectStoreError as exc:
                raise StoreDown from exc
            finally:
                await self._run(reception.remove)
        return _answer(request, outcome, study_uid)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turns.acquire()
        except TimeoutError as exc:
            raise Busy from exc
        try:
            yield
        finally:
            self._turns.release()

    async def _begin(self, boundary: str, announced_bytes: int | None) -> Reception:
        try:
            reception: Reception = await self._run(self._room.receive, boundary, announced_bytes)
        except (BodyTooLarge, NoRoom, MultipartMalformed) as exc:
            raise _in_words(exc) from exc
        return reception

    async def _receive(self, request: web.Request, reception: Reception) -> Sequence[ReceivedFile]:
        try:
            async for piece in _pieces(request, self._room.bytes_max):
                await self._run(reception.write, piece)
            files = reception.finish()
        except (BodyTooLarge, NoRoom, MultipartMalformed, TooManyParts) as exc:
            raise _in_words(exc) from exc
        except (web.RequestPayloadError, ConnectionResetError) as exc:
            raise BodyRefused("the body ends before it is whole, or is not what its headers say") from exc
        except TimeoutError as exc:
            raise Stalled(f"nothing came for {SILENCE_S:g} s, so that nothing was stored") from exc
        if not files:
            raise BodyRefused("the body has no part, so that there is nothing to store")
        return files


async def _pieces(request: web.Request, bytes_max: int) -> AsyncIterator[bytes]:
    """Yield the body in large pieces, but at once what goes beyond `bytes_max`: the peer may wait for the refusal."""
    buffer, came = bytearray(), 0
    while True:
        async with asyncio.timeout(SILENCE_S):
            chunk = await request.content.readany()
        buffer += chunk
        came += len(chunk)
        if buffer and (not chunk or len(buffer) >= READ_BYTES or came > bytes_max):
            yield bytes(buffer)
            buffer.clear()
        if not chunk:
            return


def _study_of(request: web.Request) -> str | None:
    text = request.match_info.get("study")
    if text is None:
        return None
    try:
        return parse_uid(text, name="Study Instance UID")
    except InvalidIdentifier as exc:
        raise BadQuery(str(exc)) from exc


def _boundary_of(request: web.Request) -> str:
    media_type = parse_media_type(request.headers.get(hdrs.CONTENT_TYPE, ""))
    root = media_type.parameters.get("type", DICOM).lower()
    if media_type.essence != "multipart/related" or root != DICOM:
        raise UnsupportedMediaType
    boundary = media_type.parameters.get("boundary", "")
    if not boundary:
        raise BodyRefused("the Content-Type names no boundary")
    return boundary


def _refuse_unless_accepted(request: web.Request) -> None:
    """Raise NotAcceptable when the caller names media types and none of them is the one that is given."""
    accepted = request.headers.get(hdrs.ACCEPT, "*/*").lower()
    if not any(kind in accepted for kind in (DICOM_JSON, "application/json", "application/*", "*/*")):
        raise NotAcceptable(f"what was stored is told as {DICOM_JSON}")


def _in_words(error: Exception) -> DicomwebError:
    match error:
        case BodyTooLarge() | TooManyParts():
            return TooLarge(f"{error}. Nothing was stored.")
        case NoRoom():
            return DiskFull(f"{error}. Nothing was stored.")
        case _:
            return BodyRefused(f"{error}. Nothing was stored.")


def _answer(request: web.Request, outcome: Outcome, study_uid: str | None) -> web.Response:
    router = request.app.router

    def instance_url(kept: Kept) -> str:
        words = {"study": kept.study_uid, "series": kept.series_uid, "instance": kept.sop_instance_uid}
        return str(router["dicomweb.instance"].url_for(**words))

    studies = {kept.study_uid for kept in outcome.kept} | ({study_uid} if study_uid is not None else set())
    study_url = f"{router['dicomweb.studies'].url_for()}/{studies.pop()}" if len(studies) == 1 else None
    body = json.dumps(answer_json(outcome, study_url, instance_url)).encode()
    response = web.Response(body=body, status=outcome.status, content_type=DICOM_JSON)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    for warning in warnings_of(outcome.failed):
        response.headers.add("Warning", warning)
    return response
