"""Nobody sees an image without a right, and every look is in the audit trail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from storage.ledger.tables import AuditEvent
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, bundled, with_own_uids
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY
from tests.integration.dicomweb.server import ImageClient, ImageServer

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STUDY = f"/dicomweb/studies/{GB18030_STUDY}"
INSTANCE = f"{STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1"
ADDRESSES = (
    f"{STUDY}/series",
    f"{STUDY}/instances",
    f"{STUDY}/metadata",
    f"{STUDY}/series/{BONE_SERIES}/metadata",
    INSTANCE,
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/frames/1",
)
BULK_DATA = f"{INSTANCE}/bulkdata/60003000"

AsPerson = Callable[[str], ImageClient]


@pytest.mark.parametrize("address", ["/dicomweb/studies", *ADDRESSES, BULK_DATA, "/viewer/", "/viewer/app.js"])
def test_nobody_gets_nothing(server: ImageServer, address: str) -> None:
    reply = ImageClient(server.url).get(address)
    assert (reply.status, reply.code()) == (401, "not_authenticated")


@pytest.mark.parametrize("login", ["stranger", "neighbour"])
@pytest.mark.parametrize("address", [*ADDRESSES, BULK_DATA])
def test_study_of_others_does_not_exist(as_person: AsPerson, login: str, address: str) -> None:
    reply = as_person(login).get(address)
    assert (reply.status, reply.code()) == (404, "not_found")


def test_search_finds_nothing_of_others(as_person: AsPerson) -> None:
    assert as_person("stranger").get("/dicomweb/studies").json() == []
    assert as_person("stranger").get(f"/dicomweb/studies?StudyInstanceUID={GB18030_STUDY}").json() == []


@pytest.mark.parametrize("login", ["reader", "technician", "coordinator"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_study_is_open_to_who_reads_sends_or_oversees_it(as_person: AsPerson, login: str, address: str) -> None:
    assert as_person(login).get(address).status == 200


def test_same_study_from_two_sites_is_shown_by_the_callers_right(county: County, as_person: AsPerson) -> None:
    file = with_own_uids(bundled("MR_small.dcm"), 900)
    uid = county.arrive(SITE, [file])
    assert county.arrive(OTHER_SITE, [file]) == uid
    for login in ("technician", "neighbour"):
        assert as_person(login).get(f"/dicomweb/studies/{uid}/metadata").status == 200
    reply = as_person("coordinator").get(f"/dicomweb/studies/{uid}/metadata")
    assert (reply.status, reply.code()) == (409, "study_ambiguous")


def test_look_at_a_study_is_in_the_audit_trail(county: County, as_person: AsPerson) -> None:
    def looks() -> list[tuple[str, str | None, str | None]]:
        query = select(AuditEvent).where(AuditEvent.object_id == GB18030_STUDY, AuditEvent.object_kind == "study")
        with county.hub.transaction() as session:
            return [(row.event_code, row.account_id, row.site_id) for row in session.scalars(query)]

    before = len(looks())
    as_person("reader").get(f"{STUDY}/metadata")
    as_person("stranger").get(f"{STUDY}/metadata")
    ((event_code, account_id, site_id),) = looks()[before:]
    assert (event_code, site_id) == ("110103", SITE)
    assert account_id


def test_person_who_opens_the_viewer_logged_out_is_sent_to_the_login(server: ImageServer) -> None:
    reply = ImageClient(server.url).get("/viewer/viewer?StudyInstanceUIDs=1.2.3&lng=zh", Accept="text/html,*/*")
    assert reply.status == 303
    assert reply.headers["Location"] == "/login?next=/viewer/viewer?StudyInstanceUIDs%3D1.2.3%26lng%3Dzh"


def test_only_scripts_may_make_functions_from_text_and_only_as_workers(as_person: AsPerson) -> None:
    page, script = as_person("reader").get("/viewer/"), as_person("reader").get("/viewer/app.js")
    assert "'unsafe-eval'" not in page.headers["Content-Security-Policy"]
    assert "'unsafe-eval'" in script.headers["Content-Security-Policy"], "codecs in workers do not run without it"


def test_viewer_answers_its_page_for_every_address_inside_it(as_person: AsPerson) -> None:
    for address in ("/viewer/", "/viewer/viewer?StudyInstanceUIDs=1.2.3&lng=zh"):
        reply = as_person("reader").get(address)
        assert (reply.status, b"<title>viewer</title>" in reply.body) == (200, True)
        assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "/etc/passwd"])
def test_viewer_gives_nothing_from_beside_its_folder(as_person: AsPerson, path: str) -> None:
    reply = as_person("reader").get(f"/viewer/{path}")
    assert b"beside the viewer" not in reply.body
    assert b"root:" not in reply.body
