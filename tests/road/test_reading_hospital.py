"""An assisting hospital that keeps its workstations: from the clinic's scanner into its own PACS, and home again.

The clinic's gateway, the hub with all its roles and the hospital's gateway are processes, the hospital's PACS is
DCMTK's storescp, and its line is slow enough for the gateway to be killed in the middle of a download.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest

from gateway.hl7.mllp import MllpConnection
from storage.contract.hops import Hop
from storage.hl7.message import Message, encode, escape, header, parse_message, segment
from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.gateway_receive.modality import dataset_sha256
from tests.support.faulty_line import FaultyLine, Line
from tests.support.folders import files_under, size_bytes_of
from tests.support.network import TOOLS, RunningNetwork, hub_command, run_command, running_network, stop_process
from tests.support.ports import own_port
from tests.support.processes import RunningProcess
from tests.support.road import TEXT, sign, take_offer
from tests.support.storescp import StoreScp, running_storescp
from tests.support.waiting import eventually

pytestmark = [pytest.mark.road, pytest.mark.services, pytest.mark.xdist_group("hospital")]

HOSPITAL = "qinghe-renmin"
PRIOR, STUDY = "1.2.826.0.1.3680043.10.71", "1.2.826.0.1.3680043.10.72"
SLICES, PIXELS = 12, 256  # 1.5 MB of noise, which no compression makes smaller
PATIENCE_S = 60


@dataclass
class Hospital:
    """The hospital's gateway as a process, with the line between it and the hub."""

    folder: Path
    line: FaultyLine
    pacs: StoreScp
    port: int
    process: RunningProcess | None = None

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def configure(self, network: RunningNetwork) -> None:
        self.folder.mkdir()
        (self.folder / "gateway.toml").write_text(
            f'mode = "reader"\nspool_dir = "{self.spool}"\n[hub]\nurl = "{self.line.url}"\nretry_delay_max_s = 0.5\n'
            '[dicom]\nhost = "127.0.0.1"\nport = 0\ndisk_floor_bytes = 0\n[console]\nenabled = false\n'
            f'[reader]\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'[[targets]]\nname = "main"\nhost = "127.0.0.1"\nport = {self.pacs.port}\nae_title = "PACS"\n',
            encoding="utf-8",
        )
        code = hub_command(network.folder, "site", "enrol-reader", HOSPITAL).strip().splitlines()[-1]
        self.run("enrol", "--code", code)

    def run(self, *words: str) -> str:
        return run_command([TOOLS / "counterpart-gateway", "--config", self.folder / "gateway.toml", *words])

    def start(self) -> None:
        command = [TOOLS / "counterpart-gateway", "--config", self.folder / "gateway.toml", "serve"]
        self.process = RunningProcess(command, log_path=self.folder / "log", name="hospital")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill_session()
        self.process = None

    def report(self, message: bytes) -> Message:
        connection = MllpConnection("127.0.0.1", self.port, timeout_s=10)
        try:
            connection.send(message)
            return parse_message(connection.receive(time.monotonic() + 60), "UNICODE UTF-8")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    with running_network(tmp_path_factory.mktemp("hospital") / "network") as running:
        yield running


@pytest.fixture
def hospital(network: RunningNetwork, tmp_path: Path) -> Iterator[Hospital]:
    with (
        FaultyLine(target=urlsplit(network.url).port) as line,
        running_storescp(tmp_path / "pacs") as pacs,
    ):
        place = Hospital(tmp_path / "gateway", line, pacs, own_port())
        place.configure(network)
        yield place
        if place.process is not None:
            stop_process(place.process)


def scan(network: RunningNetwork, folder: Path, study: str, slices: int) -> dict[str, str]:
    """Send one patient's study from the clinic's scanner; return the digest of each dataset."""
    changed = {"patient_number": "P71", "patient_name": "Zhang^San", "rows": PIXELS, "columns": PIXELS}
    files = [
        write_slice(
            folder, number, study, **changed, pixels=os.urandom(2 * PIXELS * PIXELS), bits_stored=16, high_bit=15
        )
        for number in range(1, slices + 1)
    ]
    network.send(files)
    network.wait_for(study, Hop.CONFIRMED, PATIENCE_S)
    return {instance_uid(number, study): dataset_sha256(file) for number, file in enumerate(files, 1)}


