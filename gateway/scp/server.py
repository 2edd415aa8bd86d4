"""The DICOM server: C-ECHO and C-STORE of every storage class, from known modalities.

Durable: what `InstanceReceiver` has answered with Success, the rows of associations and refusals. Volatile: the
associations themselves; at start-up `gateway.spool.rebuild` closes those that a stop cut off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import structlog
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from gateway.errors import SpoolFull
from gateway.journal.associations import Refusal, close_association, open_association, record_refusal
from gateway.journal.database import Journal
from gateway.scp import admission
from gateway.scp.reception import ArrivingObject, Reception, SpoolingDimse
from gateway.scp.store import InstanceReceiver, StoreCommand
from gateway.scp.transport import GatewayRequestHandler, GatewayServer, GatewaySocket
from gateway.spool.durable import DurableFile
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid, new_id
from storage.dicom.part10 import file_meta_bytes

PDV_BYTES_MAX = 128 * 1024
STOP_WITHIN_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """The listener's settings; port 0 takes any free one. `allowed_calling_ae_titles`: None lets everybody in."""

    ae_title: str
    host: str
    port: int
    allowed_calling_ae_titles: frozenset[str] | None
    associations_max: int
    object_bytes_max: int
    disk_floor_bytes: int
    network_timeout_s: float = 30.0
    acse_timeout_s: float = 5.0
    require_called_ae_title: bool = False

    def __post_init__(self) -> None:
        if self.allowed_calling_ae_titles is not None and not self.allowed_calling_ae_titles:
            raise ValueError("allowed_calling_ae_titles is empty: nobody could send")


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
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._on_association_end = on_association_end
        self._receiver = InstanceReceiver(spool, journal, clock, on_instance)
        self._receptions: dict[Association, Reception] = {}  # pynetdicom's events are typed too loosely: Any below
        self._idle = threading.Condition()
        self._server: GatewayServer | None = None

    def start(self) -> int:
        """Listen; return the bound port."""
        settings = self._settings
        ae = AE(ae_title=settings.ae_title)
        ae.maximum_associations = settings.associations_max
        ae.maximum_pdu_size = PDV_BYTES_MAX
        ae.acse_timeout = settings.acse_timeout_s
        ae.network_timeout = settings.network_timeout_s
        ae.dimse_timeout = settings.network_timeout_s
        ae.require_calling_aet = sorted(settings.allowed_calling_ae_titles or ())
        ae.require_called_aet = settings.require_called_ae_title
        ae.add_supported_context(Verification)
        server = cast(
            "GatewayServer",
            ae.make_server(
                (settings.host, settings.port),
                server_class=GatewayServer,
                evt_handlers=self._handlers(),
                request_handler=GatewayRequestHandler,
            ),
        )
        server.began, server.ended = self._began, self._ended
        ae._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dicom-listener").start()
        self._server = server
        port = server.server_address[1]
        log.info("dicom_listening", ae_title=settings.ae_title, port=port)
        return port

    def stop(self) -> None:
        """Stop listening, abort what is under way, and return when every association has ended."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        for association in list(self._receptions):
            association.abort()
        with self._idle:
            if not self._idle.wait_for(lambda: not self._receptions, STOP_WITHIN_S):
                log.warning("associations_still_open_at_stop", associations=len(self._receptions))

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_SOP_COMMON, self._on_sop_common),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_c_store),
        ]

    # The events of one association, in the order in which they come.

    def _began(self, association: Any) -> None:
        peer = association.requestor.address_info
        reception = Reception(new_id(), peer_address=peer.address if peer else "", opened_at=self._clock())
        association.dimse = SpoolingDimse(association, self._begin_object)
        self._receptions[association] = reception

    def _on_requested(self, event: Any) -> None:
        request = event.assoc.requestor.primitive
        self._receptions[event.assoc].calling_ae_title = request.calling_ae_title.strip()
        event.assoc.acceptor.supported_contexts = admission.tailor_contexts(_proposed(event.assoc))

    def _on_sop_common(self, event: Any) -> dict[UID, Any]:
        return {**event.items, **admission.name_storage_service(_proposed(event.assoc))}

    def _on_rejected(self, event: Any) -> None:
        reception = self._receptions[event.assoc]
        reception.rejected = True
        self._record_refusals(reception, [admission.explain_rejection(event.assoc)])

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
        self._record_refusals(reception, admission.explain_refused_contexts(event.assoc))

    def _begin_object(self, association: Association, context_id: int | None, command: Any) -> ArrivingObject:
        syntaxes = {context.context_id: context.transfer_syntax[0] for context in association.accepted_contexts}
        meta = file_meta_bytes(
            str(command.get("AffectedSOPClassUID", "")),
            str(command.get("AffectedSOPInstanceUID", "")),
            str(syntaxes.get(context_id, ImplicitVRLittleEndian)),  # of an unknown context: pynetdicom aborts
            self._receptions[association].calling_ae_title,
        )
        return ArrivingObject(self._begin_above_floor, meta, limit_bytes=self._settings.object_bytes_max)

    def _begin_above_floor(self) -> DurableFile:
        if self._spool.free_bytes() < self._settings.disk_floor_bytes:
            raise SpoolFull(f"less than {self._settings.disk_floor_bytes} bytes are free")
        return self._spool.begin()

    def _on_c_store(self, event: Any) -> Any:
        request = event.request
        command = StoreCommand(str(request.AffectedSOPInstanceUID or ""), str(request.AffectedSOPClassUID or ""))
        arriving = request._dataset_file
        if arriving is None:  # a command without a dataset: refused like any that lacks its identifiers
            arriving = self._begin_object(event.assoc, event.context.context_id, {})
        return self._receiver.receive(self._receptions[event.assoc], command, arriving)

    def _ended(self, association: Any) -> None:
        try:
            reception = self._receptions[association]
            if association.dimse.abandon():
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

    def _record_refusals(self, reception: Reception, explained: list[tuple[str, str]]) -> None:
        if not explained:
            return
        with self._journal.transaction() as connection:
            for reason, remedy in explained:
                refusal = Refusal(
                    at=self._clock(),
                    calling_ae_title=reception.calling_ae_title,
                    peer_address=reception.peer_address,
                    status=None,
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
