"""The gateway as the clinic runs it: its own process, real DICOM on both sides, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context

from gateway.clock import utc_now
from gateway.journal.database import JOURNAL_NAME, Journal, to_text
from gateway.operations import Asker, limit_line
from storage.contract.identifiers import Uid, new_id, new_uid
from storage.contract.wire import DocumentKind
from tests.benchmarks.clinic import resent_after
from tests.integration.gateway_link.hub_stand_in import CODE, HubStandIn
from tests.integration.gateway_link.pacs_stand_in import PacsStandIn
from tests.integration.gateway_link.test_returns import make_document
from tests.support.waiting import eventually

CT = "1.2.840.10008.5.1.4.1.1.2"
PSS_MAX_MB = 150
pytestmark = pytest.mark.services


class GatewayProcess:
    def __init__(self, directory: Path, config: Path) -> None:
        self.directory = directory
        self.config = config
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", "--config", str(self.config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def start(self) -> int:
        port_file = self.directory / "port"
        port_file.unlink(missing_ok=True)
        with (self.directory / "log").open("ab") as log:
            command = [sys.executable, "-m", "gateway", "--config", str(self.config), "serve"]
            self.process = subprocess.Popen(command, stderr=log, stdout=log)

        def port() -> int:
            assert port_file.exists(), (self.directory / "log").read_text()
            return int(port_file.read_text())

        return eventually(port)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(timeout=60)

    def pss_mb(self) -> float:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) / 1024


@pytest.fixture
def pacs() -> Iterator[PacsStandIn]:
    listener = PacsStandIn()
    listener.start()
    yield listener
    listener.stop()


@pytest.fixture
def gateway(tmp_path: Path, hub: HubStandIn, pacs: PacsStandIn) -> Iterator[GatewayProcess]:
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'spool_dir = "{tmp_path / "spool"}"\nquiet_period_s = 0.2\nport_file = "{tmp_path / "port"}"\n'
        f'[hub]\nurl = "{hub.url}"\nretry_delay_max_s = 0.5\n'
        '[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["CT1"]\ndisk_floor_bytes = 0\n'
        '[console]\nhost = "127.0.0.1"\nport = 0\n'
        f'[[targets]]\nname = "main"\nhost = "127.0.0.1"\nport = {pacs.port}\nae_title = "PACS"\n',
        encoding="utf-8",
    )
    process = GatewayProcess(tmp_path, config)
    yield process
    process.stop(signal.SIGKILL)


def send_study(
    port: int, instances: int = 3, calling: str = "CT1", frames: int = 1, pixels: bytes | None = None
) -> Uid:
    """Send slices of noise, or of these pixels."""
    study, series = new_uid(), new_uid()
    entity = AE(ae_title=calling)
    association = entity.associate("127.0.0.1", port, [build_context(CT, ExplicitVRLittleEndian)])
    assert association.is_established
    for number in range(instances):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CT, new_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.PatientID, dataset.PatientName = "P1", "Zhang^San"
        dataset.InstanceNumber = number
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        if frames > 1:
            dataset.NumberOfFrames = frames
        dataset.PixelData = os.urandom(512 * frames) if pixels is None else pixels
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    return study


def status(gateway: GatewayProcess) -> dict[str, list[dict[str, str]]]:
    return json.loads(gateway.run("status", "--json").stdout)


def log_events(gateway: GatewayProcess, name: str) -> list[dict[str, Any]]:
    """Return the log's whole lines of this event, in order."""
    lines = (gateway.directory / "log").read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if f'"{name}"' in line and line.endswith("\n")]
    return [event for event in found if event["event"] == name]


def journal_of(gateway: GatewayProcess) -> Journal:
    return Journal(gateway.directory / "spool" / JOURNAL_NAME)


def study_is_confirmed(gateway: GatewayProcess, study: Uid) -> Callable[[], None]:
    return lambda: _assert(study in {event["study_uid"] for event in log_events(gateway, "transfer_confirmed")})


def study_is(gateway: GatewayProcess, study: Uid, state: str) -> Callable[[], None]:
    def is_there() -> None:
        assert {one["study_uid"]: one["state"] for one in status(gateway)["studies"]}[study] == state

    return is_there