def oru(network: RunningNetwork, login: str) -> bytes:
    licence = next(one["licence_number"] for one in network.county["physicians"] if one["login"] == login)
    lines = {"59776-5^Findings^LN": TEXT["findings"], "19005-8^Impressions^LN": TEXT["impression"]}
    texts = [
        segment("OBX", {1: str(number), 2: "FT", 3: code, 5: escape(text), 11: "P"})
        for number, (code, text) in enumerate(lines.items(), 2)
    ]
    segments = [
        header({3: "RIS", 4: "CITY", 9: "ORU^R01^ORU_R01", 10: "W71", 11: "P", 12: "2.5.1", 18: "GB 18030-2000"}),
        segment("PID", {1: "1", 3: "P71"}),
        segment("OBR", {1: "1", 18: "A71", 25: "P", 33: licence}),
        segment("OBX", {1: "1", 2: "ST", 3: "113014^DICOM Study^DCM", 5: STUDY, 11: "P"}),
        *texts,
    ]
    return encode(segments, "GB 18030-2000")


def in_pacs(pacs: StoreScp) -> dict[str, list[str]]:
    """Return the digests of the datasets of each instance's files, by SOP Instance UID."""
    found: dict[str, list[str]] = {}
    for path in pacs.files():
        uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        found.setdefault(uid, []).append(dataset_sha256(path))
    return found


def test_a_claimed_case_is_read_on_the_hospitals_own_workstation_and_its_report_comes_home_over_a_kill(
    network: RunningNetwork, hospital: Hospital, tmp_path: Path
) -> None:
    sent = scan(network, tmp_path / "prior", PRIOR, 2) | scan(network, tmp_path / "study", STUDY, SLICES)
    author, task = take_offer(network, STUDY, "interpretation")
    hospital.line.become(Line(mbit_s=4))
    hospital.start()

    def is_downloading() -> None:
        assert hospital.line.down_bytes > 300_000
        assert any(size_bytes_of(path) for path in files_under(hospital.spool / "tmp"))

    eventually(is_downloading, PATIENCE_S, logs=[hospital.process])
    hospital.kill()
    assert set(in_pacs(hospital.pacs)) < set(sent)
    hospital.line.become(Line())
    hospital.start()

    def each_came_once_as_the_scanner_sent_it() -> None:
        assert in_pacs(hospital.pacs) == {uid: [digest] for uid, digest in sent.items()}

    eventually(each_came_once_as_the_scanner_sent_it, PATIENCE_S)
    answer = hospital.report(oru(network, author))
    assert (answer.get("MSA", 1), answer.get("MSA", 2)) == ("AA", "W71"), answer.get("MSA", 3)
    network.wait_for(STUDY, Hop.DRAFT_CAME, PATIENCE_S)
    (held,) = network.api(author).call("GET", "/held")["held"]
    draft = network.api(author).call("GET", f"/cases/{held['case_id']}")["case"]["draft"]
    assert (draft["text"]["findings"], draft["text"]["impression"]) == (TEXT["findings"], TEXT["impression"])
    sign(network, author, task, "submit", TEXT)
    verifier, second = take_offer(network, STUDY, "verification")
    sign(network, verifier, second, "sign", {})
    network.wait_for(STUDY, Hop.ACKNOWLEDGED, PATIENCE_S)
    reports = [pydicom.dcmread(path, force=True) for path in network.pacs.received()]
    assert {str(report.Modality) for report in reports} == {"SR", "DOC"}
    assert {str(report.StudyInstanceUID) for report in reports} == {STUDY}

    def no_copy_is_left() -> None:
        assert files_under(hospital.spool / "reader", ".dcm") == []

    eventually(no_copy_is_left, PATIENCE_S, logs=[hospital.process])  # it looks every few seconds what is still held
