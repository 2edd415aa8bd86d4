"""One patient's whole road with refusals on the way: what names the patient is where it must be and nowhere else.

The patient is invented and recognisable in every form. One test shows that the search finds what it looks for.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pydicom
import pytest
import sqlalchemy as sa
import urllib3
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE
from pynetdicom.presentation import build_context

from reading_queue.db.schema import metadata_of_hub
from reading_queue.embedded.postgres import find_postgres_url
from storage.contract.hops import Hop
from storage.contract.identifiers import new_uid
from tests.integration.hub_web.serving import Visitor
from tests.support.folders import files_under
from tests.support.network import GATEWAY_AE, SCANNER_AE, SITE, TOOLS, RunningNetwork, running_network
from tests.support.road import sign, take_offer
from tests.support.traces import traces

pytestmark = [
    pytest.mark.road,
    pytest.mark.services,
    pytest.mark.xdist_group("privacy"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # pydicom in the scanner
]
PATIENCE_S = 60  # on a machine that does much else
CT = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"

FAMILY, GIVEN, FAMILY_LATIN, GIVEN_LATIN = "慕容", "雪鸢", "MurongQX", "XueyuanQX"
PATIENT_ID, ACCESSION, TELEPHONE, ADDRESS = "QX7731940", "ACCQX5528170000000099", "139QX277315", "霜叶巷九十九号"
REFERRING, DESCRIPTION, FINDING = "司徒^墨白", "左腕鹰嘴复查", "钩骨见柒柒叁壹号旧骨折线"
SEX, BIRTH_DATE = "雌QX性", "53.08QX17"  # not what the standard allows, and what devices send
PASSWORD_TRIED = "wrongQX-password"
PATIENT = [FAMILY, GIVEN, FAMILY_LATIN, GIVEN_LATIN, PATIENT_ID, ACCESSION, TELEPHONE, ADDRESS, SEX, BIRTH_DATE]
SECRETS = [*PATIENT, "墨白", DESCRIPTION, FINDING, PASSWORD_TRIED, "qinghe-demo"]

# Where the hub's database holds patients and texts, and must.
HOLDING = {"patients", "studies", "submissions", "reports"}
MAY_HOLD = HOLDING | {"drafts", "series", "orders"}
# Where the journal of the clinic's box does: what the technician's page and the scanners' queries ask for.
JOURNAL_MAY_HOLD = {"studies", "series", "orders"}


@dataclass
class Day:
    """What has happened, and what was said to those who asked."""

    network: RunningNetwork
    study_uid: str
    statuses: list[int] = field(default_factory=list)  # of refused instances
    answers: dict[str, int] = field(default_factory=dict)  # of refused requests: what, HTTP status
    told: dict[str, bytes] = field(default_factory=dict)  # what operators are told


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("privacy")
    files = [write_instance(folder / f"{number}.dcm") for number in (1, 2)]
    with running_network(folder / "network") as network:
        study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
        day = Day(network, study_uid)
        network.send(files)
        read_with_mistakes(day)
        send_what_is_refused(day, files[0], folder)
        ask_what_is_refused(day)
        network.wait_for(study_uid, Hop.ACKNOWLEDGED, PATIENCE_S)
        listen_to_operators(day)
        yield day


def write_instance(path: Path, **changes: object) -> Path:
    """Write a slice of the patient's study; the study is the same for all of one folder."""
    dataset, first = pydicom.dcmread(CT), path.with_name("1.dcm")
    values = {
        "SpecificCharacterSet": "GB18030",
        "PatientName": f"{FAMILY_LATIN}^{GIVEN_LATIN}={FAMILY}^{GIVEN}",
        "PatientID": PATIENT_ID,
        "PatientSex": "SEXSEX",
        "PatientBirthDate": BIRTH_DATE,
        "PatientAddress": ADDRESS,
        "PatientTelephoneNumbers": TELEPHONE,
        "AccessionNumber": ACCESSION,
        "ReferringPhysicianName": REFERRING,
        "StudyDescription": DESCRIPTION,
        "StudyInstanceUID": pydicom.dcmread(first).StudyInstanceUID if first.exists() else new_uid(),
        "SOPInstanceUID": new_uid(),
        **changes,
    }
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"SEXSEX", SEX.encode("gb18030")))
    return path


