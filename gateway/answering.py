"""What the gateway answers beside C-ECHO and C-STORE, put together: services for the listener, loops that follow up.

Durable: the journal; each part says what it keeps there. Volatile: threads.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.commitment import CommitmentJudge, CommitmentService, CommitmentTeller
from gateway.journal.database import Journal
from gateway.journal.holdings import CLAIMED, OWN, Holdings
from gateway.loops import Loop
from gateway.peers import Peer, Permission
from gateway.performed_steps.arrivals import ArrivedOrders
from gateway.performed_steps.service import PerformedStepService
from gateway.query.finding import FindService
from gateway.query.own_files import OwnFiles
from gateway.query.retrieving import RetrieveService
from gateway.reader.claimed_files import ClaimedFiles
from gateway.scp.services import DicomService
from gateway.scu import Destination
from gateway.settings import GatewaySettings
from gateway.spool import layout
from gateway.spool.spool import Spool
from gateway.worklist import WorklistService
from storage.contract.identifiers import Uid
from storage.tls import Credentials

CALL_BACK_RETRY_S_MAX: Final = 600.0


class Answering:
    """The services, and the loops that serve them.

    `expect` hears how many instances of a study are to arrive, `look_again` that an examination has ended.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        spool: Spool,
        journal: Journal,
        clock: Callable[[], datetime],
        expect: Callable[[Uid, int], None],
        look_again: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._holdings = Holdings(journal, CLAIMED if settings.mode == "reader" else OWN)
        self._tellers = self._build_tellers()
        commitment = settings.dicom.commitment
        judge = CommitmentJudge(
            journal,
            wait_max=timedelta(hours=commitment.wait_hours),
            clock=clock,
            on_decided=self._commitment_decided,
        )
        self._judge = Loop("commitment", judge.step)
        arrived = Loop("arrived-orders", ArrivedOrders(journal, clock).step)
        self.loops = [self._judge, *self._tellers, arrived]
        self.services: list[DicomService] = [
            CommitmentService(journal, clock, self._judge.wake, expect).service(),
            FindService(
                self._holdings, own_ae_title=settings.dicom.ae_title, matches_max=settings.dicom.matches_max
            ).service(),
            *self._build_retrieval(spool).services(),
            self._build_worklist().service(),
            PerformedStepService(journal, clock, zone=self._zone(), expect=expect, look_again=look_again).service(),
        ]

    def _commitment_decided(self) -> None:
        for teller in self._tellers:
            teller.wake()

    def _zone(self) -> ZoneInfo:
        """Return the clinic's time zone: the one of its console."""
        return ZoneInfo(self._settings.console.time_zone)

    def _build_worklist(self) -> WorklistService:
        dicom = self._settings.dicom
        return WorklistService(
            self._journal,
            self._clock,
            zone=self._zone(),
            matches_max=dicom.matches_max,
            days_back=dicom.worklist_days,
        )

    def _build_retrieval(self, spool: Spool) -> RetrieveService:
        dicom = self._settings.dicom
        own = self._settings.mode == "site"
        files = OwnFiles(self._journal, spool) if own else ClaimedFiles(self._journal, spool.root)
        return RetrieveService(
            self._holdings,
            files.open,
            {destination.ae_title: destination for _, destination in self._destinations()},
            scratch=spool.root / layout.TMP,
            own_ae_title=dicom.ae_title,
            retrieves_max=dicom.retrieves_max,
        )

    def _build_tellers(self) -> list[Loop]:
        dicom = self._settings.dicom
        loops = []
        for peer, destination in self._destinations():
            if Permission.COMMIT not in peer.may:
                continue
            teller = CommitmentTeller(
                self._journal,
                destination,
                own_ae_title=dicom.ae_title,
                retry_delay_max_s=CALL_BACK_RETRY_S_MAX,
                give_up_after=timedelta(days=dicom.commitment.call_back_days),
                clock=self._clock,
            )
            loops.append(Loop(f"commitment-{peer.name}", teller.step))
        return loops

    def _destinations(self) -> list[tuple[Peer, Destination]]:
        """Return the devices that can be called, with how."""
        dicom = self._settings.dicom
        credentials = Credentials.of(dicom.tls) if dicom.tls is not None else None
        return [
            (peer, Destination.of(peer.ae_title, peer.call_back, credentials))
            for peer in self._settings.peers
            if peer.call_back is not None
        ]
