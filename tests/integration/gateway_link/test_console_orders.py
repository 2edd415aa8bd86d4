"""An order typed at the console of a gateway that serves without its hub, until a scanner's query finds it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import utc_now
from gateway.console.accounts import make_local_account
from gateway.journal.database import JOURNAL_NAME, Journal
from gateway.journal.orders import list_orders
from tests.integration.gateway_console.conftest import PASSWORD, Browser
from tests.integration.gateway_link.test_order_commands import enrol, worklist
from tests.integration.gateway_link.test_process import GatewayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

TYPED = {
    "patient_number": "P1",
    "patient_name": "张三",
    "lane": "stat",
    "green_channel": "stroke",
    "visit_kind": "E",
    "modality": "CT",
    "station_ae_title": "CT1",
    "procedure_name": "头颅CT平扫",
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that was enrolled once and whose hub cannot be reached now."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'spool_dir = "{tmp_path / "spool"}"\nport_file = "{tmp_path / "port"}"\n'
        '[hub]\nurl = "http://127.0.0.1:1"\n'
        '[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["CT1"]\ndisk_floor_bytes = 0\n'
        f'[console]\nhost = "127.0.0.1"\nport = 0\nport_file = "{tmp_path / "console.port"}"\n',
        encoding="utf-8",
    )
    process = GatewayProcess(tmp_path, config)
    enrol(process)
    yield process
    process.stop(signal.SIGKILL)


def log_in(gateway: GatewayProcess) -> Browser:
    port_file = gateway.directory / "console.port"

    def is_listening() -> Browser:
        assert port_file.exists()
        someone = Browser(f"http://127.0.0.1:{port_file.read_text().strip()}")
        assert someone.get("/login").status == 200
        return someone

    someone = eventually(is_listening)
    assert someone.log_in("tech").status == 303
    return someone


def test_order_typed_at_the_console_is_on_the_worklist_until_it_is_cancelled_also_after_a_kill(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "spool" / JOURNAL_NAME)
    make_local_account(journal, "tech", "高原", "technician", PASSWORD, utc_now())
    gateway.start()
    someone = log_in(gateway)
    found = re.search(r'name="order_id" value="([0-9a-f]+)"', someone.get("/orders/new").text)
    assert found is not None
    assert someone.post("/orders/new", order_id=found[1], **TYPED).status == 303
    gateway.stop(signal.SIGKILL)
    (tmp_path / "console.port").unlink()  # so that its file says when the next one listens
    (row,) = list_orders(journal)
    port = gateway.start()
    assert worklist(port, tmp_path / "entered") == [row.order.accession_number]
    someone = log_in(gateway)
    address = f"/orders/{row.order.order_id}"
    assert someone.post(f"{address}/change", version="1", **(TYPED | {"patient_name": "张三丰"})).status == 303
    assert worklist(port, tmp_path / "changed") == [row.order.accession_number]
    assert someone.post(f"{address}/cancel", version="2", reason="重复").status == 303
    assert worklist(port, tmp_path / "cancelled") == []
    assert "张三" not in (tmp_path / "log").read_text(encoding="utf-8")