def read_with_mistakes(day: Day) -> None:
    """Two physicians sign; on the way the author's program sends what cannot be taken."""
    network, text = day.network, {"findings": f"{FINDING}🫁。", "impression": f"{FINDING}。"}
    author, task = take_offer(network, day.study_uid, "interpretation")
    token = network.api(author).token
    bad = {**text, "patient": FAMILY + GIVEN}
    ask(day, "body with an unknown key", "PUT", f"/api/v1/reading-tasks/{task}/draft", json=bad, token=token)
    nul = {"findings": f"{FINDING}\0", "impression": "", "recommendation": ""}
    ask(day, "text with a control character", "PUT", f"/api/v1/reading-tasks/{task}/draft", json=nul, token=token)
    browser = Visitor(network.url)
    browser.log_in(author, network.password_of(author))
    path = f"/radiologist/cases/{task}/tasks/{task}/draft"
    day.answers["forged form"] = browser.post(path, csrf_token="forged", **text).status
    network.api(author).call("PUT", f"/reading-tasks/{task}/draft", text)
    sign(network, author, task, "submit", text)
    verifier, task = take_offer(network, day.study_uid, "verification")
    sign(network, verifier, task, "sign", {})


def send_what_is_refused(day: Day, held: Path, folder: Path) -> None:
    """Truncated, conflicting, misnamed, from a stranger."""
    cut = write_instance(folder / "cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-1000])
    same_uid = pydicom.dcmread(held).SOPInstanceUID
    conflicting = write_instance(folder / "other.dcm", SOPInstanceUID=same_uid, PatientComments="other")
    misnamed = write_instance(folder / "misnamed.dcm")
    misnamed.write_bytes(misnamed.read_bytes().replace(day.study_uid.encode(), misleading_uid(day.study_uid)))
    announced = write_instance(folder / "announced.dcm")
    uid = pydicom.dcmread(announced).SOPInstanceUID
    announced.write_bytes(announced.read_bytes().replace(uid.encode(), misleading_uid(uid)))
    day.statuses = send(day.network, SCANNER_AE, [cut, conflicting, misnamed, announced])
    assert send(day.network, "STRANGER", [cut]) == []


def misleading_uid(uid: str) -> bytes:
    """Return bytes as long as `uid` with the patient's name: a sender that mixes up its fields."""
    return f"{FAMILY_LATIN}.{PATIENT_ID}".encode().ljust(len(uid), b"1")


def send(network: RunningNetwork, calling: str, files: Sequence[Path]) -> list[int]:
    """Send the files byte for byte and return the statuses; none when the association is refused."""
    entity = AE(ae_title=calling)
    meta = read_file_meta_info(files[0])
    entity.requested_contexts = [build_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)]
    association = entity.associate("127.0.0.1", network.dicom_port, ae_title=GATEWAY_AE)
    if not association.is_established:
        return []
    try:
        return [association.send_c_store(file).Status for file in files]
    finally:
        association.release()