def test_whole_road_of_one_gateway(gateway: GatewayProcess, hub: HubStandIn, pacs: PacsStandIn) -> None:
    enrolled = gateway.run("enrol", "--code", CODE)
    assert enrolled.returncode == 0, enrolled.stderr
    port = gateway.start()
    study = send_study(port)
    eventually(study_is(gateway, study, "confirmed"))
    descriptor, content = make_document(DocumentKind.SR, study, new_id())
    hub.publish(descriptor, content)

    def home() -> None:
        assert hub.hops() == ["received", "completed", "uploaded", "confirmed", "fetched", "delivered"]

    eventually(home)
    ledger = gateway.run("custody", study)
    assert [line.split()[3] for line in ledger.stdout.splitlines()] == hub.hops()
    assert gateway.pss_mb() < PSS_MAX_MB
    assert gateway.stop() == 0  # all that runs has ended by itself
    log = (gateway.directory / "log").read_text()
    assert "Zhang" not in log
    assert '"level": "error"' not in log


def test_studies_received_before_enrolment_go_out_after_it(gateway: GatewayProcess, hub: HubStandIn) -> None:
    study = send_study(gateway.start())
    eventually(study_is(gateway, study, "arriving"))
    assert "not enrolled" in gateway.run("status").stdout
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    eventually(study_is(gateway, study, "confirmed"))


def test_killed_gateway_goes_on_where_it_was(gateway: GatewayProcess, hub: HubStandIn) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    hub.stop()
    study = send_study(gateway.start(), instances=5)
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    hub.start()
    gateway.start()
    eventually(study_is(gateway, study, "confirmed"))
    transfer = next(iter(hub.transfers.values()))
    assert len(transfer.verified) == 5


def test_gateway_killed_in_the_middle_of_uploads_sends_only_those_again(
    gateway: GatewayProcess, hub: HubStandIn
) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    limit_line(journal_of(gateway), Asker("technician-1", utc_now()), 60)
    gateway.config.write_text("line_seconds_per_pack = 0.2\n" + gateway.config.read_text(), encoding="utf-8")
    study = send_study(gateway.start(), instances=6, frames=4096)  # of 2 MiB of noise each, one pack

    def in_the_middle() -> None:
        uploaded = len(log_events(gateway, "pack_uploaded"))
        assert uploaded >= 2
        assert len(log_events(gateway, "pack_begun")) > uploaded

    eventually(in_the_middle)
    gateway.stop(signal.SIGKILL)
    killed_at = time.time()
    limit_line(journal_of(gateway), Asker("technician-1", utc_now()), None)
    gateway.start()
    eventually(study_is_confirmed(gateway, study))
    resent = resent_after(killed_at, log_events(gateway, "pack_begun"), log_events(gateway, "pack_uploaded"))
    assert resent.in_flight >= 1
    assert resent.per_stream <= 1
    assert len(next(iter(hub.transfers.values())).verified) == 6


def test_clock_that_ran_a_year_ahead_holds_no_study_back_once_it_is_put_right(
    gateway: GatewayProcess, hub: HubStandIn
) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    hub.stop()
    study = send_study(gateway.start())
    eventually(lambda: _assert(log_events(gateway, "study_completed") != []))
    gateway.stop(signal.SIGKILL)
    with journal_of(gateway).transaction() as connection:
        next_year = to_text(utc_now() + timedelta(days=365))
        connection.execute("UPDATE transfers SET completed_at = ?1, next_attempt_at = ?1", (next_year,))
    hub.start()
    gateway.start()
    eventually(study_is_confirmed(gateway, study))


def test_second_process_on_the_same_spool_is_refused_until_the_first_is_gone(gateway: GatewayProcess) -> None:
    gateway.start()
    second = gateway.run("serve")
    assert second.returncode == 1
    assert "another gateway already serves" in second.stderr
    gateway.stop(signal.SIGKILL)
    gateway.start()


