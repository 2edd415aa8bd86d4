"""The listener for orders of the clinic's HIS or RIS. Nothing is durable here: see `intake`.

A port or certificate that cannot be had never keeps scanners away: it is told in the log and by `check`, and tried
again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from gateway.his_orders.intake import build_intake
from gateway.hl7.server import NOT_ENDED, MllpServer
from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.database import Journal
from gateway.loops import Loop
from gateway.settings import GatewaySettings
from storage.hl7.framing import UNFRAMED
from storage.tls import CertificateUnusable, Credentials, server_context

log = structlog.get_logger(__name__)

TRY_AGAIN_S: Final = 30.0
LISTENING_S: Final = 24 * 3600.0
CORRECT_THE_HIS: Final = "See addresses and tls of [hl7], and the address that the HIS calls from."
END_THE_MESSAGE: Final = (
    "Nothing of it was taken: have the HIS send it again, to its end (FS, CR) within message_s of [hl7]."
)


class OrderListener:
    """Listens from `start` to `stop`; `port` is 0 until it does."""

    def __init__(self, settings: GatewaySettings, journal: Journal, *, clock: Callable[[], datetime]) -> None:
        self._settings, self._journal, self._clock = settings, journal, clock
        self.intake = build_intake(settings, journal, clock)
        self._server: MllpServer | None = None
        self._loops = [Loop("order-messages", self.intake.step), Loop("hl7-listener", self._listen)]
        self.port = 0

    def start(self) -> None:
        """Decide on what a crash left undecided, and listen."""
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Take nothing more; returns at once."""
        for loop in self._loops:
            loop.stop()
        if self._server is not None:
            self._server.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the steps under way; return whether they have ended."""
        ended = all(loop.join(timeout_s) for loop in self._loops)
        if self._server is not None:
            self._server.stop()  # it may have begun to listen meanwhile
        return ended

    def _listen(self) -> float:
        if self.port:
            return LISTENING_S
        hl7 = self._settings.hl7
        try:
            tls = self._build_tls()
            self._server = MllpServer(
                (hl7.host, hl7.port),
                self.intake.handle,
                admits=hl7.admits,
                bytes_max=hl7.message_bytes_max,
                message_s=hl7.message_s,
                on_too_long=self.intake.refuse_long,
                tls=tls,
                on_refused=self._note_refusal,
            )
            port = self._server.start()
        except (OSError, CertificateUnusable) as exc:
            log.error("hl7_cannot_listen", port=hl7.port, reason=type(exc).__name__)
            return TRY_AGAIN_S
        if hl7.port_file is not None:
            partial = hl7.port_file.with_name(f"{hl7.port_file.name}.partial")
            partial.write_text(f"{port}\n", encoding="ascii")
            partial.rename(hl7.port_file)
        self.port = port
        log.info("hl7_listens", port=port, addresses=len(hl7.addresses))
        return LISTENING_S

    def _build_tls(self) -> ssl.SSLContext | None:
        tls = self._settings.dicom.tls
        if not self._settings.hl7.tls or tls is None:
            return None
        return server_context(Credentials.of(tls), require_client_certificate=tls.require_client_certificate)

    def _note_refusal(self, address: str, why: str) -> None:
        reason = f"A connection for orders was refused: {why}"
        remedy = END_THE_MESSAGE if why in {NOT_ENDED, UNFRAMED} else CORRECT_THE_HIS
        with self._journal.transaction() as connection:
            record_refusal(connection, Refusal(self._clock(), "HL7", address, None, reason, remedy))