def ask_what_is_refused(day: Day) -> None:
    """Ask the hub for what it must refuse, the patient's name in every part of the request."""
    name, token = quote(FAMILY + GIVEN), day.network.api("coordinator").token
    who = {"login": "coordinator", "password": PASSWORD_TRIED}
    ask(day, "wrong password", "POST", "/api/v1/session", json=who)
    ask(day, "unknown login", "POST", "/api/v1/session", json={**who, "login": f"{FAMILY}{GIVEN}"})
    study = f"/clinic/studies/{SITE}/{name}?patient={PATIENT_ID}"
    ask(day, "page of an unknown study", "GET", study)
    ask(day, "unknown study", "GET", f"/api/v1/studies/{PATIENT_ID}/custody?name={name}", token=token)
    ask(day, "unknown page", "GET", f"/{name}/{PATIENT_ID}?accession={ACCESSION}")
    ask(day, "search nobody may make", "GET", f"/dicomweb/studies?PatientName={name}*")
    ask(day, "search", "GET", f"/dicomweb/studies?PatientName={name}*&PatientID={PATIENT_ID}", token=token)
    ask(day, "odd search", "GET", f"/dicomweb/studies?PatientName={name}&limit={PATIENT_ID}", token=token)
    ask(day, "images of no study", "GET", f"/dicomweb/studies/{PATIENT_ID}/metadata?name={name}", token=token)
    ask(day, "unsigned manifest", "POST", "/gateway/v1/manifests", json={"patient": FAMILY + GIVEN})
    ask(day, "odd enrolment", "POST", "/gateway/v1/enrolments", json={"code": FAMILY + GIVEN + ACCESSION})
    ask(day, "unsigned upload", "PUT", f"/objects/incoming/{name}/{PATIENT_ID}?sig={ACCESSION}", json={})
    for what, raw in MALFORMED.items():
        day.answers[what] = ask_raw(day.network.url, raw)


MALFORMED = {
    "malformed request line": f"GET /{FAMILY}?{PATIENT_ID} HTTP/one\r\n\r\n".encode("gb18030"),
    "malformed header": f"GET /?n={PATIENT_ID} HTTP/1.1\r\nHost: x\r\n{FAMILY}{GIVEN}: \0{ACCESSION}\r\n\r\n".encode(),
    "malformed length": f"POST /?n={PATIENT_ID} HTTP/1.1\r\nHost: x\r\nContent-Length: {ACCESSION}\r\n\r\n".encode(),
    "malformed target": f"GET http://[{PATIENT_ID}/{FAMILY} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "malformed form": (
        f"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={PATIENT_ID}\r\n"
        f"Content-Length: 30\r\n\r\n{FAMILY}{GIVEN}xxxxxxxxxxxxxxxxxxxx"
    ).encode(),
    "malformed encoding": (
        f"POST /api/v1/session?n={PATIENT_ID} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: 20\r\n\r\n{FAMILY}{GIVEN}xxxxxxxx"
    ).encode(),
    "malformed encoding at the gateway API": (
        f"POST /gateway/v1/enrolments?n={PATIENT_ID} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: 20\r\n\r\n{FAMILY}{GIVEN}xxxxxxxx"
    ).encode(),
    "malformed chunk": (
        f"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{PATIENT_ID}\r\n{FAMILY}\r\n"
    ).encode(),
}


def ask(day: Day, what: str, method: str, path: str, *, json: object = None, token: str = "") -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib3.PoolManager(retries=False, timeout=60) as http:
        answer = http.request(method, day.network.url + path, headers=headers, json=json, redirect=False)
    day.answers[what] = answer.status


