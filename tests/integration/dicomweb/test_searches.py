"""QIDO-RS: what is found, by which keys, and how much at once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from storage.dicomweb.searching.keys import Level
from storage.dicomweb.searching.parsing import RESULTS_MAX
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County
from tests.integration.dicomweb.phantom import (
    BONE_SERIES,
    DESCRIPTIONS,
    GB18030_STUDY,
    LUNG_SERIES,
    PATIENT_NUMBER,
)
from tests.integration.dicomweb.server import ImageClient

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.usefixtures("pictures"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),
]


def found(client: ImageClient, query: str) -> set[str]:
    return {study["0020000D"]["Value"][0] for study in client.get(f"/dicomweb/studies?{query}").json()}


def test_study_is_found_by_uid_with_its_text(coordinator: ImageClient) -> None:
    (study,) = coordinator.get(f"/dicomweb/studies?StudyInstanceUID={GB18030_STUDY}").json()
    assert study["00100010"]["Value"] == [{"Alphabetic": "赵䶮^阿", "Ideographic": "Zhao^Yan"}]
    assert study["00081030"]["Value"] == ["胸部CT平扫"]
    assert study["00080020"] == {"vr": "DA", "Value": ["20260301"]}
    assert study["00080061"]["Value"] == ["CT"]
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [3])


@pytest.mark.parametrize(
    "query",
    [
        f"0020000D={GB18030_STUDY}",
        f"0020000d={GB18030_STUDY}",
        f"PatientID={PATIENT_NUMBER}",
        "PatientID=T01*01",
        "PatientID=T01_000?",
        "PatientName=%E8%B5%B5*",
        "PatientName=%E8%B5%B5%E4%B6%AE%5E%E9%98%BF",  # one of its component groups
        "PatientName=Zhao%5EYan",
        "PatientName=zhao%5Eyan%5E%5E",
        "PatientName=ZHAO*",
        "PatientName=%E8%B5%B5%E4%B6%AE%5E%E9%98%BF%3DZhao%5EYan",
        "AccessionNumber=T01-77",
        f"PatientID={PATIENT_NUMBER}&IssuerOfPatientID={SITE}",
        "StudyID=S-1",
        "StudyDate=20260301",
        "StudyDate=20260201-20260331",
        "StudyDate=20260301-",
        "StudyDate=20260301-20260301&ModalitiesInStudy=CT",
        "StudyDate=20260301&ModalitiesInStudy=MR,CT",
        "StudyDate=20260301&ModalitiesInStudy=C*",
        "StudyDate=20260301&StudyTime=083000",
        "StudyDate=20260301&StudyTime=08-0830",
        "StudyDate=20260301&StudyTime=083000.0-",
        "StudyDescription=%E8%83%B8%E9%83%A8*",
        "PatientBirthDate=19620415&PatientSex=M",
        f"StudyInstanceUID={GB18030_STUDY}&ReferringPhysicianName=*",
        f"StudyInstanceUID=1.2.3,{GB18030_STUDY}",
        f"StudyInstanceUID=1.2.3%5C{GB18030_STUDY}",
    ],
)
def test_study_is_found_by(coordinator: ImageClient, query: str) -> None:
    assert found(coordinator, query) == {GB18030_STUDY}


@pytest.mark.parametrize(
    "query",
    [
        "StudyInstanceUID=1.2.3",
        "PatientID=T01%25",  # a percent sign is no wildcard
        "PatientID=T01-0001",
        f"PatientID={PATIENT_NUMBER}&IssuerOfPatientID={OTHER_SITE}",
        "PatientID=T01a000*",  # nor is an underscore
        "StudyDate=20260302-20260331",
        "PatientName=Zhao",
        "PatientName=*Yan%3D%E8%B5%B5*",  # a wildcard does not reach from one component group into the next
        "PatientName=%E8%B5%B5*Yan",
        "StudyDate=20260301&StudyTime=083001-",
        "StudyDate=20260301&StudyTime=-0829",
        f"StudyInstanceUID={GB18030_STUDY}&ModalitiesInStudy=MR",
        f"StudyInstanceUID={GB18030_STUDY}&ModalitiesInStudy=M*",
        f"StudyInstanceUID={GB18030_STUDY}&ReferringPhysicianName=Wu",
    ],
)
def test_study_is_not_found_by(coordinator: ImageClient, query: str) -> None:
    assert GB18030_STUDY not in found(coordinator, query)


@pytest.mark.parametrize(
    "query",
    [
        "Colour=red",
        "StudyDate=today",
        "StudyDate=2026",
        "StudyDate=-",
        "StudyTime=noon",
        "StudyInstanceUID=1.2.x",
        "PatientID=1&PatientID=2",
        "PatientID=1&00100020=2",
        "PatientID=a%00b",
        "PatientName=%00",
        "%00=1",
        "PatientName=%3F%3F%3F%3F%3F%3F%3F%3F%3F",
        "limit=many",
        "offset=-1",
        "offset=99999999999999999999",
        "offset=9223372036854775808",
        "offset=1000001",
        "fuzzymatching=perhaps",
        "includefield=%0d%0aX",
    ],
)
@pytest.mark.parametrize(
    "address", ["studies", f"studies/{GB18030_STUDY}/series", f"studies/{GB18030_STUDY}/instances"]
)
def test_query_that_cannot_be_understood_is_refused(coordinator: ImageClient, address: str, query: str) -> None:
    reply = coordinator.get(f"/dicomweb/{address}?{query}")
    assert (reply.status, reply.code()) == (400, "bad_query")


@pytest.mark.parametrize("query", ["PatientName=%ED%A0%80", "PatientName=%FF", "PatientID=" + "%27" * 100])
def test_what_is_no_text_finds_nothing(coordinator: ImageClient, query: str) -> None:
    assert coordinator.get(f"/dicomweb/studies?{query}").status in (200, 400)


def test_search_is_answered_in_pages(coordinator: ImageClient) -> None:
    everything = coordinator.get("/dicomweb/studies?includefield=all&fuzzymatching=false").json()
    first = coordinator.get("/dicomweb/studies?limit=4")
    second = coordinator.get("/dicomweb/studies?limit=4&offset=4").json()
    assert first.json() + second == everything[:8]
    assert first.headers["Warning"].startswith('299 counterpart: "There are additional results')
    assert "offset=4" in first.headers["Warning"]


def test_whole_answer_warns_of_nothing(coordinator: ImageClient) -> None:
    query = f"StudyInstanceUID={GB18030_STUDY}&limit=1&includefield=StudyDescription,00100040&includefield=all"
    assert "Warning" not in coordinator.get(f"/dicomweb/studies?{query}").headers


def test_huge_page_is_what_one_answer_holds(coordinator: ImageClient) -> None:
    assert len(coordinator.get("/dicomweb/studies?limit=999999999999").json()) <= RESULTS_MAX[Level.STUDY]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("includefield=PatientWeight,StudyDate", "Absent: PatientWeight."),
    ],
)
def test_what_is_not_done_is_said(coordinator: ImageClient, query: str, words: str) -> None:
    reply = coordinator.get(f"/dicomweb/studies?StudyInstanceUID={GB18030_STUDY}&{query}")
    assert len(reply.json()) == 1
    assert words in reply.headers["Warning"]


def test_study_says_where_its_images_are(coordinator: ImageClient) -> None:
    (study,) = coordinator.get(f"/dicomweb/studies?StudyInstanceUID={GB18030_STUDY}").json()
    assert study["00081190"] == {"vr": "UR", "Value": [f"/dicomweb/studies/{GB18030_STUDY}"]}
    assert study["00080056"]["Value"] == ["ONLINE"]
    assert list(study) == sorted(study)


def test_key_of_series_is_no_key_of_studies(coordinator: ImageClient) -> None:
    reply = coordinator.get("/dicomweb/studies?Modality=CT")
    assert (reply.status, reply.code()) == (400, "bad_query")


def test_series_are_listed_by_number_with_their_own_text(coordinator: ImageClient) -> None:
    rows = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/series").json()
    assert [row["0020000E"]["Value"][0] for row in rows] == [BONE_SERIES, LUNG_SERIES]
    assert [row["0008103E"]["Value"][0] for row in rows] == [DESCRIPTIONS[BONE_SERIES], DESCRIPTIONS[LUNG_SERIES]]
    assert [row["00201209"]["Value"][0] for row in rows] == [2, 1]


def test_instances_are_listed_by_study_and_by_series(coordinator: ImageClient) -> None:
    of_study = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/instances").json()
    of_series = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances").json()
    assert [row["00200013"]["Value"][0] for row in of_study] == [1, 2, 3]
    for in_study, in_series in zip(of_study, of_series, strict=False):
        assert in_series.items() <= in_study.items()
    assert len(of_series) == 2


IN_STUDY = f"/dicomweb/studies/{GB18030_STUDY}"


@pytest.mark.parametrize(
    ("address", "tag", "expected"),
    [
        (f"{IN_STUDY}/series?Modality=CT&SeriesNumber=2", "0020000E", [LUNG_SERIES]),
        (f"{IN_STUDY}/series?SeriesDescription=%E9%AA%A8*", "0020000E", [BONE_SERIES]),
        (f"{IN_STUDY}/series?BodyPartExamined=CHEST&limit=1&offset=1", "0020000E", [LUNG_SERIES]),
        (f"{IN_STUDY}/series?SeriesInstanceUID=1.2.3,{LUNG_SERIES}", "0020000E", [LUNG_SERIES]),
        (f"{IN_STUDY}/series?Modality=MR", "0020000E", []),
        (
            f"{IN_STUDY}/series?PerformedProcedureStepStartDate=20260301&PerformedProcedureStepStartTime=0830-0831",
            "0020000E",
            [BONE_SERIES, LUNG_SERIES],
        ),
        (f"{IN_STUDY}/series?PerformedProcedureStepStartTime=0832-", "0020000E", []),
        (f"{IN_STUDY}/series?RequestAttributesSequence.ScheduledProcedureStepID=STEP-2", "0020000E", [LUNG_SERIES]),
        (f"{IN_STUDY}/series?00400275.00400009=STEP-?&SeriesNumber=1", "0020000E", [BONE_SERIES]),
        (f"{IN_STUDY}/series?00400275.00401001=PROC-2", "0020000E", []),
        (f"{IN_STUDY}/series?PatientID=nobody", "0020000E", []),
        (f"{IN_STUDY}/instances?InstanceNumber=2", "00080018", [f"{BONE_SERIES}.2"]),
        (f"{IN_STUDY}/instances?SeriesNumber=2", "00080018", [f"{LUNG_SERIES}.3"]),
        (f"{IN_STUDY}/instances?limit=1&offset=1", "00080018", [f"{BONE_SERIES}.2"]),
        (f"{IN_STUDY}/series/{BONE_SERIES}/instances?limit=1", "00080018", [f"{BONE_SERIES}.1"]),
        (f"{IN_STUDY}/series/{BONE_SERIES}/instances?SOPClassUID=1.2.3", "00080018", []),
        (f"{IN_STUDY}/series/{BONE_SERIES}/instances?SOPInstanceUID={BONE_SERIES}.2", "00080018", [f"{BONE_SERIES}.2"]),
        (f"{IN_STUDY}/series/1.2.3/instances", "00080018", []),
        (f"/dicomweb/series?PatientID={PATIENT_NUMBER}", "0020000E", [BONE_SERIES, LUNG_SERIES]),
        (f"/dicomweb/series?SeriesInstanceUID={LUNG_SERIES}", "0020000E", [LUNG_SERIES]),
        (f"/dicomweb/series?StudyInstanceUID={GB18030_STUDY}&limit=1", "0020000E", [BONE_SERIES]),
        (f"/dicomweb/instances?SOPInstanceUID={LUNG_SERIES}.3", "00080018", [f"{LUNG_SERIES}.3"]),
        (f"/dicomweb/instances?SeriesInstanceUID={BONE_SERIES}&InstanceNumber=1", "00080018", [f"{BONE_SERIES}.1"]),
    ],
)
def test_series_and_instances_are_found_by(
    coordinator: ImageClient, address: str, tag: str, expected: list[str]
) -> None:
    assert [row[tag]["Value"][0] for row in coordinator.get(address).json()] == expected


def test_series_tells_what_was_asked_for_and_instance_how_it_is_stored(coordinator: ImageClient) -> None:
    series = coordinator.get(f"{IN_STUDY}/series").json()[0]
    assert series["00400244"] == {"vr": "DA", "Value": ["20260301"]}
    assert series["00400245"] == {"vr": "TM", "Value": ["0831"]}
    item = {"00400009": {"vr": "SH", "Value": ["STEP-1"]}, "00401001": {"vr": "SH", "Value": ["PROC-1"]}}
    assert series["00400275"] == {"vr": "SQ", "Value": [item]}
    instance = coordinator.get(f"{IN_STUDY}/instances").json()[0]
    assert (instance["00280010"]["Value"], instance["00280100"]["Value"]) == ([32], [16])


@pytest.mark.parametrize(
    "text", ["zhaoyan", "ZHAO%20YAN", "zhao*", "zya", "zy*", "%E4%B6%AE", "*%E9%98%BF", "yan%5Ezhao"]
)
def test_fuzzy_search_finds_a_name_by_characters_letters_pinyin_and_initials(
    coordinator: ImageClient, text: str
) -> None:
    assert found(coordinator, f"PatientName={text}&fuzzymatching=true&PatientID={PATIENT_NUMBER}") == {GB18030_STUDY}


@pytest.mark.parametrize("text", ["zhaoyam", "ao", "%E9%98%BF%E8%B5%B5", "%25"])
def test_fuzzy_search_finds_nobody_else(coordinator: ImageClient, text: str) -> None:
    query = f"PatientName={text}&fuzzymatching=true&StudyDate=20260301&PatientID={PATIENT_NUMBER}"
    assert found(coordinator, query) == (set() if text != "%25" else {GB18030_STUDY})


def test_literal_search_reads_no_pinyin(coordinator: ImageClient) -> None:
    assert found(coordinator, f"PatientName=zya&PatientID={PATIENT_NUMBER}") == set()


def test_search_that_takes_too_long_is_given_up_in_words(
    county: County, coordinator: ImageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.dicomweb.searching.finding.SEARCH_MS_MAX", 50)
    with county.hub.transaction() as session:
        session.execute(sa.text("LOCK TABLE patients IN ACCESS EXCLUSIVE MODE"))
        reply = coordinator.get("/dicomweb/studies?limit=1")
    assert (reply.status, reply.code()) == (503, "search_too_long")
    assert coordinator.get("/dicomweb/studies?limit=1").status == 200


def test_page_of_series_and_instances_says_that_there_are_more(coordinator: ImageClient) -> None:
    for address in (f"{IN_STUDY}/series", f"{IN_STUDY}/instances", f"{IN_STUDY}/series/{BONE_SERIES}/instances"):
        assert "offset=1" in coordinator.get(f"{address}?limit=1").headers["Warning"]
        assert "Warning" not in coordinator.get(address).headers


def test_search_of_the_whole_archive_tells_the_study_of_each_row(coordinator: ImageClient) -> None:
    (series,) = coordinator.get(f"/dicomweb/series?SeriesInstanceUID={LUNG_SERIES}").json()
    (instance,) = coordinator.get(f"/dicomweb/instances?SOPInstanceUID={LUNG_SERIES}.3").json()
    for row in (series, instance):
        assert row["00100020"]["Value"] == [PATIENT_NUMBER]
        assert row["0020000D"]["Value"] == [GB18030_STUDY]
        assert row["00201208"]["Value"] == [3]
        assert row["00200011"]["Value"] == [2]
    assert series["00081190"]["Value"] == [f"{IN_STUDY}/series/{LUNG_SERIES}"]
    assert instance["00081190"]["Value"] == [f"{IN_STUDY}/series/{LUNG_SERIES}/instances/{LUNG_SERIES}.3"]
    assert "00100020" not in coordinator.get(f"{IN_STUDY}/series").json()[0]


@pytest.mark.parametrize("uid", ["1.2.3", "1..2", "%2E%2E%2F4", "1.2.3/../4", "a", "1" * 65])
def test_study_that_is_not_there_is_not_found(coordinator: ImageClient, uid: str) -> None:
    assert coordinator.get(f"/dicomweb/studies/{uid}/series").status == 404
