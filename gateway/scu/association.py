"""Associations that the gateway opens, plain or over TLS. Nothing here is durable; every failure is words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from gateway.peers import CallBack
from gateway.polled_socket import PolledSocket
from storage.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from storage.tls import CertificateUnusable, Credentials, client_context, explain_handshake

PDV_BYTES_MAX: Final = 128 * 1024
CONTEXTS_MAX: Final = 128  # PS3.8 section 9.3.2.2: odd numbers of one byte
CLOSE_WITHIN_S: Final = 1.0
SUCCESS: Final = 0x0000
_REJECTIONS: Final = {
    (1, 1): "gives no reason",
    (1, 2): "does not know the application context",
    (1, 3): "does not know our AE title",
    (1, 7): "does not know its own AE title by the name we use",
    (3, 1): "is busy now",
    (3, 2): "has too many associations open now",
}


class PeerUnavailable(Exception):
    """There is no association with a device, or it broke; the message is words for the technician.

    `rejection`: source and reason of its A-ASSOCIATE-RJ (PS3.8 table 9-21); `tls`: why the handshake failed, in words;
    `takes_nothing`: it answered, and accepted no presentation context.
    """

    def __init__(
        self,
        words: str,
        *,
        rejection: tuple[int, int] | None = None,
        tls: str | None = None,
        takes_nothing: bool = False,
    ) -> None:
        super().__init__(words)
        self.rejection = rejection
        self.tls = tls
        self.takes_nothing = takes_nothing


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a device listens. `tls` is None for plain DICOM; `tls_problem` says why TLS cannot be had."""

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    tls_problem: str | None = None

    def __str__(self) -> str:
        """Return the device as the technician knows it."""
        return f"{self.ae_title} at {self.host}:{self.port}"

    @classmethod
    def of(cls, ae_title: str, call_back: CallBack, credentials: Credentials | None) -> Destination:
        """Return the destination that the configuration describes; certificates that cannot be used come up later."""
        tls, problem = None, None
        if call_back.over_tls:
            try:
                tls = _make_tls(credentials, check_server_name=call_back.tls_server_name is not None)
            except CertificateUnusable as exc:
                problem = str(exc)
        return cls(
            ae_title,
            call_back.host,
            call_back.port,
            call_back.timeout_s,
            tls=tls,
            tls_server_name=call_back.tls_server_name,
            tls_problem=problem,
        )


@contextmanager
def associated(
    destination: Destination,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    *,
    negotiation: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """Associate, and release at the end; `negotiation` holds items such as roles.

    Raises:
        PeerUnavailable: there is no association.
    """
    if destination.tls_problem is not None:
        raise _without_tls(destination, destination.tls_problem)
    troubles: list[OSError] = []
    entity = _CallingEntity(calling_ae_title, destination.timeout_s)
    tls_args = None
    if destination.tls is not None:
        tls_args = (
            _RecordingContext(destination.tls, troubles, entity),
            destination.tls_server_name or destination.host,
        )
    association = entity.associate(
        destination.host,
        destination.port,
        list(contexts[:CONTEXTS_MAX]),
        ae_title=destination.ae_title,
        max_pdu=PDV_BYTES_MAX,
        ext_neg=list(negotiation),
        tls_args=tls_args,  # type: ignore[arg-type]  # pynetdicom only wraps sockets with it
        evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once), *handlers],
    )
    try:
        if not association.is_established:
            raise _explain(association, destination, troubles)
        yield association
    finally:
        if association.is_established:
            association.release()
        association.dul.join(CLOSE_WITHIN_S)
        entity.close()


def echo(destination: Destination, calling_ae_title: str) -> None:
    """Return when the device answers a C-ECHO; raises PeerUnavailable."""
    with associated(destination, calling_ae_title, [build_context(Verification)]) as association:
        status = association.send_c_echo()
    if "Status" not in status or status.Status != SUCCESS:
        raise PeerUnavailable(f"{destination} did not answer the C-ECHO with success")


class _CallingEntity(AE):
    """Remembers its sockets: pynetdicom leaves those of peers that it never reached to the garbage collector."""

    def __init__(self, ae_title: str, timeout_s: float) -> None:
        super().__init__(ae_title)
        self.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self.sockets: list[socket.socket] = []
        self.connection_timeout = timeout_s
        self.acse_timeout = timeout_s
        self.dimse_timeout = timeout_s
        self.network_timeout = timeout_s

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> Any:
        created = PolledSocket(assoc, address=address)
        created.tls_args = tls_args
        if created.socket is not None:
            self.sockets.append(created.socket)
        return created

    def close(self) -> None:
        """Close every socket; harmless for those that are closed."""
        for one in self.sockets:
            one.close()


class _RecordingContext:
    """A TLS context for pynetdicom, which logs why a handshake failed and then forgets it."""

    def __init__(self, context: ssl.SSLContext, troubles: list[OSError], entity: _CallingEntity) -> None:
        self._context = context
        self._troubles = troubles
        self._entity = entity

    def wrap_socket(self, raw: socket.socket, *, server_side: bool, server_hostname: str) -> ssl.SSLSocket:
        """Return the secured socket, whose handshake follows its connection."""
        secured = self._context.wrap_socket(raw, server_side=server_side, server_hostname=server_hostname)
        self._entity.sockets.append(secured)
        shake = secured.do_handshake

        def do_handshake(block: bool = False) -> None:  # noqa: FBT001, FBT002 -- ssl's signature
            try:
                shake(block)
            except OSError as exc:
                self._troubles.append(exc)
                raise

        secured.do_handshake = do_handshake  # type: ignore[method-assign]
        return secured


def _make_tls(credentials: Credentials | None, *, check_server_name: bool) -> ssl.SSLContext:
    if credentials is None:
        raise CertificateUnusable("[dicom.tls] names no certificate")
    return client_context(credentials, check_server_name=check_server_name)


def _explain(association: Association, destination: Destination, troubles: list[OSError]) -> PeerUnavailable:
    if troubles:
        return _without_tls(destination, explain_handshake(troubles[0]))
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        rejection = (answer.result_source, answer.diagnostic) if answer else None
        reason = _REJECTIONS.get(rejection, "gives no reason") if rejection else "is silent"
        return PeerUnavailable(f"{destination} refused the association: it {reason}", rejection=rejection or (1, 1))
    if association.is_aborted and not association.rejected_contexts:  # pynetdicom aborts when nothing is accepted
        return PeerUnavailable(f"{destination} cannot be reached or broke off the association")
    words = f"{destination} accepts none of the kinds of object or service that are offered"
    return PeerUnavailable(words, takes_nothing=True)


def _without_tls(destination: Destination, problem: str) -> PeerUnavailable:
    return PeerUnavailable(f"{destination} cannot be called over TLS: {problem}", tls=problem)


def _send_at_once(event: Any) -> None:
    """Set TCP_NODELAY: without it every small message waits for the peer's delayed acknowledgement."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
