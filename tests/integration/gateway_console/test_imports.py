"""Files come in from a browser or a disk in the gateway: whole or not at all, and from nowhere else."""

from __future__ import annotations

import re
import socket
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.clock import utc_now
from gateway.importing.joining import Joined
from gateway.importing.leftovers import UPLOADS, remove_leftovers
from gateway.journal.accounts import take_over_accounts
from gateway.journal.imports import ImportState, add_import, begin_import, list_imports, note_joined
from gateway.orders import enter_order
from storage.contract.orders import Order, OrderOrigin
from tests.integration.gateway_console.conftest import Browser, Clinic, Page, enrol, hub_account
from tests.integration.gateway_console.day import Day
from tests.support.waiting import eventually

ZIP = b"PK\x05\x06" + bytes(18)


@pytest.fixture
def day(clinic: Clinic) -> Day:
    return Day(clinic)


def upload(someone: Browser, body: bytes = ZIP, **headers: str) -> Page:
    someone.get("/imports")
    sent = {"X-CSRF-Token": someone.token, "Content-Type": "application/zip"} | headers
    return someone.send("POST", "/imports/upload", body, sent)


def uploads(clinic: Clinic) -> list[Path]:
    return sorted((clinic.desk.spool.root / UPLOADS).glob("*"))


def fragments(clinic: Clinic) -> list[Path]:
    return list((clinic.desk.spool.root / "tmp").iterdir())


def test_uploaded_file_is_on_the_disk_before_its_import_is_asked_for(clinic: Clinic):
    body = ZIP + b"x" * 3_000_000
    assert upload(clinic.logged_in(), body, **{"X-Lane": "stat"}).status == 201
    (row,) = list_imports(clinic.journal, 5)
    assert row.source.read_bytes() == body
    assert (row.lane, row.remove_source) == ("stat", True)
    assert "import_asked" in clinic.verbs()


def test_upload_over_the_limit_is_refused_before_it_is_read(clinic: Clinic):
    someone = clinic.logged_in()
    sent = {"X-CSRF-Token": someone.token, "Content-Length": "5000001"}
    assert answer_to_head(clinic, someone, sent).startswith("HTTP/1.1 413")
    assert list_imports(clinic.journal, 5) == []


def test_upload_without_a_length_is_refused(clinic: Clinic):
    someone = clinic.logged_in()
    sent = {"X-CSRF-Token": someone.token, "Transfer-Encoding": "chunked"}
    assert answer_to_head(clinic, someone, sent).startswith("HTTP/1.1 411")


def test_upload_that_breaks_off_leaves_nothing(clinic: Clinic):
    someone = clinic.logged_in()
    someone.get("/imports")
    connection = connect(clinic)
    connection.sendall(head(someone, {"X-CSRF-Token": someone.token, "Content-Length": "4000000"}) + b"x" * 2_000_000)
    eventually(lambda: _assert(fragments(clinic) != []))
    connection.close()
    eventually(lambda: _assert(fragments(clinic) == []))
    assert uploads(clinic) == []
    assert list_imports(clinic.journal, 5) == []


def test_upload_for_which_there_is_no_room_is_refused_in_words(clinic: Clinic, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(clinic.desk.spool), "free_bytes", lambda _: 10)
    page = upload(clinic.logged_in())
    assert page.status == 507
    assert "磁盘已满" in page.text


def test_upload_needs_a_page_of_ours_and_a_technician(clinic: Clinic):
    assert upload(clinic.browser()).status == 401
    someone = clinic.logged_in()
    assert upload(someone, **{"X-CSRF-Token": "guessed"}).status == 403
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    assert upload(clinic.logged_in("doctor")).status == 403
    assert uploads(clinic) == []


def test_folder_below_the_configured_ones_can_be_chosen_and_no_other(clinic: Clinic, tmp_path: Path):
    (tmp_path / "media" / "cdrom" / "DICOM").mkdir(parents=True)
    (tmp_path / "media" / "away").symlink_to(tmp_path / "spool")
    someone = clinic.logged_in()
    offered = re.findall(r'<option value="([0-9a-f]{64})">([^<]+)</option>', someone.get("/imports").text)
    assert [Path(name).name for _, name in offered] == ["cdrom", "DICOM"]
    assert someone.post("/imports", folder=offered[0][0], lane="").status == 303
    assert [row.source for row in list_imports(clinic.journal, 5)] == [tmp_path / "media" / "cdrom"]
    for wrong in ("", "/etc", "../../etc", "0" * 64):
        assert someone.post("/imports", folder=wrong).status == 422


