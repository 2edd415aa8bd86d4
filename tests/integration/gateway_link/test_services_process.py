"""What the gateway answers, in its own process: over the real road to the hub, over TLS, and after it was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.integration.gateway_link.hub_stand_in import CODE, HubStandIn
from tests.integration.gateway_link.test_process import CT, GatewayProcess, send_study
from tests.integration.gateway_receive.modality import dcmtk
from tests.support.certificates import Authority
from tests.support.commitment_peer import CommitmentPeer
from tests.support.ports import own_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.services


@pytest.fixture
def scanner() -> Iterator[CommitmentPeer]:
    peer = CommitmentPeer("CT1", own_port())
    peer.listen()
    yield peer
    peer.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def tls_port() -> int:
    return own_port()


@pytest.fixture
def gateway(
    tmp_path: Path, hub: HubStandIn, scanner: CommitmentPeer, authority: Authority, tls_port: int
) -> Iterator[GatewayProcess]:
    issued = authority.issue("gateway")
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'spool_dir = "{tmp_path / "spool"}"\nquiet_period_s = 0.2\nport_file = "{tmp_path / "port"}"\n'
        f'[hub]\nurl = "{hub.url}"\nretry_delay_max_s = 0.5\n[console]\nhost = "127.0.0.1"\nport = 0\n'
        '[dicom]\nae_title = "GATEWAY"\nhost = "127.0.0.1"\nport = 0\ndisk_floor_bytes = 0\n'
        f'[dicom.tls]\nport = {tls_port}\ncertificate_file = "{issued.certificate_file}"\n'
        f'key_file = "{issued.key_file}"\nca_file = "{authority.ca_file}"\nrequire_client_certificate = true\n'
        f'[[dicom.peers]]\nname = "ct1"\nae_title = "CT1"\nhost = "127.0.0.1"\nport = {scanner.port}\n'
        f'addresses = ["127.0.0.0/8"]\n[[dicom.peers]]\nname = "ws"\nae_title = "WS"\nmay = ["query", "retrieve"]\n',
        encoding="utf-8",
    )
    process = GatewayProcess(tmp_path, config)
    assert process.run("enrol", "--code", CODE).returncode == 0
    yield process
    process.stop(signal.SIGKILL)


def test_commitment_follows_the_hubs_word_over_a_kill(
    gateway: GatewayProcess, hub: HubStandIn, scanner: CommitmentPeer
) -> None:
    hub.hold_verification = True
    port = gateway.start()
    study = send_study(port)
    found = _images(gateway, port, study)
    _, transaction = scanner.ask(port, [(CT, uid) for uid in found])
    gateway.stop(signal.SIGKILL)
    gateway.start()
    assert scanner.reports == []
    hub.hold_verification = False
    report = eventually(lambda: scanner.report_on(transaction))
    assert report.committed == found
    assert report.failed == {}


def test_workstation_asks_over_tls(gateway: GatewayProcess, authority: Authority, tls_port: int) -> None:
    study = send_study(gateway.start())
    mine = authority.issue("workstation")
    tls = ("+tls", str(mine.key_file), str(mine.certificate_file), "+cf", str(authority.ca_file))
    assert len(_images(gateway, tls_port, study, *tls)) == 3


def _images(gateway: GatewayProcess, port: int, study: str, *tls: str) -> frozenset[str]:
    """Return the images of a study, as findscu hears of them level by level."""
    directory = gateway.directory / f"found-{port}"
    directory.mkdir()
    at_study = ("-k", f"StudyInstanceUID={study}")
    series = _find(
        directory / "series", port, *tls, "-k", "QueryRetrieveLevel=SERIES", *at_study, "-k", "SeriesInstanceUID"
    )
    at_series = (*at_study, "-k", f"SeriesInstanceUID={series.pop()}")
    return frozenset(
        _find(directory / "images", port, *tls, "-k", "QueryRetrieveLevel=IMAGE", *at_series, "-k", "SOPInstanceUID")
    )


def _find(directory: Path, port: int, *arguments: str) -> set[str]:
    directory.mkdir()
    done = dcmtk("findscu", "-S", "-aet", "WS", "-X", "-od", str(directory), *arguments, "127.0.0.1", str(port))
    assert done.returncode == 0, done.stderr
    answers = [dcmread(path, force=True) for path in directory.glob("rsp*.dcm")]
    return {str(answer.get("SOPInstanceUID") or answer.SeriesInstanceUID) for answer in answers}
