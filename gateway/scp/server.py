"""The DICOM server: C-ECHO, C-STORE of every storage class and the services it is given, for known devices.

Durable: what `InstanceReceiver` has answered with Success, the rows of associations and refusals. Volatile: the
associations themselves; at start-up `gateway.spool.rebuild` closes those that a stop cut off.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import structlog
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from gateway.errors import NotAllowedToStore
from gateway.journal.associations import Refusal, close_association, open_association, record_refusal
from gateway.journal.database import Journal
from gateway.peers import Call, Load, Peer, PeerTable, Permission, Rejection, Rules, admit, is_visitor
from gateway.scp import admission
from gateway.scp.data_phase import take_over
from gateway.scp.object_sink import AssociationObjects
from gateway.scp.reception import Reception
from gateway.scp.services import Caller, DicomService, ServiceTable
from gateway.scp.store import InstanceReceiver
from gateway.scp.transport import CONNECTIONS_MAX, GatewayRequestHandler, GatewayServer, GatewaySocket
from gateway.spool.durable import DurableFile
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid, new_id
from storage.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PDV_BYTES_MAX = 128 * 1024
STOP_WITHIN_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """The listener's settings; port 0 takes any free one.

    `peers` may call, and the scanners of `allowed_calling_ae_titles`, from anywhere; None lets everybody in. With `tls`
    it listens on `tls_port` too.
    """

    ae_title: str
    host: str
    port: int
    allowed_calling_ae_titles: frozenset[str] | None
    associations_max: int
    object_bytes_max: int
    network_timeout_s: float = 30.0
    acse_timeout_s: float = 5.0
    require_called_ae_title: bool = False
    peers: tuple[Peer, ...] = ()
    connections_per_address_max: int = 64
    tls: ssl.SSLContext | None = None
    tls_port: int = 0

    def to_peer_table(self) -> PeerTable:
        """Return everybody who may call."""
        titles = self.allowed_calling_ae_titles
        short = [Peer(name=title, ae_title=title) for title in sorted(titles or ())]
        return PeerTable([*short, *self.peers], anybody=titles is None)

    def to_rules(self) -> Rules:
        """Return what holds for every caller."""
        called = self.ae_title if self.require_called_ae_title else None
        return Rules(self.associations_max, max(self.associations_max // 2, 1), called)


class DicomServer:
    """Listens between `start` and `stop`; tells of stored instances and of the ends of associations."""

    def __init__(
        self,
        settings: ScpSettings,
        spool: Spool,
        journal: Journal,
        clock: Callable[[], datetime],
        on_instance: Callable[[Uid], None],
        on_association_end: Callable[[], None],
        services: Sequence[DicomService] = (),
    ) -> None:
        self._settings = settings
        self._peers = settings.to_peer_table()
        self._rules = settings.to_rules()
        self._services = ServiceTable(services)
        self._admission_lock = threading.Lock()
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._on_association_end = on_association_end
        self._receiver = InstanceReceiver(spool, journal, clock, on_instance)
        self._receptions: dict[Association, Reception] = {}  # pynetdicom's events are typed too loosely: Any below
        self._idle = threading.Condition()
        self._stopping = False
        self._servers: list[GatewayServer] = []
        self.tls_port: int | None = None

    @property
    def receiver(self) -> InstanceReceiver:
        """Return what takes arriving objects, for those that come by another way than DICOM."""
        return self._receiver

    def begin_file(self) -> DurableFile:
        """Return a new file in the spool's tmp; raises SpoolFull below the disk's floor."""
        return self._spool.begin()

    def start(self) -> int:
        """Listen; return the bound port. Raises OSError when a port cannot be had."""
        settings = self._settings
        port = self._listen(settings.port, None)
        if settings.tls is not None:
            self.tls_port = self._listen(settings.tls_port, settings.tls)
        return port

    def _listen(self, wanted_port: int, tls: ssl.SSLContext | None) -> int:
        settings = self._settings
        ae = AE(ae_title=settings.ae_title)
        ae.maximum_associations = CONNECTIONS_MAX  # pynetdicom counts silent connections too; `admit` counts better
        ae.maximum_pdu_size = PDV_BYTES_MAX
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.acse_timeout = settings.acse_timeout_s
        ae.network_timeout = settings.network_timeout_s
        ae.dimse_timeout = settings.network_timeout_s
        ae.add_supported_context(Verification)
        server = cast(
            "GatewayServer",
            ae.make_server(
                (settings.host, wanted_port),
                server_class=GatewayServer,
                evt_handlers=self._handlers(),
                request_handler=GatewayRequestHandler,
            ),
        )
        server.began, server.ended, server.turned_away = self._began, self._ended, self._turned_away
        server.tls, server.connections_per_address_max = tls, settings.connections_per_address_max
        ae._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dicom-listener").start()
        self._servers.append(server)
        port: int = server.server_address[1]
        log.info("dicom_listening", ae_title=settings.ae_title, port=port, tls=tls is not None)
        return port

    def stop(self) -> None:
        """Stop listening, abort what is under way, and return when every association has ended."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.shutdown()
        with self._idle:
            self._stopping = True
            under_way = list(self._receptions)
        for association in under_way:
            association.abort()
        with self._idle:
            if not self._idle.wait_for(lambda: not self._receptions, STOP_WITHIN_S):
                log.warning("associations_still_open_at_stop", associations=len(self._receptions))

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_SOP_COMMON, self._on_sop_common),
            (evt.EVT_ACCEPTED, self._on_accepted),
            *self._services.handlers(self._find_caller),
        ]

    # The events of one association, in the order in which they come.

    def _began(self, association: Any) -> bool:
        """Fit out the association; return whether it may run, for one that comes while we stop would be missed."""
        peer = association.requestor.address_info
        reception = Reception(new_id(), peer_address=peer.address if peer else "", opened_at=self._clock())
        reception.over_tls = isinstance(association.dul.socket.socket, ssl.SSLSocket)
        limit_bytes = self._settings.object_bytes_max
        objects = AssociationObjects(
            association, reception, self._receiver, self._check_may_store, limit_bytes=limit_bytes
        )
        with self._idle:
            if self._stopping:
                return False
            take_over(association, objects, self._settings.network_timeout_s)
            self._services.attach(association, self._find_caller)
            self._receptions[association] = reception
        return True

    def _on_requested(self, event: Any) -> None:
        association, reception = event.assoc, self._receptions[event.assoc]
        request = association.requestor.primitive
        reception.calling_ae_title = request.calling_ae_title.strip()
        call = Call(
            reception.calling_ae_title, request.called_ae_title.strip(), reception.peer_address, reception.over_tls
        )
        decision = self._admit(call, reception)
        if isinstance(decision, Rejection):
            reception.rejected = True
            self._record_refusals(reception, [(decision.reason, decision.remedy)])
            association.acse.send_reject(decision.result, decision.source, decision.diagnostic)
            association.kill()  # returns when the answer is sent and the peer has closed
            return
        roles = association.requestor.role_selection
        association.acceptor.supported_contexts = admission.tailor_contexts(
            _proposed(association), decision, self._services, {str(uid) for uid, item in roles.items() if item.scp_role}
        )

    def _admit(self, call: Call, reception: Reception) -> Peer | Rejection:
        """Decide one call at a time, so that two calls never take the same last place."""
        with self._admission_lock:
            open_now = [one.peer for one in list(self._receptions.values()) if one.peer is not None]
            load = Load(len(open_now), sum(is_visitor(peer) for peer in open_now))
            decision = admit(call, self._peers, self._rules, load)
            if isinstance(decision, Peer):
                reception.peer = decision
            return decision

    def _find_caller(self, association: Association) -> Caller:
        reception = self._receptions[association]
        peer = reception.peer or Peer(reception.calling_ae_title, reception.calling_ae_title, frozenset())

        def refuse(status: int | None, reason: str, remedy: str) -> None:
            self._record_refusals(reception, [(reason, remedy)], status)

        return Caller(peer, reception.association_id, reception.peer_address, refuse)

    def _turned_away(self, peer_address: str, reason: str, remedy: str) -> None:
        """Write of a connection that came to no association; within the border, for the accept loop must go on."""
        try:
            self._record_refusals(Reception(new_id(), peer_address, self._clock()), [(reason, remedy)])
        except Exception:
            log.exception("refusal_not_recorded", code="turned_away")

    def _on_sop_common(self, event: Any) -> dict[UID, Any]:
        return {**event.items, **admission.name_storage_service(_proposed(event.assoc))}

    def _on_accepted(self, event: Any) -> None:
        reception = self._receptions[event.assoc]
        reception.accepted = True
        with self._journal.transaction() as connection:
            open_association(
                connection,
                reception.association_id,
                reception.calling_ae_title,
                reception.peer_address,
                reception.opened_at,
            )
        peer = self._find_caller(event.assoc).peer
        self._record_refusals(reception, admission.explain_refused_contexts(event.assoc, peer, self._services))

    def _check_may_store(self, reception: Reception) -> None:
        if reception.peer is None or Permission.STORE not in reception.peer.may:
            raise NotAllowedToStore(f"{reception.calling_ae_title} may not store")

    def _ended(self, association: Any) -> None:
        try:
            reception = self._receptions[association]
            if association.dul.abandon():
                self._record_refusals(reception, [CUT_OFF])
            if reception.accepted:
                close_association(self._journal, reception.association_id, self._clock())
                self._on_association_end()
            elif not reception.rejected and _received_anything(association):
                self._record_refusals(reception, [NOT_DICOM])
            log.info(
                "association_ended",
                association_id=reception.association_id,
                calling_ae_title=reception.calling_ae_title,
                accepted=reception.accepted,
                stored=reception.stored,
                refused=reception.refused,
            )
        finally:
            with self._idle:
                del self._receptions[association]
                self._idle.notify_all()

    def _record_refusals(
        self, reception: Reception, explained: list[tuple[str, str]], status: int | None = None
    ) -> None:
        if not explained:
            return
        with self._journal.transaction() as connection:
            for reason, remedy in explained:
                refusal = Refusal(
                    at=self._clock(),
                    calling_ae_title=reception.calling_ae_title,
                    peer_address=reception.peer_address,
                    status=status,
                    reason=reason,
                    remedy=remedy,
                )
                record_refusal(connection, refusal)
        log.warning("association_refused", association_id=reception.association_id, reasons=len(explained))


NOT_DICOM = (
    "A connection ended before it asked for an association in DICOM's way",
    "Check the device's port and protocol; a port scanner or a monitoring probe may also be the reason.",
)
CUT_OFF = (
    "The association ended in the middle of an object; that object was not stored",
    "Check the cable and the device, then send the study again.",
)


def _proposed(association: Any) -> list[PresentationContext]:
    return list(association.requestor.primitive.presentation_context_definition_list)


def _received_anything(association: Any) -> bool:
    connection = association.dul.socket
    return isinstance(connection, GatewaySocket) and connection.received_bytes > 0
