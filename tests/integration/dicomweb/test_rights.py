"""Nobody sees an image without a right, and every look is in the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from reading_queue.services.access.accounts import find_viewer
from reading_queue.services.access.visibility import may_see, select_seen
from storage.catalogue.tables import Study
from storage.contract.manifest import Purpose
from storage.ledger.tables import AuditEvent
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, bundled, with_header, with_own_uids
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY
from tests.integration.dicomweb.server import ImageClient, ImageServer

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STUDY = f"/dicomweb/studies/{GB18030_STUDY}"
INSTANCE = f"{STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1"
URI = (
    f"/dicomweb/wado?requestType=WADO&studyUID={GB18030_STUDY}&seriesUID={BONE_SERIES}&objectUID={BONE_SERIES}.1"
    "&contentType="
)
PICTURES = (
    *(f"{level}/rendered" for level in (STUDY, f"{STUDY}/series/{BONE_SERIES}", INSTANCE, f"{INSTANCE}/frames/1")),
    *(f"{level}/thumbnail" for level in (STUDY, f"{STUDY}/series/{BONE_SERIES}", INSTANCE, f"{INSTANCE}/frames/1")),
    *(f"{URI}{kind}" for kind in ("application/dicom", "image/jpeg", "image/png")),
)
ADDRESSES = (
    STUDY,
    f"{STUDY}/series/{BONE_SERIES}",
    f"{STUDY}/series",
    f"{STUDY}/instances",
    f"{STUDY}/metadata",
    f"{STUDY}/series/{BONE_SERIES}/metadata",
    INSTANCE,
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/frames/1",
    *PICTURES,
)
BULK_DATA = f"{INSTANCE}/bulkdata/60003000"

AsPerson = Callable[[str], ImageClient]


@pytest.mark.parametrize(
    "address",
    [
        "/dicomweb/studies",
        "/dicomweb/series",
        "/dicomweb/instances",
        *ADDRESSES,
        BULK_DATA,
        "/viewer/",
        "/viewer/app.js",
    ],
)
def test_nobody_gets_nothing(server: ImageServer, address: str) -> None:
    reply = ImageClient(server.url).get(address)
    assert (reply.status, reply.code()) == (401, "not_authenticated")


@pytest.mark.parametrize("login", ["stranger", "neighbour"])
@pytest.mark.parametrize("address", [*ADDRESSES, BULK_DATA])
def test_study_of_others_does_not_exist(as_person: AsPerson, login: str, address: str) -> None:
    reply = as_person(login).get(address)
    assert (reply.status, reply.code()) == (404, "not_found")


def test_search_finds_nothing_of_others(as_person: AsPerson) -> None:
    for address in ("/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances"):
        assert as_person("stranger").get(address).json() == []
        assert as_person("neighbour").get(f"{address}?StudyInstanceUID={GB18030_STUDY}").json() == []
        assert as_person("reader").get(f"{address}?StudyInstanceUID={GB18030_STUDY}").json() != []
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


@pytest.mark.parametrize("address", [f"{STUDY}/metadata", STUDY, f"{STUDY}/series/{BONE_SERIES}", INSTANCE, *PICTURES])
def test_look_at_a_study_is_in_the_audit_trail(county: County, as_person: AsPerson, address: str) -> None:
    def looks() -> list[tuple[str, str | None, str | None]]:
        query = select(AuditEvent).where(AuditEvent.object_id == GB18030_STUDY, AuditEvent.object_kind == "study")
        with county.hub.transaction() as session:
            return [(row.event_code, row.account_id, row.site_id) for row in session.scalars(query)]

    before = len(looks())
    as_person("reader").get(address)
    as_person("stranger").get(address)
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
        assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "/etc/passwd"])
def test_viewer_gives_nothing_from_beside_its_folder(as_person: AsPerson, path: str) -> None:
    reply = as_person("reader").get(f"/viewer/{path}")
    assert b"beside the viewer" not in reply.body
    assert b"root:" not in reply.body


@dataclass
class Records:
    """One image many times, each as a study of its own under the patient number of the test."""

    county: County
    number: str
    studies: int

    def arrive(self, site: str = SITE, purpose: Purpose = "prior", **header: str) -> str:
        self.studies += 1
        file = with_own_uids(bundled("CT_small.dcm"), self.studies)
        header = {"PatientBirthDate": "", "PatientSex": "F"} | header
        return self.county.arrive(site, [with_header(file, PatientID=self.number, **header)], purpose=purpose)


def test_reader_of_a_case_sees_the_same_persons_other_studies_and_nobody_elses(
    county: County, as_person: AsPerson
) -> None:
    records = Records(county, "RIGHTS-1", 700)
    read = records.arrive(purpose="read", PatientBirthDate="19600101")
    undated = records.arrive()
    elsewhere = records.arrive(OTHER_SITE)
    other_number = Records(county, "RIGHTS-2", 750).arrive(PatientBirthDate="19600101")
    reader = as_person("reader")
    seen = {uid: reader.get(f"/dicomweb/studies/{uid}/metadata").status for uid in (read, undated)}
    assert seen == {read: 200, undated: 200}
    for uid in (elsewhere, other_number):
        assert reader.get(f"/dicomweb/studies/{uid}/metadata").status == 404
    assert as_person("stranger").get(f"/dicomweb/studies/{undated}/metadata").status == 404
    assert as_person("technician").get(f"/dicomweb/studies/{undated}/metadata").status == 200
    found = found_by(reader)
    assert {read, undated} <= found
    assert found.isdisjoint({elsewhere, other_number})


@pytest.mark.parametrize(
    ("number", "contradicting"),
    [("RIGHTS-3", {"PatientBirthDate": "19610101"}), ("RIGHTS-4", {"PatientSex": "M", "PatientBirthDate": "19600101"})],
)
def test_reader_sees_only_what_says_the_same_of_a_record_that_may_be_two_peoples(
    county: County, as_person: AsPerson, number: str, contradicting: dict[str, str]
) -> None:
    records = Records(county, number, 760 + 10 * int(number[-1]))
    read = records.arrive(purpose="read", PatientBirthDate="19600101")
    undated, same = records.arrive(), records.arrive(PatientBirthDate="19600101")
    without_sex = records.arrive(PatientBirthDate="19600101", PatientSex="")
    reader = as_person("reader")
    assert {read, undated, same, without_sex} <= found_by(reader)
    someone_else = records.arrive(**contradicting)
    assert found_by(reader) & {read, undated, same, without_sex, someone_else} == {read, same}
    for uid in (undated, without_sex, someone_else):
        assert reader.get(f"/dicomweb/studies/{uid}/metadata").status == 404


@pytest.mark.parametrize("login", ["reader", "stranger"])
def test_search_begins_with_the_very_studies_that_the_right_allows(county: County, login: str) -> None:
    """The two ways to say what a physician may see: the condition on a study, and the select of all of them."""
    records = Records(county, f"RIGHTS-5-{login}", 800 if login == "reader" else 820)
    records.arrive(purpose="read", PatientBirthDate="19600101")
    for header in ({}, {"PatientBirthDate": "19600101"}, {"PatientSex": ""}):
        records.arrive(**header)
    viewer, now = find_viewer(county.hub, county.token(login)), county.hub.clock()
    assert viewer is not None
    for _ in range(2):
        seen = select_seen(viewer, now)
        assert seen is not None
        with county.hub.transaction() as session:
            by_condition = set(
                session.scalars(select(Study.study_id).where(may_see(viewer, Study.site_id, Study.study_uid, now)))
            )
            assert set(session.scalars(seen)) == by_condition
            assert bool(by_condition) == (login == "reader")
        records.arrive(PatientSex="M", PatientBirthDate="19610101")  # now the record may be two people's


def test_only_who_sees_few_studies_begins_with_them(county: County) -> None:
    for login in ("coordinator", "technician"):
        viewer = find_viewer(county.hub, county.token(login))
        assert viewer is not None
        assert select_seen(viewer, county.hub.clock()) is None


def found_by(person: ImageClient) -> set[str]:
    return {one["0020000D"]["Value"][0] for one in person.get("/dicomweb/studies").json()}
