"""A modality that asks for storage commitment and listens for the answer, as its own SCP on its own port."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_role, evt

COMMITMENT = UID("1.2.840.10008.1.20.1")
INSTANCE = UID("1.2.840.10008.1.20.1.1")


@dataclass(frozen=True)
class Report:
    """One N-EVENT-REPORT as it came; `failed` by SOP Instance UID."""

    event_type: int
    transaction_uid: str
    calling_ae_title: str
    committed: frozenset[str]
    failed: dict[str, int]


class CommitmentPeer:
    """Starts deaf: `listen` opens its port. `knows_roles` says whether it answers role selection."""

    def __init__(self, ae_title: str, port: int, *, knows_roles: bool = True) -> None:
        self.ae_title = ae_title
        self.port = port
        self.reports: list[Report] = []
        self.status = 0x0000
        self._knows_roles = knows_roles
        self._server: Any = None
        self._lock = threading.Lock()

    def listen(self) -> None:
        ae = AE(ae_title=self.ae_title)
        if self._knows_roles:
            ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        else:
            ae.add_supported_context(COMMITMENT)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def ask(
        self,
        gateway_port: int,
        references: Sequence[tuple[str, str]],
        *,
        transaction_uid: str | None = None,
        action_type: int = 1,
        instance: str = INSTANCE,
    ) -> tuple[Dataset, str]:
        """Send an N-ACTION for (class, instance) pairs; return the status and the Transaction UID."""
        information = Dataset()
        information.TransactionUID = transaction_uid or generate_uid()
        information.ReferencedSOPSequence = [_item(*reference) for reference in references]
        return self.send(gateway_port, information, action_type, instance), str(information.TransactionUID)

    def send(self, gateway_port: int, information: Dataset, action_type: int, instance: str) -> Dataset:
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(COMMITMENT)
        association = ae.associate(
            "127.0.0.1", gateway_port, ae_title="GATEWAY", ext_neg=[build_role(COMMITMENT, scu_role=True)]
        )
        assert association.is_established, "storage commitment was refused"
        try:
            status, _ = association.send_n_action(information, action_type, COMMITMENT, UID(instance))
        finally:
            association.release()
        return status

    def report_on(self, transaction_uid: str) -> Report:
        """Return the only report of this transaction."""
        with self._lock:
            found = [report for report in self.reports if report.transaction_uid == transaction_uid]
        assert len(found) == 1, self.reports
        return found[0]

    def _on_report(self, event: Any) -> tuple[int, None]:
        information = event.event_information
        report = Report(
            event.event_type,
            str(information.TransactionUID),
            event.assoc.requestor.ae_title,
            frozenset(str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence", [])),
            {
                str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
                for item in information.get("FailedSOPSequence", [])
            },
        )
        with self._lock:
            if self.status == 0x0000:
                self.reports.append(report)
        return self.status, None


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