def ask_raw(url: str, request: bytes) -> int:
    """Send these bytes and return the status of the answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while block := connection.recv(4096):
            answer += block
    return int(answer.split(b" ", 2)[1]) if answer else 0


def listen_to_operators(day: Day) -> None:
    """Keep what the hub and the gateway tell those who operate them."""
    folder = day.network.folder
    hub = [TOOLS / "counterpart-hub", "--config", folder / "hub.toml"]
    gateway = [TOOLS / "counterpart-gateway", "--config", folder / "gateway" / "gateway.toml"]
    commands = {
        "hub status": [*hub, "status"],
        "hub check": [*hub, "check"],
        "hub custody": [*hub, "custody", day.study_uid, "--json"],
        "gateway status": [*gateway, "status", "--json"],
        "gateway check": [*gateway, "check"],
        "gateway custody": [*gateway, "custody", day.study_uid],
    }
    for name, command in commands.items():
        done = subprocess.run([str(word) for word in command], capture_output=True, timeout=60, check=False)
        assert b"Usage:" not in done.stderr, done.stderr.decode()
        day.told[name] = done.stdout + done.stderr
    with urllib3.PoolManager(retries=False, timeout=60) as http:
        day.told["health"] = http.request("GET", f"{day.network.url}/health").data


def assert_clean(files: Sequence[Path]) -> None:
    assert files
    found = {str(file): hit for file in files if (hit := traces(SECRETS, file.read_bytes()))}
    assert found == {}


@pytest.mark.parametrize("word", SECRETS)
def test_the_search_finds_every_form(word: str) -> None:
    utf_8, gb = word.encode(), word.encode("gb18030")
    message = json.dumps({"body": base64.b64encode(json.dumps({"name": word}).encode()).decode()}).encode()
    for form in (utf_8, gb, quote(word).encode(), quote(gb).encode().lower(), repr(gb).encode(), message):
        assert traces(SECRETS, b"before " + form + b" after") == {word}, form
    assert traces(SECRETS, b"\\x" + b"00112233".hex().encode() + utf_8.hex().encode()) == {word}


def test_everything_wrong_was_refused_and_nothing_failed(day: Day) -> None:
    assert len(day.statuses) == 4
    assert all(status & 0xF000 in (0xA000, 0xC000) for status in day.statuses), [hex(one) for one in day.statuses]
    assert day.answers.pop("search") == 200
    wrong = {what: status for what, status in day.answers.items() if not 300 <= status < 500}
    assert wrong == {}


def test_no_log_names_the_patient(day: Day) -> None:
    folder = day.network.folder
    assert_clean([*files_under(folder / "log"), *files_under(folder / "hub" / "log")])


def test_web_logs_hold_no_query_and_no_address_but_the_pattern(day: Day) -> None:
    lines = [line for line in day.network.hub.log().splitlines() if "request_answered" in line]
    assert len(lines) > 20
    assert [line for line in lines if "?" in line or "%" in line] == []


def test_no_message_of_the_broker_names_the_patient(day: Day) -> None:
    files = files_under(day.network.folder / "hub" / "redis")
    assert any(b"transfers.verify_pack" in file.read_bytes() for file in files), "this is where messages are"
    assert_clean(files)


def test_only_the_tables_that_must_hold_patients_do(day: Day) -> None:
    url = find_postgres_url(day.network.folder / "hub")
    assert url is not None
    engine = sa.create_engine(url)
    holding = {}
    with engine.connect() as connection:
        for table in metadata_of_hub().sorted_tables:
            rows = connection.scalars(sa.text(f'SELECT one::text FROM "{table.name}" one')).all()
            if found := traces(SECRETS, "\n".join(rows).encode()):
                holding[table.name] = found
    engine.dispose()
    assert set(holding) >= HOLDING, "the search finds what is there"
    assert {name: found for name, found in holding.items() if name not in MAY_HOLD} == {}


def test_the_clinics_box_names_the_patient_only_in_images_and_documents(day: Day) -> None:
    files = files_under(day.network.folder / "gateway")
    images = [file for file in files if file.suffix == ".dcm" or "documents" in file.parts]
    assert {FAMILY, FINDING} <= set().union(*(traces(SECRETS, file.read_bytes()) for file in images))
    journal = [file for file in files if file.name.startswith("journal.sqlite")]
    assert journal
    assert_clean([file for file in files if file not in images and file not in journal])


def test_only_the_tables_of_the_journal_that_must_hold_patients_do(day: Day) -> None:
    connection = sqlite3.connect(day.network.folder / "gateway" / "spool" / "journal.sqlite")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    holding = {
        table: found
        for table in tables
        if (found := traces(SECRETS, repr(connection.execute(f'SELECT * FROM "{table}"').fetchall()).encode()))
    }
    connection.close()
    assert "studies" in holding, "the search finds what is there"
    assert set(holding) <= JOURNAL_MAY_HOLD


def test_no_file_is_named_after_the_patient(day: Day) -> None:
    walked = os.walk(day.network.folder)  # the programs write and remove files meanwhile
    names = "\n".join(name for _, folders, files in walked for name in (*folders, *files))
    assert traces(SECRETS, names.encode()) == set()


def test_operators_are_not_told_who_the_patient_is(day: Day) -> None:
    assert {name: found for name, said in day.told.items() if (found := traces(SECRETS, said))} == {}
