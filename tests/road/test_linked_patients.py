"""One patient, two clinics: the reader of one clinic's case sees the other's study, and whoever has no case does not.

Both gateways and the hub with all its roles are processes. One clinic's order says the national ID, the other clinic's
scanner sends it among the patient's other numbers.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
import urllib3

from reading_queue.db.schema import metadata_of_hub
from reading_queue.embedded.postgres import find_postgres_url
from storage.contract.hops import Hop
from storage.contract.identifiers import new_uid
from storage.contract.national_id import check_character
from tests.integration.hub_web.serving import Visitor
from tests.support.folders import files_under
from tests.support.network import TOOLS, RunningNetwork, running_network, start_gateway, stop_process
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.road,
    pytest.mark.services,
    pytest.mark.xdist_group("linked"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # pydicom in the scanner
]

PATIENCE_S = 90  # on a machine that does much else
OTHER_SITE = "qinghe-t02"
CT = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
NUMBER = "43010519580412112" + check_character("43010519580412112")
PATIENT = {
    "SpecificCharacterSet": "GB18030",
    "PatientName": "闻人^月",
    "PatientBirthDate": "19580412",
    "PatientSex": "F",
}
ORDER = {
    "patient_number": "QX-1001",
    "patient_name": "闻人月",
    "birth_date": "1958-04-12",
    "sex": "F",
    "identity_kind": "resident",
    "identity_number": NUMBER,
    "modality": "CT",
    "procedure_name": "胸部平扫",
}


@dataclass
class TwoClinics:
    """The running network with a second clinic, and the patient's study at each."""

    network: RunningNetwork
    here: str
    elsewhere: str

    def status(self, login: str, study_uid: str) -> int:
        """Return what a person is answered who asks for a study's headers."""
        with urllib3.PoolManager(retries=False, timeout=60) as http:
            address = f"{self.network.url}/dicomweb/studies/{study_uid}/metadata"
            headers = {"Authorization": f"Bearer {self.network.api(login).token}"}
            return http.request("GET", address, headers=headers).status

    def offered_to(self, study_uid: str) -> dict[str, str]:
        """Return the physicians to whom the study's interpretation is offered now, each with the task."""
        found = {
            login: offer["reading_task_id"]
            for login in self.physicians
            for offer in self.network.api(login).call("GET", "/offers")["offers"]
            if study_uid in offer["study_uids"]
        }
        assert found, f"{study_uid} is offered to nobody"
        return found

    def answer_to_colleague(self, login: str, holder: str) -> int:
        """Return what is answered about the study that `holder` reads: seniors of the hospital may take it over."""
        people = {one["login"]: one for one in self.network.county["physicians"]}
        leads = people[login]["title"] in {"associate_chief", "chief"}
        return 200 if leads and people[login]["organisation"] == people[holder]["organisation"] else 404

    def claim(self, study_uid: str, *, but: str = "") -> str:
        """Claim the study's interpretation as somebody to whom it is offered; return the login."""
        offers = eventually(lambda: self.offered_to(study_uid), PATIENCE_S, every_s=0.3, logs=[self.network.hub])
        login = next(login for login in offers if login != but)
        self.network.api(login).call("POST", f"/reading-tasks/{offers[login]}/claim")
        return login

    @property
    def physicians(self) -> list[str]:
        return [person["login"] for person in self.network.county["physicians"]]


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoClinics]:
    folder = tmp_path_factory.mktemp("linked")
    with running_network(folder / "network") as network:
        second = start_gateway(network.folder, network.url, network.pacs.port, site=OTHER_SITE, name="second")
        try:
            port_file = network.folder / "second" / "dicom.port"
            second.wait_until(port_file.exists)
            gateway = [TOOLS / "counterpart-gateway", "--config", network.folder / "gateway" / "gateway.toml"]
            ordered = subprocess.run(
                [*map(str, gateway), "order", "add", "-"],
                input=json.dumps(ORDER),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            elsewhere = scan(network, folder / "elsewhere.dcm", int(port_file.read_text()), OtherPatientIDs=NUMBER)
            network.wait_for(elsewhere, Hop.OFFERED, PATIENCE_S, OTHER_SITE)
            accession = ordered.stdout.strip()
            here = scan(network, folder / "here.dcm", PatientID="QX-1001", AccessionNumber=accession)
            network.wait_for(here, Hop.OFFERED, PATIENCE_S)
            yield TwoClinics(network, here, elsewhere)
        finally:
            stop_process(second)


def scan(network: RunningNetwork, path: Path, port: int | None = None, **said: str) -> str:
    """Send a slice of the patient from a scanner; return the study's UID."""
    dataset = pydicom.dcmread(CT)
    uids = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid(), "SOPInstanceUID": new_uid()}
    for keyword, value in (PATIENT | {"PatientID": "BT-7", "AccessionNumber": ""} | uids | said).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)
    network.send([path], port)
    return uids["StudyInstanceUID"]


def test_reader_with_the_case_sees_the_other_clinics_study_until_the_link_is_taken_apart(clinics: TwoClinics) -> None:
    other_reader = clinics.claim(clinics.elsewhere)
    reader = clinics.claim(clinics.here, but=other_reader)

    def sees_both() -> None:
        assert (clinics.status(reader, clinics.here), clinics.status(reader, clinics.elsewhere)) == (200, 200)

    eventually(sees_both, PATIENCE_S, every_s=0.3, logs=[clinics.network.hub])
    for login in clinics.physicians:
        if login not in (reader, other_reader):
            assert clinics.status(login, clinics.elsewhere) == clinics.answer_to_colleague(login, other_reader), login
            assert clinics.status(login, clinics.here) == clinics.answer_to_colleague(login, reader), login
    coordinator = Visitor(clinics.network.url)
    assert coordinator.log_in("coordinator", clinics.network.password_of("coordinator")).status == 303
    page = coordinator.get("/coordinator/links?state=linked").text
    ((link_id, version),) = re.findall(r'/coordinator/links/(\w{32})".*?name="version" value="(\d+)"', page, re.DOTALL)
    said = {"act": "refuse", "reason": "the clinics say that these are sisters", "version": version}
    assert coordinator.post(f"/coordinator/links/{link_id}", **said, state="linked", page="1").status == 303
    assert clinics.status(reader, clinics.elsewhere) == clinics.answer_to_colleague(reader, other_reader)
    assert clinics.status(reader, clinics.here) == 200
    assert clinics.status(other_reader, clinics.elsewhere) == 200
    assert clinics.status(other_reader, clinics.here) == clinics.answer_to_colleague(other_reader, reader)


def test_national_id_is_in_the_versions_of_the_order_and_nowhere_else(clinics: TwoClinics) -> None:
    folder = clinics.network.folder
    url = find_postgres_url(folder / "hub")
    assert url is not None
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        holding = {
            table.name
            for table in metadata_of_hub().sorted_tables
            for said in connection.scalars(sa.text(f'SELECT one::text FROM "{table.name}" one'))
            if NUMBER in said
        }
    engine.dispose()
    assert holding == {"orders", "order_versions"}
    files = [path for name in ("log", "hub/log", "hub/redis") for path in files_under(folder / name)]
    assert files
    assert [str(path) for path in files if NUMBER.encode() in path.read_bytes()] == []
