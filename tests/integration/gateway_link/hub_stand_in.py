"""A small hub over real HTTP for the gateway's own tests: the wire contract, objects in a directory, faults as data."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from storage.contract.identifiers import new_id
from storage.contract.manifest import Manifest, WireModel
from storage.contract.signing import GatewayKey, SignatureInvalid, sign_text, verify_request
from storage.contract.wire import (
    NONCE_HEADER,
    AccountsAnswer,
    CommitRequest,
    ConflictingInstance,
    CustodyAnswer,
    CustodyBatch,
    CustodyEventReport,
    DocumentDescriptor,
    DocumentPage,
    EnrolmentAnswer,
    EnrolmentRequest,
    GrantAnswer,
    GrantRequest,
    Health,
    HubEventsAnswer,
    ManifestAnswer,
    NonceAnswer,
    PackDeclaration,
    PackRefusal,
    Problem,
    Receipt,
    SignedDescriptor,
    TransferAnswer,
    TransferState,
    Upload,
)
from tests.support.ports import own_port

AUDIENCE = "test-network"
SITE_ID = "clinic-a"
CODE = "correct-horse-battery"
PIECE = 16 * 1024
LINE_HELD_MAX_S = 120.0


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path" matches; `times` < 0: with every one."""

    match: str
    status: int = 0  # answer this status at once
    retry_after: str = ""
    body: bytes = b"<html>the line's own page</html>"
    drop_after_bytes: int = -1  # close the connection after so many bytes of the body
    stale_nonce: bool = False
    times: int = 1


@dataclass
class Transfer:
    transfer_id: str
    manifest: Manifest
    verified: set[str] = field(default_factory=set)
    refused: dict[str, PackRefusal] = field(default_factory=dict)


@dataclass
class Grant:
    grant_id: str
    transfer: Transfer
    packs: dict[str, PackDeclaration]
    expired: bool = False


