"""What a monitoring system is told of a gateway: spool, line and returns, about no patient."""

from __future__ import annotations

import re
from pathlib import Path

import urllib3
from prometheus_client import generate_latest

from gateway.bootstrap import Gateway
from gateway.figures import figures
from gateway.settings import GatewaySettings
from storage.contract.lanes import Lane
from storage.screens.figures_listener import registry_of
from tests.integration.gateway_console.conftest import Clinic, enrol
from tests.integration.gateway_console.day import Day
from tests.support.ports import own_port

DOCUMENT = Path(__file__).parents[3] / "deploy" / "metrics.md"


def text_of(clinic: Clinic) -> str:
    registry = registry_of(lambda: figures(clinic.journal, clinic.desk.spool, 1000, clinic.clock()))
    return generate_latest(registry).decode()


def told(clinic: Clinic) -> dict[str, float]:
    text = text_of(clinic)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_day_at_the_clinic_in_numbers(clinic: Clinic) -> None:
    enrol(clinic.journal, clinic.clock)
    day = Day(clinic)
    day.study(images=3)
    waiting = day.study(images=2, state="ready")
    day.transfer(waiting, "declared", lane="stat", sent=1, packs=4)
    seen = told(clinic)
    assert seen["counterpart_gateway_studies_arriving"] == 1
    assert seen["counterpart_gateway_spool_waiting_bytes"] > 0
    assert seen['counterpart_gateway_line_waiting_studies{lane="stat"}'] == 1
    assert seen['counterpart_gateway_line_waiting_studies{lane="routine"}'] == 0
    assert seen["counterpart_gateway_disk_floor_bytes"] == 1000
    assert seen["counterpart_gateway_deliveries_waiting"] == 0


def test_every_figure_is_explained_and_none_tells_of_a_patient(clinic: Clinic) -> None:
    enrol(clinic.journal, clinic.clock)
    study_uid = Day(clinic).study(name="Zhang^San=张^三", state="ready")
    text = text_of(clinic)
    for secret in ("Zhang", "张", study_uid, "P0001", "T010001"):
        assert secret not in text
    assert {value for _, value in re.findall(r'(\w+)="([^"]*)"', text)} == {str(lane) for lane in Lane}
    made = set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE))
    own = DOCUMENT.read_text(encoding="utf-8").partition("## A gateway")[2]
    assert made == set(re.findall(r"^\| `(counterpart_\w+)`", own, re.MULTILINE))


def test_a_gateway_answers_where_its_settings_say(tmp_path: Path) -> None:
    address = f"127.0.0.1:{own_port()}"
    settings = GatewaySettings.model_validate(
        {
            "spool_dir": tmp_path / "spool",
            "hub": {"url": "http://127.0.0.1:9"},
            "dicom": {"host": "127.0.0.1", "port": 0, "allowed_calling_ae_titles": ["CT1"]},
            "console": {"enabled": False},
            "metrics": {"address": address},
        }
    )
    gateway = Gateway(settings)
    gateway.start()
    try:
        answer = urllib3.request("GET", f"http://{address}/metrics", retries=False, timeout=60)
        assert answer.status == 200
        assert "counterpart_gateway_disk_free_bytes " in answer.data.decode()
    finally:
        assert gateway.stop()