def test_commands_of_another_process_take_effect_while_the_gateway_serves(
    gateway: GatewayProcess, hub: HubStandIn
) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    port = gateway.start()
    assert "paused" in gateway.run("line", "pause").stdout
    study = send_study(port)
    eventually(study_is(gateway, study, "declared"))
    assert "all uploads are paused" in gateway.run("line", "status").stdout
    cancelled = gateway.run("study", "cancel", study)
    assert "3 images that the hub has not confirmed stay in the spool" in cancelled.stdout
    assert gateway.run("line", "resume").returncode == 0
    other = send_study(port)
    eventually(study_is(gateway, other, "confirmed"))
    study_is(gateway, study, "declared")()
    assert ", cancelled" in gateway.run("status").stdout
    assert gateway.run("study", "requeue", study).returncode == 0
    eventually(study_is(gateway, study, "confirmed"))
    refused = gateway.run("study", "pause", study)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "confirmed every image" in refused.stderr


def test_a_delivery_is_cancelled_and_made_after_all_by_commands_of_another_process(
    gateway: GatewayProcess, hub: HubStandIn, pacs: PacsStandIn
) -> None:
    pacs.status = 0xA700
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    descriptor, content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(descriptor, content)
    gateway.start()
    one = ("--document", descriptor.document_id, "--target", "pacs:main")

    def told(code: str) -> None:
        with hub.lock:
            assert code in [receipt.code or str(receipt.step) for _, receipt in hub.receipts]

    eventually(lambda: told("pacs_out_of_resources"))
    assert descriptor.document_id in gateway.run("status").stdout
    assert "The hub is told" in gateway.run("deliveries", "cancel", *one).stdout
    eventually(lambda: told("delivery_cancelled"))
    again = gateway.run("deliveries", "cancel", *one)
    assert (again.returncode, again.stdout) == (1, "")
    assert "does not wait" in again.stderr
    pacs.status = 0x0000
    assert "0 deliveries" in gateway.run("deliveries", "requeue").stdout
    assert "1 deliveries" in gateway.run("deliveries", "requeue", *one).stdout
    eventually(lambda: told("delivered"))
    assert list(pacs.received) == [descriptor.sop_instance_uid]


def test_wrong_code_is_refused_in_words_and_a_right_one_works_after(gateway: GatewayProcess) -> None:
    refused = gateway.run("enrol", "--code", "wrong-code-1")
    assert refused.returncode == 1
    assert "refused the code" in refused.stderr
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    again = gateway.run("enrol", "--code", CODE)
    assert again.returncode == 1
    assert "is enrolled for site clinic-a" in again.stderr


def test_check_names_what_is_wrong_and_the_remedy(gateway: GatewayProcess, hub: HubStandIn, pacs: PacsStandIn) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    fine = gateway.run("check")
    assert fine.returncode == 0, fine.stdout
    pacs.stop()
    hub.stop()
    wrong = gateway.run("check")
    assert wrong.returncode == 1
    assert "WRONG   hub:" in wrong.stdout
    assert "WRONG   pacs:main:" in wrong.stdout
    assert "AE title" in wrong.stdout


def test_bad_configuration_is_told_at_once(gateway: GatewayProcess) -> None:
    gateway.config.write_text("colour = 1\n", encoding="utf-8")
    result = gateway.run("serve")
    assert result.returncode == 1
    assert result.stderr.splitlines()[1:] == [
        "  - spool_dir: is missing",
        "  - hub: is missing",
        "  - dicom: is missing",
        "  - colour: the gateway has no such setting",
    ]


def test_taken_port_ends_serve_with_words(gateway: GatewayProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway.config.write_text(gateway.config.read_text().replace("port = 0", f"port = {port}"), encoding="utf-8")
        result = gateway.run("serve")
    assert result.returncode == 1
    assert "cannot start" in result.stderr


def test_unusable_key_file_is_named_and_does_not_keep_scanners_out(gateway: GatewayProcess) -> None:
    assert gateway.run("enrol", "--code", CODE).returncode == 0
    key = gateway.directory / "spool" / "identity.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    study = send_study(gateway.start())
    eventually(study_is(gateway, study, "ready"))
    assert "chmod 600" in gateway.run("check").stdout


def _assert(condition: bool) -> None:
    assert condition
