"""The clinic's HIS: the signed report as ORU^R01 over MLLP, delivered when the application acknowledgement says AA.

Nothing is durable here. A message that is sent again has the same control id and the same content, so that a HIS knows
it. One connection is kept alive; after a message without an answer it is closed, so that a late answer meets nobody.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.hl7.mllp import MllpConnection, PeerClosed, PeerRefusesTls, PeerSilent
from gateway.hl7.oru import build_oru, control_id
from gateway.returns.channel import Delivered, NotYet, Outcome, Parcel, Refused, TargetUnavailable, Unanswered
from gateway.returns.companions import Companions
from gateway.targets import Hl7Target
from storage.contract.delivery import DeliveryFailure, DeliveryFault
from storage.contract.signed_report import ReportUnreadable, parse_signed_report
from storage.hl7.framing import FrameTooLong
from storage.hl7.message import Message, MessageUnreadable, parse_message
from storage.tls import CertificateUnusable, Credentials, explain_handshake, receiver_context

log = structlog.get_logger(__name__)

PDF_LOOK_AGAIN_S: Final = 1.0
PDF_PATIENCE: Final = timedelta(minutes=10)  # then the text goes home without it
ACCEPTED: Final = "AA"
COMMITTED: Final = "CA"
ERRORS: Final = frozenset({"AE", "CE"})
REJECTIONS: Final = frozenset({"AR", "CR"})


class HisChannel:
    """One HIS and the connection to it."""

    def __init__(self, target: Hl7Target, companions: Companions, clock: Callable[[], datetime]) -> None:
        self._target = target
        self._companions = companions
        self._clock = clock
        self._connection: MllpConnection | None = None
        self._where = f"{target.host}:{target.port}"

    def open(self, parcels: Sequence[Parcel]) -> None:  # noqa: ARG002 -- one connection serves all
        """Connect, unless the connection of the last time still stands; raises TargetUnavailable."""
        if self._connection is not None and not self._connection.is_stale:
            return
        self._drop()
        target = self._target
        try:
            self._connection = MllpConnection(
                target.host,
                target.port,
                timeout_s=target.timeout_s,
                tls=tls_context(target),
                server_name=target.tls_server_name,
            )
        except CertificateUnusable as exc:
            raise self._unavailable(DeliveryFault.HIS_TLS, str(exc)) from exc
        except ssl.SSLError as exc:
            raise self._unavailable(DeliveryFault.HIS_TLS, explain_handshake(exc)) from exc
        except OSError as exc:
            raise self._unavailable(DeliveryFault.HIS_UNREACHABLE, exc.strerror or type(exc).__name__) from exc

    def deliver(self, parcel: Parcel) -> Outcome:
        """Send one report and wait for what the HIS says about it; raises TargetUnavailable."""
        pdf = None
        if self._target.message.pdf:
            pdf = self._companions.find_pdf(parcel.descriptor)
            if pdf is None and self._clock() - parcel.delivery.fetched_at < PDF_PATIENCE:
                return NotYet(PDF_LOOK_AGAIN_S)
        try:
            report = parse_signed_report(parcel.path.read_bytes())
        except ReportUnreadable:
            return Refused(DeliveryFailure.of(DeliveryFault.REPORT_UNREADABLE))
        is_void = self._companions.find_void(report)
        message_id = control_id(parcel.descriptor.document_id, self._target.target, is_void=is_void)
        orders = self._companions.find_orders(report)
        placers = self._companions.find_placers(orders)
        message = build_oru(report, self._target.message, message_id, pdf, orders, placers, is_void=is_void)
        return self._exchange(message, message_id)

    def close(self) -> None:
        """Keep the connection for the next time."""

    def shut_down(self) -> None:
        """Close the connection."""
        self._drop()

    def _exchange(self, message: bytes, message_id: str) -> Outcome:
        self.open(())  # many a HIS closes the connection after each answer
        connection = self._connection
        if connection is None:
            return self._unanswered(DeliveryFault.HIS_BROKE_OFF)
        deadline = time.monotonic() + self._target.timeout_s
        silence = DeliveryFault.HIS_NO_ANSWER
        try:
            connection.send(message)
            while True:
                answer = parse_message(connection.receive(deadline), self._target.message.character_set)
                if answer.get("MSA", 2) != message_id:
                    log.warning("his_answered_another_message", target=self._target.target)
                    silence = DeliveryFault.HIS_OTHER_ANSWER
                elif answer.get("MSA", 1) == COMMITTED:
                    silence = DeliveryFault.HIS_NOT_PROCESSED
                else:
                    return self._verdict(answer)
        except PeerSilent:
            return self._unanswered(silence)
        except PeerRefusesTls as exc:
            self._drop()
            cause = exc.__cause__
            why = explain_handshake(cause) if isinstance(cause, OSError) else "the TLS handshake failed"
            raise self._unavailable(DeliveryFault.HIS_TLS, why) from exc
        except PeerClosed:
            return self._unanswered(DeliveryFault.HIS_BROKE_OFF)
        except (MessageUnreadable, FrameTooLong):
            return self._unanswered(DeliveryFault.HIS_GARBAGE)

    def _verdict(self, answer: Message) -> Outcome:
        code = answer.get("MSA", 1)
        if code == ACCEPTED:
            return Delivered({"acknowledgement": code})
        if code in ERRORS | REJECTIONS:
            fault = DeliveryFault.HIS_ERROR if code in ERRORS else DeliveryFault.HIS_REJECTED
            return Refused(DeliveryFailure.of(fault, code=code, said=words_of(answer)))
        return self._unanswered(DeliveryFault.HIS_GARBAGE)

    def _unanswered(self, fault: DeliveryFault) -> Unanswered:
        self._drop()
        return Unanswered(DeliveryFailure.of(fault, where=self._where, seconds=f"{self._target.timeout_s:g}"))

    def _unavailable(self, fault: DeliveryFault, error: str) -> TargetUnavailable:
        return TargetUnavailable(DeliveryFailure.of(fault, where=self._where, error=error))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def words_of(answer: Message) -> str:
    """Return what an acknowledgement says in words: ERR-8 and ERR-7, else the text of ERR-3, else MSA-3. Pure."""
    said: list[str] = []
    for place in answer.named("ERR"):
        said += [answer.at(place, 8), answer.at(place, 7)]
        if not any(said):
            said += [answer.at(place, 3, 2), answer.at(place, 3), answer.at(place, 1, 4)]
    said.append(answer.get("MSA", 3))
    distinct = list(dict.fromkeys(" ".join(part.split()) for part in said if part.strip()))
    return "; ".join(distinct) or "no reason given"


def tls_context(target: Hl7Target) -> ssl.SSLContext | None:
    """Return how the HIS is spoken to under TLS, None where it is not; raises CertificateUnusable."""
    if not target.tls:
        return None
    own = None
    if target.certificate_file is not None and target.key_file is not None:
        own = Credentials(target.certificate_file, target.key_file)
    return receiver_context(target.ca_file, own)
