"""The clinic's PACS for tests: a real DICOM listener that can be stopped, started again and told to refuse."""

from __future__ import annotations

from pynetdicom import AE, evt

from tests.support.ports import own_port

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


class PacsStandIn:
    """Keeps the datasets' bytes by SOP Instance UID; `status` is its answer to every C-STORE."""

    def __init__(self, syntax: str = EXPLICIT) -> None:
        self.received: dict[str, bytes] = {}
        self.status = 0x0000
        self.allowed_calling: list[str] = []
        self.associations = 0
        self.port = own_port()
        self._syntax = syntax
        self._server = None

    def start(self) -> None:
        entity = AE(ae_title="PACS")
        entity.require_calling_aet = self.allowed_calling
        entity.add_supported_context(BASIC_TEXT_SR, self._syntax)
        entity.add_supported_context(ENCAPSULATED_PDF, self._syntax)
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def target(self) -> dict[str, object]:
        return {"name": "main", "host": "127.0.0.1", "port": self.port, "ae_title": "PACS", "timeout_s": 30}

    def _accepted(self, event) -> None:
        self.associations += 1

    def _store(self, event) -> int:
        if self.status == 0x0000 or self.status >> 12 == 0xB:
            self.received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return self.status
