"""What a gateway in reader mode does with the hub. Durable: the journal. Volatile: threads and connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.clock import utc_now
from gateway.hl7.server import MllpServer
from gateway.hub import HubClient
from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.database import Journal
from gateway.loops import Loop
from gateway.reader.cases import CaseKeeper
from gateway.reader.delivering import PacsDelivery
from gateway.reader.places import Places
from gateway.reader.reports import ReportIntake
from gateway.settings import GatewaySettings
from gateway.spool.spool import Spool
from gateway.targets import PacsTarget
from storage.tls import CertificateUnusable, Credentials, server_context

log = structlog.get_logger(__name__)

CORRECT_THE_WORKSTATION: Final = "See addresses and tls of [reader], and the certificates on both sides."


class ReaderLink:
    """Copies claimed cases into the hospital's PACS, and brings its workstations' reports to the hub as drafts."""

    def __init__(
        self,
        settings: GatewaySettings,
        journal: Journal,
        client: HubClient,
        spool: Spool,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        reader = settings.reader
        self._intake = ReportIntake(
            journal,
            client,
            character_set=reader.character_set,
            retry_delay_max_s=settings.hub.retry_delay_max_s,
            clock=clock,
        )
        self._journal, self._clock = journal, clock
        self._server = self._build_server(settings)
        self._reports = Loop("workstation-reports", self._intake.step)
        self._deliveries = _build_deliveries(settings, journal, spool, clock)
        self._places = Places.of(settings)
        self._keeper = CaseKeeper(
            journal,
            spool,
            client,
            places=self._places,
            keep=timedelta(days=reader.keep_days),
            retry_delay_max_s=settings.hub.retry_delay_max_s,
            clock=clock,
            on_copied=self._deliver,
        )
        self._cases = Loop("reader-cases", self._keeper.step)
        self._loops = [self._reports, self._cases, *self._deliveries]
        self.port = 0

    def start(self) -> None:
        """Listen, and go on with what waits. Raises OSError when the port cannot be had."""
        if self._server is not None:
            self.port = self._server.start()
        say = log.info if self._places.has_any else log.error
        say("reader_mode", port=self.port, words=self._places.words())
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Begin nothing new and break off what is under way; returns at once."""
        if self._server is not None:
            self._server.stop()
        for loop in self._loops:
            loop.stop()
        self._client.close()

    def join(self, deadline: float) -> bool:
        """Wait for the threads until `deadline` (monotonic seconds); return whether they have ended."""
        return all(loop.join(max(0.0, deadline - time.monotonic())) for loop in self._loops)

    def study_became_ready(self) -> None:
        """Do nothing: a reader sends no studies."""

    def custody_grew(self) -> None:
        """Do nothing: the hub writes what the reader does."""

    def actions_asked(self) -> None:
        """Look at what waits now."""
        for loop in self._loops:
            loop.wake()

    def make_room(self, wanted_bytes: int) -> int:
        """Remove copies of ended claims before their keep period is over; return how many bytes are free by it."""
        return self._keeper.make_room(wanted_bytes)

    def _build_server(self, settings: GatewaySettings) -> MllpServer | None:
        """Return the listener; None where its certificate cannot be used: then no report is taken, rather than bare."""
        reader, tls, context = settings.reader, settings.dicom.tls, None
        if reader.tls and tls is not None:
            try:
                demanded = tls.require_client_certificate
                context = server_context(Credentials.of(tls), require_client_certificate=demanded)
            except CertificateUnusable:
                log.exception("reader_tls_unusable")
                return None
        allowed = frozenset(str(address) for address in reader.addresses)
        return MllpServer(
            (reader.host, reader.port),
            lambda message, _address: self._intake.handle(message),
            admits=lambda address: not allowed or address in allowed,
            tls=context,
            on_refused=self._note_refusal,
        )

    def _note_refusal(self, address: str, why: str) -> None:
        reason = f"A workstation's report connection was refused: {why}"
        with self._journal.transaction() as connection:
            record_refusal(connection, Refusal(self._clock(), "HL7", address, None, reason, CORRECT_THE_WORKSTATION))

    def _deliver(self) -> None:
        for loop in self._deliveries:
            loop.wake()


def _build_deliveries(
    settings: GatewaySettings, journal: Journal, spool: Spool, clock: Callable[[], datetime]
) -> list[Loop]:
    """Return one queue for each PACS, so that none waits for another."""
    tls = settings.dicom.tls
    return [
        Loop(
            f"reader-{target.target}",
            PacsDelivery(
                journal,
                spool,
                target,
                calling_ae_title=settings.dicom.ae_title,
                credentials=Credentials.of(tls) if tls is not None else None,
                retry_delay_max_s=settings.hub.retry_delay_max_s,
                clock=clock,
            ).step,
        )
        for target in settings.targets
        if isinstance(target, PacsTarget)
    ]
