"""Targets over TLS: a HIS and DCMTK's storescp with certificates made for the test, and wrong ones in plain words."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.status import problems_of, read_status
from storage.contract.wire import DocumentKind
from storage.hl7.message import parse_message
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.documents import Published, publish_signed
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.support.certificates import Authority, Issued
from tests.support.his import His
from tests.support.storescp import running_storescp
from tests.support.waiting import eventually

pytestmark = pytest.mark.services


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "elsewhere", "Other CA")


@contextmanager
def his_over_tls(issued: Issued, clients: Authority | None = None) -> Iterator[His]:
    """Run a HIS with this certificate; with `clients` it asks for one that they have signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca_file)
    server = His(context)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def delivered(hub: HubStandIn, report: Published, kind: DocumentKind) -> None:
    with hub.lock:
        steps = [str(r.step) for about, r in hub.receipts if about == report.document_id(kind) and r.target != "spool"]
    assert "delivered" in steps


def problem_says(clinic: Clinic, words: str) -> Callable[[], None]:
    def is_told() -> None:
        problems = problems_of(read_status(clinic.journal))
        assert any(words in problem for problem in problems), problems

    return is_told


def test_a_report_reaches_a_his_over_tls_that_asks_for_our_certificate(
    clinic: Clinic, hub: HubStandIn, authority: Authority
) -> None:
    ours = authority.issue("gateway")
    with his_over_tls(authority.issue("his.clinic"), authority) as his:
        files = {"certificate_file": ours.certificate_file, "key_file": ours.key_file, "ca_file": authority.ca_file}
        clinic.connect(targets=[his.target(tls=True, tls_server_name="his.clinic", **files)])
        report = publish_signed(hub)
        eventually(lambda: delivered(hub, report, DocumentKind.REPORT_JSON))
        told = parse_message(his.messages[0], "UNICODE UTF-8")
        assert told.get("OBR", 18) == report.content.studies[0].accession_number
        clinic.disconnect()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("authority", "its certificate is not signed by the configured CA"),
        ("name", "its certificate bears another name"),
        ("expired", "its certificate has expired"),
        ("our certificate", "it does not trust our certificate"),
        ("no certificate", "it asks for a certificate of ours"),
        ("ca file", "cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_certificate_of_the_his_is_refused_in_words_and_nothing_is_sent(
    clinic: Clinic, hub: HubStandIn, authority: Authority, stranger: Authority, wrong: str, words: str, tmp_path: Path
) -> None:
    ends = timedelta(seconds=-5) if wrong == "expired" else timedelta(days=9)
    issuer = stranger if wrong == "authority" else authority
    theirs = issuer.issue("his.clinic", begins=timedelta(days=-9), ends=ends)
    asks = wrong in ("our certificate", "no certificate")
    with his_over_tls(theirs, authority if asks else None) as his:
        files: dict[str, object] = {"ca_file": authority.ca_file if wrong != "ca file" else tmp_path / "missing.pem"}
        if wrong == "our certificate":
            ours = stranger.issue("gateway")
            files |= {"certificate_file": ours.certificate_file, "key_file": ours.key_file}
        name = "another.clinic" if wrong == "name" else "his.clinic"
        clinic.connect(targets=[his.target(tls=True, tls_server_name=name, **files)])
        publish_signed(hub)
        eventually(problem_says(clinic, words))
        assert his.messages == []
        clinic.disconnect()


def test_reports_reach_a_pacs_over_tls(clinic: Clinic, hub: HubStandIn, authority: Authority, tmp_path: Path) -> None:
    ours, theirs = authority.issue("gateway"), authority.issue("pacs.clinic")
    options = ("+tls", str(theirs.key_file), str(theirs.certificate_file), "+cf", str(authority.ca_file))
    with running_storescp(tmp_path / "pacs", *options) as pacs:
        clinic.connect(
            dicom=dicom_section(ours, authority), targets=[pacs.target(tls=True, tls_server_name="pacs.clinic")]
        )
        report = publish_signed(hub)
        eventually(lambda: delivered(hub, report, DocumentKind.SR))
        eventually(lambda: delivered(hub, report, DocumentKind.PDF))
        assert len(pacs.files()) == 2
        clinic.disconnect()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("authority", "its certificate is not signed by the configured CA"),
        ("name", "its certificate bears another name"),
        ("plain", "perhaps it does not speak TLS"),
    ],
)
def test_a_wrong_certificate_of_the_pacs_is_refused_in_words_and_nothing_is_sent(
    clinic: Clinic, hub: HubStandIn, authority: Authority, stranger: Authority, wrong: str, words: str, tmp_path: Path
) -> None:
    theirs = (stranger if wrong == "authority" else authority).issue("pacs.clinic")
    options = ("+tls", str(theirs.key_file), str(theirs.certificate_file), "-ic")
    with running_storescp(tmp_path / "pacs", *(() if wrong == "plain" else options)) as pacs:
        name = "another.clinic" if wrong == "name" else "pacs.clinic"
        section = dicom_section(authority.issue("gateway"), authority)
        clinic.connect(dicom=section, targets=[pacs.target(tls=True, tls_server_name=name)])
        publish_signed(hub)
        eventually(problem_says(clinic, words))
        assert pacs.files() == []
        clinic.disconnect()


def dicom_section(ours: Issued, authority: Authority) -> dict[str, object]:
    tls = {"certificate_file": ours.certificate_file, "key_file": ours.key_file, "ca_file": authority.ca_file}
    return {"port": 0, "host": "127.0.0.1", "allowed_calling_ae_titles": ["CT1"], "disk_floor_bytes": 0, "tls": tls}
