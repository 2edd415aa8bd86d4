"""A whole gateway listens for the HIS's orders where it is told to, and takes none for a site that it does not know."""

from __future__ import annotations

from pathlib import Path

from gateway.bootstrap import Gateway
from gateway.journal.database import Journal
from gateway.journal.order_messages import list_messages
from tests.integration.gateway_orders.sending import EXAMPLE, Sender, message, settings_of, told
from tests.support.waiting import eventually


def test_gateway_listens_for_orders_and_keeps_them_until_it_is_enrolled(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "spool", port_file=tmp_path / "hl7-port")
    own = settings.model_copy(
        update={
            "console": settings.console.model_copy(update={"enabled": False}),
            "dicom": settings.dicom.model_copy(update={"host": "127.0.0.1", "port": 0}),
        }
    )
    gateway = Gateway(own)
    gateway.start()
    try:

        def listens() -> None:
            assert (tmp_path / "hl7-port").exists()

        eventually(listens)
        his = Sender(int((tmp_path / "hl7-port").read_text()))
        answer = his.send(message(*EXAMPLE))
        his.close()
    finally:
        assert gateway.stop()
    assert told(answer) == ("AE", ["MSH-6"])
    assert "not enrolled" in answer.get("ERR", 8)
    journal = Journal(tmp_path / "spool" / "journal.sqlite")
    assert [kept.content for kept in list_messages(journal)] == [message(*EXAMPLE)]
    journal.close()
