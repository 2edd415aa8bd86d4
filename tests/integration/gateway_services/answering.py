"""A gateway that answers everything that it can, over a directory; the hub's word is written into its journal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.answering import Answering
from gateway.journal.instances import instances_of, place_transfer
from gateway.journal.transfers import TransferKey, mark_confirmed
from gateway.scp.services import DicomService
from gateway.settings import GatewaySettings
from gateway.spool import SpoolState
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.receiving import ReceivingGateway, utc_now, with_settings
from tests.support.waiting import eventually


@dataclass
class AnsweringGateway(ReceivingGateway):
    """`dicom` is the section of that name in its configuration."""

    dicom: dict[str, Any] = field(default_factory=dict)
    expected: list[tuple[str, int]] = field(default_factory=list)

    def make_services(self) -> Sequence[DicomService]:
        settings = GatewaySettings(
            spool_dir=self.directory / "spool",
            hub={"url": "http://127.0.0.1:1"},
            dicom={"ae_title": "GATEWAY", "allowed_calling_ae_titles": ["CT1", "US1"], **self.dicom},
        )
        self.settings = with_settings(
            allowed_calling_ae_titles=frozenset(),
            peers=settings.dicom.to_peers(),
            require_called_ae_title=settings.dicom.require_called_ae_title,
        )
        self.answering = Answering(
            settings, self.spool, self.journal, utc_now, self._expect, self.watcher.notice_change
        )
        return self.answering.services

    def _expect(self, study_uid: Uid, instances: int) -> None:
        self.expected.append((study_uid, instances))
        self.watcher.expect(study_uid, instances)

    def start(self) -> AnsweringGateway:
        super().start()
        for loop in self.answering.loops:
            loop.start()
        return self

    def stop(self) -> None:
        for loop in self.answering.loops:
            loop.stop()
        super().stop()
        deadline = time.monotonic() + 60
        for loop in self.answering.loops:
            loop.join(max(0.0, deadline - time.monotonic()))

    def confirm(self, study_uid: str) -> None:
        """Have the study complete and confirmed, as the forwarder does when the hub holds all of it."""
        self.enrol()
        self.watcher.force(Uid(study_uid))

        def handed_over() -> int:
            rows = self.journal.read("SELECT max(revision) AS n FROM transfers WHERE study_uid = ?", (study_uid,))
            assert rows[0]["n"] is not None
            assert instances_of(self.journal, Uid(study_uid), SpoolState.INCOMING) == []
            return int(rows[0]["n"])

        key = TransferKey(Uid(study_uid), eventually(handed_over))
        with self.spool.locked(key.study_uid):
            self.spool.move_to_sent(*key)
            with self.journal.transaction() as connection:
                mark_confirmed(connection, key, utc_now())
                place_transfer(connection, *key, SpoolState.SENT)

    def evict(self, sop_instance_uids: Iterable[str]) -> None:
        """Forget instances as the keeper does at the end of their keep period."""
        with self.journal.transaction() as connection:
            for uid in sop_instance_uids:
                connection.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (uid,))
