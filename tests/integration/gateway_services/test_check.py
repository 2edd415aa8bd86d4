"""`check` says in words what is wrong with certificates and devices."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from gateway.bootstrap import open_journal
from gateway.checks import Check, run_checks
from gateway.settings import GatewaySettings
from gateway.status import problems_of, read_reader, read_status
from tests.support.certificates import Authority
from tests.support.ports import own_port

pytestmark = pytest.mark.services


def findings(directory: Path, **dicom: Any) -> dict[str, Check]:
    settings = GatewaySettings(
        spool_dir=directory / "spool",
        hub={"url": "http://127.0.0.1:1"},
        dicom={"allowed_calling_ae_titles": ["CT1"], "disk_floor_bytes": 0, **dicom},
    )
    return {finding.name: finding for finding in run_checks(settings, open_journal)}


@pytest.mark.parametrize(
    ("ends", "ok", "words"),
    [
        (timedelta(days=90), True, "good until"),
        (timedelta(days=5), False, "good until"),
        (timedelta(seconds=-5), False, "expired on"),
    ],
)
def test_end_of_the_certificate_is_told(tmp_path: Path, ends: timedelta, ok: bool, words: str) -> None:
    issued = Authority(tmp_path / "ca").issue("gateway", begins=timedelta(days=-9), ends=ends)
    tls = {"certificate_file": issued.certificate_file, "key_file": issued.key_file, "port": 0}
    finding = findings(tmp_path, tls=tls)["dicom tls"]
    assert (finding.ok, bool(finding.remedy)) == (ok, not ok)
    assert words in finding.detail


def test_devices_are_called(tmp_path: Path) -> None:
    ae = AE(ae_title="WS")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        named = {"ae_title": "WS", "host": "127.0.0.1", "timeout_s": 30}
        there = {"name": "here", "port": server.server_address[1], **named}
        away = {"name": "away", "port": own_port(), **named, "ae_title": "WS2"}
        found = findings(tmp_path, peers=[there, away])
    finally:
        server.shutdown()
    assert found["peer here"].ok
    assert not found["peer away"].ok
    assert "knows COUNTERPART" in found["peer away"].remedy


@pytest.mark.parametrize(
    ("targets", "may", "ok", "words"),
    [
        ([], None, False, "are not copied"),
        ([{"name": "share", "kind": "folder", "path": "/nowhere"}], ["store"], False, "are not copied"),
        ([], ["query"], True, "wait here until a workstation asks"),
        ([{"name": "main", "host": "127.0.0.1", "port": 9, "ae_title": "PACS"}], None, True, "go to pacs:main."),
    ],
)
def test_a_gateway_in_reader_mode_says_where_claimed_cases_go_and_when_that_is_nowhere(
    tmp_path: Path, targets: list[dict[str, Any]], may: list[str] | None, ok: bool, words: str
) -> None:
    peers = [{"name": "ws", "ae_title": "WS", "may": may}] if may else []
    settings = GatewaySettings(
        mode="reader",
        spool_dir=tmp_path / "spool",
        hub={"url": "http://127.0.0.1:1"},
        dicom={"peers": peers, "disk_floor_bytes": 0},
        targets=targets,
    )
    found = {one.name: one for one in run_checks(settings, open_journal)}
    assert ("reader peers" in found) == (may == ["store"])
    finding = found["reader"]
    assert (finding.ok, bool(finding.remedy)) == (ok, not ok)
    assert words in finding.detail
    status = read_status(open_journal(settings)) | {"reader": read_reader(settings)}
    assert words in status["reader"]["words"]
    assert any(words in problem for problem in problems_of(status)) == (not ok)
