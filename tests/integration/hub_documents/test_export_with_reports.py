"""A study that is handed out with its reports has every signed version beside the images, byte by byte."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Document
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import exporting
from reading_queue.services.hub import Hub
from reading_queue.services.reports.reports import render
from tests.integration.hub_documents.conftest import SignedCase

pytestmark = pytest.mark.postgres


def exported(hub: Hub, case: SignedCase, *, with_reports: bool) -> dict[str, bytes]:
    site_id = case.site_id
    viewer = Viewer("one", "one", "one", Role.COORDINATOR, site_id, site_id, None, "en", hub.clock())
    wish = exporting.Wish(site_id, case.study_uid, "the patient takes it along", with_reports=with_reports)
    with zipfile.ZipFile(io.BytesIO(b"".join(exporting.begin(hub, viewer, wish).zip()))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_reports_are_added_when_asked_for(hub: Hub, sign_case: Callable[..., SignedCase], fonts_dir: Path) -> None:
    first = sign_case()
    render(hub, first.report_id, fonts_dir)
    corrected = sign_case(after=first)
    render(hub, corrected.report_id, fonts_dir)
    assert not [name for name in exported(hub, first, with_reports=False) if name.startswith("REPORTS/")]
    files = exported(hub, first, with_reports=True)
    with hub.transaction() as session:
        signed = session.scalars(select(Document.sha256).where(Document.kind == "report_json")).all()
    given = [hashlib.sha256(data).hexdigest() for name, data in files.items() if name.endswith(".JSN")]
    assert sorted(given) == sorted(signed)
    pdfs = [data for name, data in files.items() if name.endswith(".PDF")]
    assert [data[:5] for data in pdfs] == [b"%PDF-"] * 2
    assert files["SHA256.TXT"].count(b"REPORTS/") == 4


def test_damaged_report_is_named_and_left_out(hub: Hub, signed_case: SignedCase, fonts_dir: Path) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    with hub.transaction() as session:
        kind = Document.kind == "report_json"
        key = session.scalars(select(Document.object_key).where(kind)).one()
    hub.objects.put(key, b"{}", 2)
    files = exported(hub, signed_case, with_reports=True)
    assert not [name for name in files if name.endswith(".JSN")]
    assert f"{key}: this file of a report is damaged" in files["MISSING.TXT"].decode()
