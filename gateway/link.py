"""Everything of an enrolled gateway that talks to the hub, put together.

Durable: the journal; each part says what it keeps there. Volatile: threads and connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from gateway.clock import utc_now
from gateway.forwarder import Forwarder
from gateway.forwarder.custody_reporter import CustodyReporter
from gateway.forwarder.giving_again import GivingAgain
from gateway.forwarder.steps import TransferSteps
from gateway.hub import HubClient, SigningIdentity
from gateway.hub.course import CourseSync
from gateway.hub.identity_doubts import IdentitySync
from gateway.hub.news import HubNews
from gateway.hub.orders import OrderSync
from gateway.hub.preliminaries import PreliminarySync
from gateway.hub.reach import Reach
from gateway.journal.controls import held_studies
from gateway.journal.database import Journal
from gateway.journal.deliveries import note_unknown_targets
from gateway.journal.identity import Identity
from gateway.journal.line import save_reached, save_unreachable
from gateway.line.budget import LineBudget
from gateway.line.watch import LineWatch
from gateway.loops import Loop
from gateway.priors import Pacs, PriorFetcher, PriorLimits, PriorRequests
from gateway.returns import Deliverer, DocumentFetcher, ReceiptSender
from gateway.returns.channel import Channel
from gateway.returns.channels import Sender, build_channel
from gateway.returns.companions import Companions
from gateway.returns.store import DocumentStore
from gateway.scu import Destination
from gateway.settings import GatewaySettings
from gateway.spool.spool import Spool
from gateway.targets import Target
from storage.contract.identifiers import Uid
from storage.tls import Credentials

REACHED_NOTED_EVERY_S: Final = 10.0
CUSTODY_GATHER_S: Final = 1.0  # a study has a dozen events within a second


def build_client(settings: GatewaySettings, identity: SigningIdentity | None, reach: Reach | None = None) -> HubClient:
    """Return a client of the configured hub; without an identity it can only enrol and ask for health."""
    return HubClient(
        settings.hub.url,
        identity,
        clock=utc_now,
        connect_timeout_s=settings.hub.connect_timeout_s,
        read_timeout_s=settings.hub.read_timeout_s,
        ca_file=settings.hub.ca_file,
        reach=reach,
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
        expect: Callable[[Uid, int], None] = lambda _study_uid, _instances: None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._retry_s = settings.hub.retry_delay_max_s
        self._reached_noted_at = -REACHED_NOTED_EVERY_S
        reach = Reach(on_reached=self._reached, on_back=self._came_back, on_lost=self._lost)
        self._client = build_client(settings, signing, reach)
        self._budget = LineBudget()
        self._line = LineWatch(
            journal,
            self._budget,
            settings.line.plan(),
            streams_max=settings.upload_streams,
            seconds_per_pack=settings.line_seconds_per_pack,
            clock=clock,
        )
        self._store = DocumentStore(settings.spool_dir, spool.files)
        reporter = CustodyReporter(
            journal, self._client, every_s=settings.hub.custody_report_s, retry_delay_max_s=self._retry_s
        )
        self._custody = Loop("custody", reporter.step, gather_s=CUSTODY_GATHER_S)
        self._receipts = Loop("receipts", ReceiptSender(journal, self._client, retry_delay_max_s=self._retry_s).step)
        self._forwarder = self._build_forwarder(spool)
        targets = settings.delivery_targets
        self._channels: list[Channel] = []
        self._deliveries = [loop for target in targets if (loop := self._build_delivery(target)) is not None]
        self._documents = self._build_documents(identity)
        self._loops = [
            self._custody,
            self._receipts,
            *self._deliveries,
            self._documents,
            Loop("line", self._watch_line),
            Loop("orders", OrderSync(journal, self._client, retry_delay_max_s=self._retry_s).step),
            Loop("courses", CourseSync(journal, self._client, retry_delay_max_s=self._retry_s).step),
            Loop("identity-doubts", IdentitySync(journal, self._client, retry_delay_max_s=self._retry_s).step),
            self._build_preliminaries(),
            Loop("hub-news", self._build_news(spool).step),
            *self._build_priors(expect),
        ]

    def _build_preliminaries(self) -> Loop:
        sync = PreliminarySync(
            self._journal,
            self._client,
            long_poll_s=self._settings.hub.long_poll_s,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_new=self._custody.wake,
        )
        return Loop("preliminaries", sync.step)

    def _build_news(self, spool: Spool) -> HubNews:
        give_again = GivingAgain(self._journal, spool, self._clock).give
        return HubNews(self._journal, self._client, self._settings.hub.url, self._clock, give_again)

    def start(self) -> None:
        """Go on with what the journal holds."""
        configured = [target.target for target in self._settings.delivery_targets]
        note_unknown_targets(self._journal, configured, self._clock())
        self._forwarder.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Begin nothing new and break off what is under way; returns at once."""
        self._forwarder.stop()
        for loop in self._loops:
            loop.stop()
        self._client.close()
        self._line.save()

    def join(self, deadline: float) -> bool:
        """Wait for the threads until `deadline` (monotonic seconds); return whether all have ended."""
        ended = self._forwarder.join(max(0.0, deadline - time.monotonic()))
        for loop in self._loops:
            ended &= loop.join(max(0.0, deadline - time.monotonic()))
        for channel in self._channels if ended else ():
            channel.shut_down()
        return ended

    def study_became_ready(self) -> None:
        """Forward a study that has just become complete."""
        self._forwarder.wake()
        self.custody_grew()

    def custody_grew(self) -> None:
        """Report new custody events now."""
        self._custody.wake()

    def _watch_line(self) -> float:
        before = (self._budget.limits, self._line.streams)
        wait_s = self._line.step()
        if (self._budget.limits, self._line.streams) != before:
            self._forwarder.wake()
        return wait_s

    def _reached(self) -> None:
        now = time.monotonic()
        if now - self._reached_noted_at >= REACHED_NOTED_EVERY_S:
            self._reached_noted_at = now
            save_reached(self._journal, self._clock())

    def _lost(self, because: str) -> None:
        self._reached_noted_at = -REACHED_NOTED_EVERY_S
        save_unreachable(self._journal, self._clock(), because)

    def _came_back(self) -> None:
        self._forwarder.line_came_back()
        for loop in (self._custody, self._receipts, self._documents):
            loop.wake()

    def uploads_on_line(self) -> int:
        """Return how many packs are on the line now."""
        return len(self._budget.on_line())

    def actions_asked(self) -> None:
        """Do what people have asked for since the last look."""
        held = held_studies(self._journal)
        self._budget.abort(lambda upload: upload.study_uid in held)
        self._forwarder.wake()
        for loop in self._loops:
            loop.wake()

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
            self._budget,
            self._line,
            clock=self._clock,
        )
        return Forwarder(
            self._journal,
            steps,
            self._budget,
            self._line,
            streams_max=self._settings.upload_streams,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_progress=self.custody_grew,
        )

    def _build_delivery(self, target: Target) -> Loop | None:
        tls = self._settings.dicom.tls
        sender = Sender(
            calling_ae_title=self._settings.dicom.ae_title,
            credentials=Credentials.of(tls) if tls is not None else None,
            companions=Companions(self._journal, self._store),
            clock=self._clock,
        )
        channel = build_channel(target, sender)
        if channel is None:
            return None
        self._channels.append(channel)
        deliverer = Deliverer(
            self._journal,
            self._store,
            target,
            channel,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_progress=self._documents_moved,
        )
        return Loop(f"deliver-{target.name}", deliverer.step)

    def _build_priors(self, expect: Callable[[Uid, int], None]) -> list[Loop]:
        """Return what asks the hub for its wishes and what fetches them, where a PACS is configured."""
        source, priors, dicom = self._settings.prior_source, self._settings.priors, self._settings.dicom
        if source is None or source.call_back is None:
            return []
        credentials = Credentials.of(dicom.tls) if dicom.tls is not None else None
        destination = Destination.of(source.ae_title, source.call_back, credentials)
        limits = PriorLimits(
            studies_max=priors.studies_max,
            years_max=priors.years_max,
            bytes_per_hour_max=priors.bytes_per_hour_max,
            give_up_after=timedelta(days=priors.give_up_days),
        )
        fetcher = PriorFetcher(
            self._journal,
            Pacs(destination, dicom.ae_title, source.character_set),
            limits,
            clock=self._clock,
            expect=expect,
            on_outcome=lambda: requests.wake(),  # noqa: PLW0108 -- it is made below
        )
        fetching = Loop("priors", fetcher.step)
        requests = Loop(
            "prior-requests", PriorRequests(self._journal, self._client, self._clock, on_heard=fetching.wake).step
        )
        return [requests, fetching]

    def _build_documents(self, identity: Identity) -> Loop:
        fetcher = DocumentFetcher(
            self._journal,
            self._store,
            self._client,
            identity,
            targets=self._settings.delivery_targets,
            long_poll_s=self._settings.hub.long_poll_s,
            retry_delay_max_s=self._retry_s,
            clock=self._clock,
            on_fetched=self._document_fetched,
            pace=self._budget.take_return,
        )
        return Loop("documents", fetcher.step)