def test_import_is_stopped_by_a_person(clinic: Clinic):
    import_id = add_import(clinic.journal, Path("/media/cdrom"), started_by="x", now=clinic.clock())
    someone = clinic.logged_in()
    assert someone.post(f"/imports/{import_id}/cancel").status == 303
    (row,) = list_imports(clinic.journal, 5)
    assert row.state is ImportState.CANCELLED
    assert "import_cancelled" in clinic.verbs()


def test_import_is_for_an_order_of_today_and_doubt_about_the_patient_is_a_persons(
    clinic: Clinic, day: Day, tmp_path: Path
):
    enrol(clinic.journal, clinic.clock)
    (tmp_path / "media" / "cdrom").mkdir(parents=True)
    order, old = today(clinic), today(clinic, scheduled_at=clinic.clock() - timedelta(days=3))
    someone = clinic.logged_in()
    sheet = someone.get("/imports").text
    assert order.order_id in sheet
    assert old.order_id not in sheet
    (folder,) = re.findall(r'<option value="([0-9a-f]{64})"', sheet)
    for wrong in ("x" * 32, "../x"):
        assert someone.post("/imports", folder=folder, order=wrong).status == 422
    assert someone.post("/imports", folder=folder, order=order.order_id).status == 303
    assert upload(someone, **{"X-Order": order.order_id}).status == 201
    assert [row.order_id for row in list_imports(clinic.journal, 5)] == [order.order_id] * 2
    row = list_imports(clinic.journal, 5)[0]
    day.study("Li^Si=李四", patient_number="X77", accession_number="")
    with clinic.journal.transaction() as connection:
        (association_id,) = connection.execute("SELECT association_id FROM instances LIMIT 1").fetchone()
    begin_import(clinic.journal, row.import_id, association_id, 3)
    note_joined(clinic.journal, row.import_id, Joined.PATIENT_DIFFERS)
    assert "影像中的患者编号或姓名与申请单不一致" in someone.get("/attention").text
    shown = someone.get("/imports").text
    for words in ("X77", "李四", "M0042", "王秀兰", order.accession_number, "是同一患者"):
        assert words in shown
    assert someone.post(f"/imports/{row.import_id}/join").status == 303
    assert "影像已归入" in someone.get("/imports").text
    assert "影像中的患者编号或姓名与申请单不一致" not in someone.get("/attention").text
    assert someone.post(f"/imports/{row.import_id}/join").status == 404, "there is nothing left to ask"
    assert f"/studies/{day.studies[0]}" in someone.get(f"/orders/{order.order_id}").text


def today(clinic: Clinic, **changes: datetime) -> Order:
    typed = {"patient_number": "M0042", "patient_name": "王秀兰", "modality": "CT", "procedure_name": "胸部CT"}
    now = clinic.clock()
    return enter_order(clinic.journal, typed | changes, entered_by="x", origin=OrderOrigin.CONSOLE, now=now)


def test_upload_that_nobody_waits_for_goes_at_the_next_start_and_others_stay(clinic: Clinic):
    upload(clinic.logged_in())
    (wanted,) = uploads(clinic)
    (wanted.parent / "left-over.zip").write_bytes(ZIP)
    remove_leftovers(clinic.journal, clinic.desk.spool, utc_now() - timedelta(hours=1))
    assert len(uploads(clinic)) == 2  # one that is being taken is nobody's yet
    remove_leftovers(clinic.journal, clinic.desk.spool, utc_now() + timedelta(hours=1))
    assert uploads(clinic) == [wanted]


def _assert(holds: object) -> None:
    assert holds


def connect(clinic: Clinic) -> socket.socket:
    parts = urlsplit(clinic.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def head(someone: Browser, headers: dict[str, str]) -> bytes:
    cookie = "; ".join(f"{name}={value}" for name, value in someone.cookies.items())
    lines = [f"{name}: {value}" for name, value in ({"Host": "console", "Cookie": cookie} | headers).items()]
    return ("POST /imports/upload HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


def answer_to_head(clinic: Clinic, someone: Browser, headers: dict[str, str]) -> str:
    connection = connect(clinic)
    connection.sendall(head(someone, headers))
    answer = connection.recv(200).decode()
    connection.close()
    return answer
