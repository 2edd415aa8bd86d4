"""Everything of an enrolled gateway that talks to the hub, put together.

Durable: the journal; each part says what it keeps there. Volatile: threads and connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from gateway.clock import utc_now
from gateway.forwarder import Forwarder
from gateway.forwarder.custody_reporter import CustodyReporter
from gateway.forwarder.steps import TransferSteps
from gateway.hub import HubClient, SigningIdentity
from gateway.journal.database import Journal
from gateway.journal.identity import Identity
from gateway.loops import Loop
from gateway.returns import Deliverer, DocumentFetcher, ReceiptSender
from gateway.returns.store import DocumentStore
from gateway.settings import GatewaySettings, TargetSettings
from gateway.spool.spool import Spool


def build_client(settings: GatewaySettings, identity: SigningIdentity | None) -> HubClient:
    """Return a client of the configured hub; without an identity it can only enrol and ask for health."""
    return HubClient(
        settings.hub.url,
        identity,
        clock=utc_now,
        connect_timeout_s=settings.hub.connect_timeout_s,
        read_timeout_s=settings.hub.read_timeout_s,
        ca_file=settings.hub.ca_file,
    )


class HubLink:
    """Everything of a gateway that talks to the hub."""

    def __init__(
        self,
        settings: GatewaySettings,
        journal: Journal,
        spool: Spool,
        identity: Identity,
        signing: SigningIdentity,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._retry_s = settings.hub.retry_delay_max_s
        self._client = build_client(settings, signing)
        self._store = DocumentStore(settings.spool_dir, spool.files)
        reporter = CustodyReporter(
            journal, self._client, every_s=settings.hub.custody_report_s, retry_delay_max_s=self._retry_s
        )
        self._custody = Loop("custody", reporter.step)
        self._receipts = Loop("receipts", ReceiptSender(journal, self._client, retry_delay_max_s=self._retry_s).step)
        self._forwarder = self._build_forwarder(spool)
        self._deliveries = [self._build_delivery(target) for target in settings.targets]
        self._documents = self._build_documents(identity)
        self._loops = [self._custody, self._receipts, *self._deliveries, self._documents]

    def start(self) -> None:
        """Go on with what the journal holds."""
        self._forwarder.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Begin nothing new and break off what is under way; returns at once."""
        self._forwarder.stop()
        for loop in self._loops:
            loop.stop()
        self._client.close()

    def join(self, deadline: float) -> bool:
        """Wait for the threads until `deadline` (monotonic seconds); return whether all have ended."""
        ended = self._forwarder.join(max(0.0, deadline - time.monotonic()))
        for loop in self._loops:
            ended &= loop.join(max(0.0, deadline - time.monotonic()))
        return ended

    def study_became_ready(self) -> None:
        """Forward a study that has just become complete."""
        self._forwarder.wake()
        self.custody_grew()

    def custody_grew(self) -> None:
        """Report new custody events now."""
        self._custody.wake()

    def _document_fetched(self) -> None:
        for loop in self._deliveries:
            loop.wake()
        self._documents_moved()

    def _documents_moved(self) -> None:
        self._receipts.wake()
        self._custody.wake()

    def _build_forwarder(self, spool: Spool) -> Forwarder:
        steps = TransferSteps(
            self._journal,
            spool,
            self._client,
            clock=self._clock,
            line_seconds_per_pack=self._settings.line_seconds_per_pack,
        )
        return Forwarder(
            self._journal,
            steps,
            upload_streams=self._settings.upload_streams,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_progress=self.custody_grew,
        )

    def _build_delivery(self, target: TargetSettings) -> Loop:
        deliverer = Deliverer(
            self._journal,
            self._store,
            target,
            calling_ae_title=self._settings.dicom.ae_title,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_progress=self._documents_moved,
        )
        return Loop(f"deliver-{target.name}", deliverer.step)

    def _build_documents(self, identity: Identity) -> Loop:
        fetcher = DocumentFetcher(
            self._journal,
            self._store,
            self._client,
            identity,
            targets=[target.target for target in self._settings.targets],
            long_poll_s=self._settings.hub.long_poll_s,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_fetched=self._document_fetched,
        )
        return Loop("documents", fetcher.step)
