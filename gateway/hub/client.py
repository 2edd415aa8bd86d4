"""The hub's gateway API, one typed method for each row of `storage.contract.wire`.

Every request but the enrolment is signed (RFC 9421); every one may be repeated safely. Synchronous, used from many
threads. Only silence is timed, never a whole exchange. Volatile: connections and nonces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, urlsplit

import urllib3

from gateway.hub.answers import Model, find_problem, parse_answer, raise_for_status
from gateway.hub.connections import SEND_BLOCK_BYTES, LinePools
from gateway.hub.errors import HubError, HubRefused, HubUnreachable
from gateway.hub.nonces import NonceStore
from gateway.hub.reach import Reach
from storage.contract.course import CoursesAnswer, SiteActs, SiteActsAnswer
from storage.contract.identity_doubts import IdentityDoubtsAnswer, IdentitySettlements
from storage.contract.manifest import Manifest, WireModel
from storage.contract.preliminary import PreliminariesAnswer
from storage.contract.priors import PriorOutcome, PriorRequestPage
from storage.contract.signing import RequestSigner, sign_request
from storage.contract.wire import (
    GATEWAY_TIME_HEADER,
    NONCE_HEADER,
    AccountsAnswer,
    CommitRequest,
    CustodyAnswer,
    CustodyBatch,
    DocumentPage,
    EnrolmentAnswer,
    EnrolmentRequest,
    GrantAnswer,
    GrantRequest,
    Health,
    HubEventsAnswer,
    ManifestAnswer,
    NonceAnswer,
    OrderBatch,
    OrderPage,
    OrdersAnswer,
    ReaderCases,
    ReaderReceipt,
    ReaderReport,
    Receipt,
    TransferAnswer,
    Upload,
)

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
COURSES_PATH: Final = "/gateway/v1/courses"
DOUBTS_PATH: Final = "/gateway/v1/identity-doubts"
ALREADY_THERE: Final = 412  # a signed If-None-Match: * says that this very pack was put before


def _at_once(wanted_bytes: int) -> int:
    return wanted_bytes


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """What a request is signed with: the gateway's key, its id at the hub, and the network's audience."""

    key: RequestSigner
    key_id: str
    audience: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes


class HubClient:
    """Talks to one hub. `clock` is the gateway's own, sent along so that the hub can measure its offset.

    `reach` hears of every request whether the hub gave a usable answer; object storage does not count.
    """

    def __init__(
        self,
        url: str,
        identity: SigningIdentity | None,
        *,
        clock: Callable[[], datetime],
        connect_timeout_s: float,
        read_timeout_s: float,
        ca_file: Path | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._reach = reach or Reach()
        self._url = url
        self._identity = identity
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._pools = LinePools(connect_timeout_s=connect_timeout_s, silence_timeout_s=read_timeout_s, ca_file=ca_file)
        self._nonces = NonceStore(time.monotonic)
        self.hub_time: datetime | None = None  # as of the last answer

    def close(self) -> None:
        """Cut every connection; requests under way raise HubUnreachable."""
        self._pools.abort()

    def enrol(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        """Exchange a one-time code for an identity; not signed, the code is the proof."""
        return self._ask(EnrolmentAnswer, "POST", "/gateway/v1/enrolments", _to_json(request), signed=False)

    def fetch_health(self) -> Health:
        """Return the hub's own word about its health; not signed."""
        return self._ask(Health, "GET", "/health", signed=False)

    def declare(self, manifest: Manifest) -> ManifestAnswer:
        """Declare what one transfer carries; learn what the hub holds and needs."""
        return self._ask(ManifestAnswer, "POST", "/gateway/v1/manifests", _to_json(manifest))

    def request_grant(self, transfer_id: str, request: GrantRequest) -> GrantAnswer:
        """Ask for upload addresses."""
        target = f"/gateway/v1/transfers/{quote(transfer_id, safe='')}/grants"
        return self._ask(GrantAnswer, "POST", target, _to_json(request))

    def commit(self, grant_id: str, request: CommitRequest) -> TransferAnswer:
        """Say that these packs of the grant are uploaded."""
        target = f"/gateway/v1/grants/{quote(grant_id, safe='')}/commits"
        return self._ask(TransferAnswer, "POST", target, _to_json(request))

    def fetch_transfer(self, transfer_id: str) -> TransferAnswer:
        """Return where a transfer stands."""
        target = f"/gateway/v1/transfers/{quote(transfer_id, safe='')}"
        return self._ask(TransferAnswer, "GET", target)

    def report_custody(self, batch: CustodyBatch) -> CustodyAnswer:
        """Hand over custody events in order."""
        return self._ask(CustodyAnswer, "POST", "/gateway/v1/custody", _to_json(batch))

    def fetch_documents(self, after: int, wait_s: int) -> DocumentPage:
        """Return the documents after a cursor; the hub holds the answer back up to `wait_s` until there is one."""
        target = f"/gateway/v1/documents?after={after}&wait_s={wait_s}"
        return self._ask(DocumentPage, "GET", target, read_timeout_s=self._read_timeout_s + wait_s)

    def fetch_content(self, document_id: str, *, size_max: int, pace: Callable[[int], int] = _at_once) -> bytes:
        """Return a document's bytes; `pace` tells how many of the next so many may be read, and waits before.

        Raises:
            HubUnreachable: also when there are more than `size_max` bytes.
        """
        target = f"/gateway/v1/documents/{quote(document_id, safe='')}/content"
        return self._exchange("GET", target, size_max=size_max, pace=pace).body

    def send_receipt(self, document_id: str, receipt: Receipt) -> None:
        """Say how far a document came."""
        self._exchange("POST", f"/gateway/v1/documents/{quote(document_id, safe='')}/receipts", _to_json(receipt))

    def send_reader_report(self, report: ReaderReport) -> None:
        """Hand in a workstation's text as the draft of the case that its writer holds; for gateways in reader mode."""
        self._exchange("POST", "/gateway/v1/reader/reports", _to_json(report))

    def fetch_reader_cases(self) -> ReaderCases:
        """Return every case that a physician of the gateway's organisation holds now."""
        return self._ask(ReaderCases, "GET", "/gateway/v1/reader/cases")

    def fetch_reader_pack(
        self, reading_task_id: str, pack_id: str, size_bytes: int, sink: Callable[[bytes], object]
    ) -> None:
        """Give a pack's bytes to `sink` as they come, at most `size_bytes`; what they are worth is for the caller.

        Raises:
            HubRefused: the claim has ended, or there is no such pack.
            HubUnreachable: also when the answer is longer, or broke off.
        """
        target = f"/gateway/v1/reader/tasks/{quote(reading_task_id, safe='')}/packs/{quote(pack_id, safe='')}"
        self._exchange("GET", target, size_max=size_bytes, sink=sink)

    def send_reader_receipt(self, reading_task_id: str, receipt: ReaderReceipt) -> None:
        """Say what became of a claimed case at the hospital."""
        target = f"/gateway/v1/reader/tasks/{quote(reading_task_id, safe='')}/receipts"
        self._exchange("POST", target, _to_json(receipt))

    def fetch_accounts(self, known: str) -> AccountsAnswer:
        """Return the accounts of the site's own organisation; without them when `known` is still their version."""
        target = f"/gateway/v1/accounts?known={quote(known, safe='')}"
        return parse_answer(AccountsAnswer, self._exchange("GET", target).body)

    def report_orders(self, batch: OrderBatch) -> OrdersAnswer:
        """Hand over orders in their newest version."""
        return parse_answer(OrdersAnswer, self._exchange("POST", "/gateway/v1/orders", _to_json(batch)).body)

    def fetch_orders(self, after: int) -> OrderPage:
        """Return the orders of the site that changed after this number."""
        return parse_answer(OrderPage, self._exchange("GET", f"/gateway/v1/orders?after={after}").body)

    def fetch_courses(self) -> CoursesAnswer:
        """Return the site's cases that wait for the site or for their reader's answer to it."""
        return parse_answer(CoursesAnswer, self._exchange("GET", COURSES_PATH).body)

    def report_site_acts(self, batch: SiteActs) -> SiteActsAnswer:
        """Hand over what people at the clinic did with cases, in order."""
        return parse_answer(SiteActsAnswer, self._exchange("POST", "/gateway/v1/site-acts", _to_json(batch)).body)

    def fetch_doubts(self) -> IdentityDoubtsAnswer:
        """Return what nobody has settled of the question whose the site's cases are."""
        return parse_answer(IdentityDoubtsAnswer, self._exchange("GET", DOUBTS_PATH).body)

    def report_settlements(self, batch: IdentitySettlements) -> SiteActsAnswer:
        """Hand over how people at the clinic settled such doubts, in order."""
        answer = self._exchange("POST", "/gateway/v1/identity-settlements", _to_json(batch))
        return parse_answer(SiteActsAnswer, answer.body)

    def fetch_preliminaries(self, known: str, wait_s: int) -> PreliminariesAnswer:
        """Return the site's preliminary reports; the hub waits up to `wait_s` while `known` is their version."""
        target = f"/gateway/v1/preliminary-reports?known={quote(known, safe='')}&wait_s={wait_s}"
        answer = self._exchange("GET", target, read_timeout_s=self._read_timeout_s + wait_s)
        return parse_answer(PreliminariesAnswer, answer.body)

    def fetch_events(self, since: datetime | None) -> HubEventsAnswer:
        """Return the hub's own events about the site's studies since a time of the hub's clock."""
        text = since.isoformat() if since is not None else ""
        answer = self._exchange("GET", f"/gateway/v1/events?since={quote(text, safe='')}")
        return parse_answer(HubEventsAnswer, answer.body)

    def fetch_prior_requests(self, after: int) -> PriorRequestPage:
        """Return open requests for earlier studies after a number; asking says that this gateway can fetch them."""
        answer = self._exchange("GET", f"/gateway/v1/prior-requests?after={after}")
        return parse_answer(PriorRequestPage, answer.body)

    def send_prior_outcome(self, request_id: str, outcome: PriorOutcome) -> None:
        """Say how far a request for earlier studies came."""
        self._exchange("POST", f"/gateway/v1/prior-requests/{quote(request_id, safe='')}/outcome", _to_json(outcome))

    def put_pack(self, upload: Upload, body: BinaryIO, size_bytes: int) -> None:
        """PUT `size_bytes` bytes of `body` to a presigned address; a pack that is there already is a success.

        Raises:
            HubRefused: the address is not, or no longer, good for these bytes: ask for another.
            HubUnreachable, HubBusy: try again later.
        """
        headers = {**upload.headers, "Content-Length": str(size_bytes)}
        if any(name.lower() == "content-length" for name in upload.headers):
            headers = dict(upload.headers)
        answer = self._send("PUT", upload.url, headers, body, ANSWER_BYTES_MAX, None)
        if answer.status != ALREADY_THERE:
            raise_for_status(answer.status, answer.headers, answer.body)

    def _ask(
        self,
        model: type[Model],
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = True,
        read_timeout_s: float | None = None,
    ) -> Model:
        """Send one request, return its answer as `model`, and note whether the hub can be reached."""
        try:
            answer = self._exchange(method, target, body, signed=signed, read_timeout_s=read_timeout_s)
            parsed = parse_answer(model, answer.body)
        except HubUnreachable as exc:
            self._reach.note_unreachable(str(exc))
            raise
        except HubError:
            self._reach.note_reached()  # a refusal is an answer
            raise
        self._reach.note_reached()
        return parsed

    def _exchange(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = True,
        size_max: int = ANSWER_BYTES_MAX,
        read_timeout_s: float | None = None,
        sink: Callable[[bytes], object] | None = None,
        pace: Callable[[int], int] = _at_once,
    ) -> _Answer:
        """Send one request; once more with a fresh nonce when the hub did not accept the first."""
        for attempt in (1, 2):
            headers = self._headers(method, target, body, signed=signed)
            answer = self._send(method, self._url + target, headers, body, size_max, read_timeout_s, sink, pace)
            self._learn(answer)
            if signed and attempt == 1 and _is_nonce_refusal(answer):
                self._nonces.forget()
                continue
            raise_for_status(answer.status, answer.headers, answer.body)
            return answer
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _headers(self, method: str, target: str, body: bytes, *, signed: bool) -> dict[str, str]:
        now = self._clock()
        headers = {GATEWAY_TIME_HEADER: now.isoformat()}
        if body:
            headers["Content-Type"] = "application/json"
        if not signed:
            return headers
        if self._identity is None:
            raise HubRefused(401, "not_enrolled", "this gateway is not enrolled yet: run `enrol`")
        nonce = self._nonces.take() or self._fetch_nonce()
        return headers | sign_request(
            self._identity.key,
            key_id=self._identity.key_id,
            method=method,
            target=target,
            body=body,
            audience=self._identity.audience,
            nonce=nonce,
            created=now,
        )

    def _fetch_nonce(self) -> str:
        answer = self._send("GET", self._url + "/gateway/v1/nonce", {}, b"", ANSWER_BYTES_MAX, None)
        raise_for_status(answer.status, answer.headers, answer.body)
        return parse_answer(NonceAnswer, answer.body).nonce

    def _learn(self, answer: _Answer) -> None:
        nonce = answer.headers.get(NONCE_HEADER)
        if nonce:
            self._nonces.keep(nonce)
        date = answer.headers.get("Date")
        if date:
            self.hub_time = _find_date(date) or self.hub_time

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | BinaryIO,
        size_max: int,
        read_timeout_s: float | None,
        sink: Callable[[bytes], object] | None = None,
        pace: Callable[[int], int] = _at_once,
    ) -> _Answer:
        timeout = urllib3.Timeout(connect=self._connect_timeout_s, read=read_timeout_s or self._read_timeout_s)
        try:
            response = self._pools.request(
                method,
                url,
                body=body or None,
                headers=headers,
                redirect=False,
                preload_content=False,
                timeout=timeout,
            )
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubUnreachable(f"{urlsplit(url).netloc} cannot be reached: {_reason(exc)}") from exc
        try:
            if sink is not None and response.status == 200:
                for piece in _pieces(response, size_max, pace):
                    sink(piece)
                return _Answer(response.status, response.headers, b"")
            size_max = size_max if sink is None else ANSWER_BYTES_MAX
            return _Answer(response.status, response.headers, b"".join(_pieces(response, size_max, pace)))
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubUnreachable(f"{urlsplit(url).netloc} broke off its answer: {_reason(exc)}") from exc
        finally:
            response.release_conn()


def _pieces(
    response: urllib3.BaseHTTPResponse, size_max: int, pace: Callable[[int], int] = _at_once
) -> Iterator[bytes]:
    left = size_max
    while piece := response.read(pace(min(SEND_BLOCK_BYTES, left + 1))):
        left -= len(piece)
        if left < 0:
            response.close()
            raise HubUnreachable(f"the answer is longer than {size_max} bytes")
        yield piece


def _to_json(model: WireModel) -> bytes:
    return model.model_dump_json().encode()


def _is_nonce_refusal(answer: _Answer) -> bool:
    if answer.status != 401:
        return False
    problem = find_problem(answer.body)
    return problem is not None and problem.code.startswith("nonce_")


def _find_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _reason(exc: BaseException) -> str:
    """Return the class of the deepest cause: urllib3's own texts hold whole addresses with their signatures."""
    reason = getattr(exc, "reason", None) or exc.__cause__ or exc.__context__
    return type(reason if isinstance(reason, BaseException) else exc).__name__