class HubStandIn:
    """Start, stop and start again on the same port; what it has heard is in its attributes."""

    def __init__(self, objects: Path) -> None:
        self.objects = objects
        self.key = GatewayKey.generate()
        self.gateway_public_key = ""
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.uploads: Counter[str] = Counter()  # whole packs PUT, by digest
        self.lock = threading.RLock()
        self.transfers: dict[str, Transfer] = {}
        self.grants: dict[str, Grant] = {}
        self.conflicts: dict[str, str] = {}
        self.refuse_once: set[str] = set()  # "any": the next committed pack
        self.refuse_parts_once: set[int] = set()
        self.largest_put = 0
        self.custody: dict[int, CustodyEventReport] = {}
        self.documents: list[tuple[SignedDescriptor, bytes]] = []
        self.receipts: list[tuple[str, Receipt]] = []
        self.accounts: AccountsAnswer | None = None
        self.events: list[HubEventsAnswer] = []  # each answered once, the last for ever
        self.new_document = threading.Condition(self.lock)
        self.grant_ttl_s = 600.0
        self.hold_verification = False
        self.line_is_free = threading.Event()  # cleared: an upload under way does not end
        self.line_is_free.set()
        self._nonces: set[str] = set()
        self._port = own_port()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        hub = self

        class Handler(_Handler):
            stand_in = hub

        self._server = _Server(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None
        with self.lock:
            self.new_document.notify_all()

    def count(self, pattern: str) -> int:
        with self.lock:
            return sum(1 for line in self.seen if re.fullmatch(pattern, line))

    def make_nonce(self) -> str:
        nonce = new_id()
        with self.lock:
            self._nonces.add(nonce)
        return nonce

    def spend_nonce(self, nonce: str) -> bool:
        with self.lock:
            if nonce not in self._nonces:
                return False
            self._nonces.discard(nonce)
            return True

    def publish(self, descriptor: DocumentDescriptor, content: bytes, *, signature: str = "") -> None:
        canonical = descriptor.model_dump_json()
        with self.lock:
            signed = SignedDescriptor(
                cursor=len(self.documents) + 1,
                canonical=canonical,
                hub_key_id="hub-key-1",
                signature=signature or sign_text(self.key, canonical.encode()),
            )
            self.documents.append((signed, content))
            self.new_document.notify_all()

    def find_fault(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times != 0 and re.match(fault.match, line):
                    fault.times -= 1
                    return fault
        return None

    def hops(self) -> list[str]:
        with self.lock:
            return [str(self.custody[seq].hop) for seq in sorted(self.custody)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request, client_address):
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        return  # cut connections are what these tests are about

    def cut(self) -> None:
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stand_in: HubStandIn

    def log_message(self, *args):
        return

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub = self.stand_in
        line = f"{self.command} {urlsplit(self.path).path}"
        with hub.lock:
            hub.seen.append(line)
        length = int(self.headers.get("Content-Length", "0"))
        fault = hub.find_fault(f"{self.command} {self.path}")
        if fault is not None and fault.drop_after_bytes >= 0:
            self.rfile.read(fault.drop_after_bytes)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(length)
        if fault is not None and fault.status:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._answer(fault.status, fault.body, headers)
            return
        if len(body) < length:
            return
        try:
            self._route(body, stale=fault is not None and fault.stale_nonce)
        except _Refused as exc:
            problem = Problem(title=exc.code, status=exc.status, code=exc.code, detail=f"refused: {exc.code}")
            self._answer(exc.status, problem.model_dump_json().encode())

    def _route(self, body: bytes, *, stale: bool) -> None:
        hub = self.stand_in
        path = urlsplit(self.path).path
        if self.command == "PUT":
            self._put(path, body)
            return
        if path == "/health":
            self._reply(Health(status="ok", checks={}))
        elif path == "/gateway/v1/nonce":
            self._reply(NonceAnswer(nonce=hub.make_nonce()))
        elif path == "/gateway/v1/enrolments":
            self._reply(self._enrol(EnrolmentRequest.model_validate_json(body)))
        else:
            self._verify(body, stale=stale)
            with hub.lock:
                self._signed(path, body)

    def _verify(self, body: bytes, *, stale: bool) -> None:
        hub = self.stand_in
        try:
            claimed = verify_request(
                hub.gateway_public_key,
                method=self.command,
                target=self.path,
                headers=dict(self.headers.items()),
                body=body,
                audience=AUDIENCE,
            )
        except SignatureInvalid as exc:
            raise _Refused(401, "signature_invalid") from exc
        if not hub.spend_nonce(claimed.nonce) or stale:
            raise _Refused(401, "nonce_used")

    def _enrol(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        hub = self.stand_in
        if request.code != CODE:
            raise _Refused(403, "enrolment_code_wrong")
        hub.gateway_public_key = request.public_key
        return EnrolmentAnswer(
            gateway_id="gateway-1",
            site_id=SITE_ID,
            site_name="甲卫生院",
            audience=AUDIENCE,
            hub_key_id="hub-key-1",
            hub_public_key=hub.key.public_text(),
            hub_time=datetime.now(UTC),
            custody_through=max(hub.custody, default=0),
        )

    def _signed(self, path: str, body: bytes) -> None:
        hub = self.stand_in
        parts = path.removeprefix("/gateway/v1/").split("/")
        if parts == ["manifests"]:
            self._reply(self._declare(Manifest.model_validate_json(body)))
        elif parts[0] == "transfers" and parts[-1] == "grants":
            self._reply(self._grant(parts[1], GrantRequest.model_validate_json(body)))
        elif parts[0] == "transfers":
            self._reply(self._state(hub.transfers.get(parts[1])))
        elif parts[0] == "grants":
            self._reply(self._commit(parts[1], CommitRequest.model_validate_json(body)), status=202)
        elif parts == ["custody"]:
            batch = CustodyBatch.model_validate_json(body)
            hub.custody = {event.seq: event for event in batch.events} | hub.custody  # what is held is never changed
            through = 0
            while through + 1 in hub.custody:
                through += 1
            self._reply(CustodyAnswer(accepted_through=through))
        elif parts == ["documents"]:
            self._reply(self._documents())
        elif parts in (["accounts"], ["events"]):
            self._news(parts[0])
        elif parts[-1] == "content":
            self._answer(200, next(c for s, c in hub.documents if parts[1] in s.canonical))
        else:
            hub.receipts.append((parts[1], Receipt.model_validate_json(body)))
            self._answer(204, b"")

    def _news(self, what: str) -> None:
        """Answer what is news for a console; a hub of an earlier version does not know the question."""
        hub = self.stand_in
        answer: WireModel | None = hub.accounts
        if what == "events":
            answer = hub.events.pop(0) if len(hub.events) > 1 else next(iter(hub.events), None)
        if answer is None:
            raise _Refused(404, "http_404")
        self._reply(answer)

    def _declare(self, manifest: Manifest) -> ManifestAnswer:
        hub = self.stand_in
        transfer = hub.transfers.setdefault(manifest.sha256(), Transfer(manifest.sha256(), manifest))
        transfer.manifest = manifest  # perhaps in another lane
        uids = [entry.sop_instance_uid for entry in manifest.instances]
        for other in hub.transfers.values():
            transfer.verified |= other.verified & set(uids)
        conflicting = tuple(
            ConflictingInstance(sop_instance_uid=uid, reason=hub.conflicts[uid]) for uid in uids if uid in hub.conflicts
        )
        needed = tuple(uid for uid in uids if uid not in transfer.verified and uid not in hub.conflicts)
        return ManifestAnswer(
            transfer_id=transfer.transfer_id,
            held=tuple(uid for uid in uids if uid in transfer.verified),
            needed=needed,
            conflicting=conflicting,
        )

    def _grant(self, transfer_id: str, request: GrantRequest) -> GrantAnswer:
        hub = self.stand_in
        if transfer_id not in hub.transfers:
            raise _Refused(404, "transfer_unknown")
        grant = Grant(new_id(), hub.transfers[transfer_id], {pack.pack_sha256: pack for pack in request.packs})
        hub.grants[grant.grant_id] = grant
        return GrantAnswer(
            grant_id=grant.grant_id,
            expires_at=datetime.now(UTC) + timedelta(seconds=hub.grant_ttl_s),
            uploads=tuple(
                Upload(
                    pack_sha256=sha,
                    part=number,
                    url=f"{hub.url}/objects/{grant.grant_id}/{name}",
                    headers={"x-test-digest": name, "If-None-Match": "*"},
                )
                for sha, number, name in self._names(request)
            ),
        )

    def _names(self, request: GrantRequest) -> Iterator[tuple[str, int | None, str]]:
        for pack in request.packs:
            if not pack.parts:
                yield pack.pack_sha256, None, pack.pack_sha256
            for number in pack.parts_wanted:
                yield pack.pack_sha256, number, f"{pack.pack_sha256}.{number}"

    def _bring_together(self, grant: Grant, sha: str) -> list[int]:
        """Compose a large pack from the parts of its grants, newest first; return the numbers of those that lack."""
        hub = self.stand_in
        grants = [one for one in reversed(hub.grants.values()) if one.transfer is grant.transfer and sha in one.packs]
        bodies, missing = [], []
        for part in grant.packs[sha].parts:
            paths = [hub.objects / f"{one.grant_id}-{sha}.{part.number}" for one in grants]
            body = next((path.read_bytes() for path in paths if path.exists()), b"")
            if hashlib.sha256(body).hexdigest() != part.sha256 or part.number in hub.refuse_parts_once:
                missing.append(part.number)
                for path in paths:
                    path.unlink(missing_ok=True)
            bodies.append(body)
        hub.refuse_parts_once.clear()
        if not missing and grant.packs[sha].parts:
            (hub.objects / f"{grant.grant_id}-{sha}").write_bytes(b"".join(bodies))
        return missing

    def _put(self, path: str, body: bytes) -> None:
        hub = self.stand_in
        _, _, grant_id, sha = path.split("/")
        hub.line_is_free.wait(LINE_HELD_MAX_S)
        with hub.lock:
            grant = hub.grants.get(grant_id)
            if grant is None or grant.expired or self.headers.get("x-test-digest") != sha:
                self._answer(403, b"<Error>AccessDenied</Error>")
                return
            target = hub.objects / f"{grant_id}-{sha}"
            if target.exists():
                self._answer(412, b"")
                return
            target.write_bytes(body)
            hub.uploads[sha] += 1
            hub.largest_put = max(hub.largest_put, len(body))
        self._answer(200, b"")

    def _commit(self, grant_id: str, request: CommitRequest) -> TransferAnswer:
        hub = self.stand_in
        grant = hub.grants[grant_id]
        if grant.expired:
            raise _Refused(410, "grant_expired")
        for sha in request.pack_sha256s:
            path = hub.objects / f"{grant_id}-{sha}"
            missing = self._bring_together(grant, sha)
            if missing:
                words = f"{len(missing)} parts differ"
                refusal = PackRefusal(pack_sha256=sha, code="part_missing", reason=words, parts=tuple(missing))
                grant.transfer.refused[sha] = refusal
                continue
            if not path.exists():
                raise _Refused(409, "pack_not_uploaded")
            sound = hashlib.sha256(path.read_bytes()).hexdigest() == sha
            if not sound or "any" in hub.refuse_once:
                hub.refuse_once.discard("any")
                path.unlink()
                refusal = PackRefusal(pack_sha256=sha, code="digest_differs", reason="its digest differs")
                grant.transfer.refused[sha] = refusal
            else:
                grant.transfer.refused.pop(sha, None)
                grant.transfer.verified |= set(grant.packs[sha].sop_instance_uids)
        return self._state(grant.transfer, early=True)

    def _state(self, transfer: Transfer | None, *, early: bool = False) -> TransferAnswer:
        if transfer is None:
            raise _Refused(404, "transfer_unknown")
        uids = {entry.sop_instance_uid for entry in transfer.manifest.instances}
        whole = transfer.verified >= uids and not early and not self.stand_in.hold_verification
        return TransferAnswer(
            transfer_id=transfer.transfer_id,
            state=TransferState.VERIFIED if whole else TransferState.RECEIVING,
            confirmed=tuple(sorted(transfer.verified)),
            refused=tuple(transfer.refused.values()),
        )

    def _documents(self) -> DocumentPage:
        hub = self.stand_in
        query = parse_qs(urlsplit(self.path).query)
        after, wait_s = int(query["after"][0]), int(query["wait_s"][0])
        hub.new_document.wait_for(lambda: hub._server is None or len(hub.documents) > after, wait_s)
        return DocumentPage(documents=tuple(signed for signed, _ in hub.documents if signed.cursor > after))

    def _reply(self, model: WireModel, status: int = 200) -> None:
        self._answer(status, model.model_dump_json().encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header(NONCE_HEADER, self.stand_in.make_nonce())
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)
