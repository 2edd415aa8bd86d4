"""The network imported from uploaded files: told first, done as told, refused by file, line and field; and exported."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import select
from urllib3.filepost import encode_multipart_formdata

from reading_queue.services.access import accounts
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_upload, network_views
from reading_queue.services.network.network import export_network, plan_import
from reading_queue.services.network.network_csv import write_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_files import pack, read_files, unpack
from reading_queue.services.network.network_yaml import read_yaml, write_yaml
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import ADMINISTRATOR, AUTHOR, COORDINATOR, County
from tests.integration.hub_web.serving import Answer, Visitor

pytestmark = pytest.mark.postgres

PAGE, CLINIC = "/coordinator/network/import", "qinghe-t01"
NEW_PERSON = {"login": "new.tech", "name": "新技师", "organisation": CLINIC}


def upload(browser: Visitor, files: Mapping[str, bytes], **form: str) -> Answer:
    fields = [*{"csrf_token": browser.csrf, **form}.items(), *(("files", one) for one in files.items())]
    body, kind = encode_multipart_formdata(fields)
    return browser.send("POST", PAGE, body=body, headers={"Content-Type": kind})  # type: ignore[arg-type]


def hidden(text: str) -> dict[str, str]:
    return {name: re.findall(rf'name="{name}" value="([^"]+)"', text)[0] for name in ("told", "packed")}


def changed(hub: Hub) -> dict[str, Any]:
    document = export_network(hub)
    next(one for one in document["organisations"] if one["id"] == CLINIC)["name"] = "改名卫生院"
    document["technicians"].append(NEW_PERSON)
    return document


def names(hub: Hub) -> set[str]:
    return {one["name"] for one in export_network(hub)["organisations"]}


@pytest.mark.parametrize("form", ["yaml", "csv", "zip"])
def test_what_was_shown_is_done_when_it_is_confirmed_and_is_audited(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], form: str
) -> None:
    browser, document = browser_of(ADMINISTRATOR), changed(hub)
    tables = write_csv_set(document, "zh")
    files = {"yaml": {"n.yaml": write_yaml(document)}, "csv": tables, "zip": {"网络.zip": pack(tables)}}[form]
    shown = upload(browser, files, whole="yes")
    assert shown.status == 200, shown.text
    assert "改名卫生院" in shown.text
    assert "new.tech" in shown.text
    assert "改名卫生院" not in names(hub), "nothing is done before it is confirmed"
    done = browser.post(f"{PAGE}/confirm", None, **hidden(shown.text), whole="yes")
    assert done.status == 200, done.text
    login, password = re.findall(r"<code>([^<]+)</code>", done.text)
    accounts.login(hub, login, password, "browser")
    assert "改名卫生院" in names(hub)
    with hub.transaction() as session:
        imported = select(AuditEvent.account_id).where(AuditEvent.object_id == "import")
        assert county.viewer(ADMINISTRATOR).account_id in session.scalars(imported).all()
    again = upload(browser, files, whole="yes")
    assert "没有任何变化" in again.text
    assert 'name="told"' not in again.text


def test_plan_that_is_no_longer_what_was_shown_is_refused_and_shown_anew(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor]
) -> None:
    browser = browser_of(ADMINISTRATOR)
    shown = upload(browser, {"n.yaml": write_yaml(changed(hub))})
    seen = network_views.view_organisation(hub, county.viewer(ADMINISTRATOR), CLINIC)
    facts = {**seen.facts, "name": "别人改的"}
    network_editing.save_organisation(hub, county.viewer(ADMINISTRATOR), CLINIC, facts, seen.version)
    stale = browser.post(f"{PAGE}/confirm", None, **hidden(shown.text))
    assert stale.status == 409
    assert "别人改的 → 改名卫生院" in stale.text
    assert "别人改的" in names(hub)
    assert browser.post(f"{PAGE}/confirm", None, **hidden(stale.text)).status == 200
    assert "改名卫生院" in names(hub)
    for forged in ({"told": "", "packed": hidden(shown.text)["packed"]}, {"told": "x", "packed": "§"}):
        assert browser.post(f"{PAGE}/confirm", None, **forged).status in (409, 422)


def test_every_fault_is_told_by_file_line_and_field_and_nothing_is_done(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], program_of: Callable[[str], Visitor]
) -> None:
    before, browser = export_network(hub), browser_of(ADMINISTRATOR)
    organisations = f"id,kind,name,parent\r\ngood,township,好,qinghe-renmin\r\n{CLINIC},township,坏,{CLINIC}\r\n"
    physicians = "login,name,organisation,title,licence_number,licence_valid_until\r\n"
    physicians += "xin.lai,新,qinghe-renmin,wizard,D-1,2020-02-30\r\n"
    files = {"organisations.csv": organisations.encode(), "physicians.csv": physicians.encode("gb18030")}
    told = (
        "organisations.csv 第 3 行，parent：",
        "physicians.csv 第 2 行，title：",
        "physicians.csv 第 2 行，licence_valid_until：",
    )
    refused = upload(browser, files)
    assert refused.status == 422
    for words in told:
        assert words in refused.text
    program = program_of(ADMINISTRATOR)
    answer = program.call("POST", "/network/import", {"files": {"n.yaml": "organisations:\n- id: X\n  kind: y\n"}})
    assert (answer.status, answer.json()["code"]) == (422, "network_invalid")
    assert "n.yaml line 2, organisations[0].id: must be a code" in answer.json()["problems"][0]
    assert export_network(hub) == before


def bomb(bytes_each: int, count: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.csv", b"0" * bytes_each)
    return made.getvalue()


def damaged() -> bytes:
    whole = bytearray(pack({"organisations.csv": b"id,kind,name\r\n" * 50}))
    whole[50] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"bomb.zip": bomb(9 * 1024 * 1024, 2)}, "bomb.zip line 1: all files together have more than"),
        ({"many.zip": bomb(1, 21)}, "many.zip line 1: holds more than 20 files"),
        ({"bad.zip": damaged()}, "bad.zip line 1: is no ZIP archive"),
        ({"cut.zip": bomb(10, 1)[:40]}, "cut.zip line 1: is no ZIP archive"),
        ({"n.xlsx": pack({"[Content_Types].xml": b""})}, "n.xlsx line 1: is a spreadsheet's own format"),
        ({"a.zip": pack({"x/duty.csv": b"", "y/duty.csv": b""})}, "a.zip line 1: duty.csv is given twice"),
        ({"n.jpg": b"\xff\xd8\xff\xe0\x00"}, "n.jpg line 1: "),
        ({"a.yaml": b"{}", "duty.csv": b"login\r\n"}, "a.yaml line 1: is not known"),
        ({"empty.zip": bomb(1, 0) + b""}, "empty.zip line 1: "),
        ({"duty.csv": b"login,day\r\n" + b"x,never\r\n" * 100_001}, "duty.csv line 100001: has more than 100000 lines"),
    ],
)
def test_what_is_too_large_or_no_network_is_refused_by_its_name(files: dict[str, bytes], words: str) -> None:
    try:
        _, places, faults = read_files(files)
        told = NetworkInvalid(faults, places).problems
    except NetworkInvalid as exc:
        told = exc.problems
    assert any(one.startswith(words) for one in told), told


def test_desk_refuses_more_than_a_form_carries_and_more_accounts_than_a_request_makes(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browser_of(ADMINISTRATOR)
    assert upload(browser, {"n.yaml": b"#" * 1024 * 1024}).status == 413
    monkeypatch.setattr(network_upload, "NEW_ACCOUNTS_MAX", 0)
    refused = upload(browser, {"n.yaml": write_yaml(changed(hub))})
    assert refused.status == 422
    assert "将新建 1 个账号" in refused.text
    assert upload(browser, {}).status == 422


def test_network_is_downloaded_as_it_is_and_as_it_was_and_the_download_is_audited(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], program_of: Callable[[str], Visitor]
) -> None:
    browser, there = browser_of(ADMINISTRATOR), export_network(hub)
    as_yaml = browser.get("/coordinator/network/export?form=yaml&as_of=")
    assert read_yaml("n.yaml", as_yaml.body)[0]["organisations"] == there["organisations"]
    as_csv = browser.get("/coordinator/network/export?form=csv")
    assert as_csv.headers["Content-Disposition"].endswith('.zip"')
    document, _, faults = read_files(unpack({"n.zip": as_csv.body}))
    assert plan_import(hub, document, faults=faults, whole=True).changes == ()
    early = browser.get("/coordinator/network/export?form=yaml&as_of=2020-01-01")
    assert not read_yaml("n.yaml", early.body)[0].get("organisations")
    day = "/coordinator/network/export?form=csv&as_of=2020-01-01&zone="
    assert [browser.get(day + zone).status for zone in ("Asia/Urumqi", "Urumqi")] == [200, 422]
    assert browser.get("/coordinator/network/export?form=pdf").status == 422
    assert browser.get("/coordinator/network/export?form=csv&as_of=monday").status == 422
    assert program_of(ADMINISTRATOR).call("GET", "/network/document").json()["document"]["agreements"]
    with hub.transaction() as session:
        taken = select(AuditEvent.account_id).where(AuditEvent.object_kind == "network", AuditEvent.action == "R")
        assert session.scalars(taken).all() == [county.viewer(ADMINISTRATOR).account_id] * 5


def test_programs_plan_and_import_and_others_than_administrators_do_not(
    hub: Hub, county: County, program_of: Callable[[str], Visitor], browser_of: Callable[[str], Visitor]
) -> None:
    program = program_of(ADMINISTRATOR)
    files = {"n.yaml": write_yaml(changed(hub)).decode()}
    plan = program.call("POST", "/network/import", {"files": files, "whole": True}).json()
    assert not plan["imported"]
    assert [(one["kind"], one["subject"], one["action"]) for one in plan["changes"]] == [
        ("organisation", CLINIC, "change"),
        ("person", "new.tech", "add"),
    ]
    stale = program.call("POST", "/network/import", {"files": files, "whole": True, "told": "other"})
    assert (stale.status, stale.json()["code"]) == (409, "network_changed")
    done = program.call("POST", "/network/import", {"files": files, "whole": True, "told": plan["fingerprint"]}).json()
    assert done.get("imported"), done
    accounts.login(hub, "new.tech", done["passwords"]["new.tech"], "api")
    assert "import" not in browser_of(COORDINATOR).get("/coordinator/network").text
    assert program_of(AUTHOR).call("POST", "/network/import", {"files": files}).status == 403
