"""QIDO-RS: what is found, by which keys, and how much at once."""

from __future__ import annotations

import pytest

from tests.integration.dicomweb.county import OTHER_SITE, SITE
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
        "AccessionNumber=T01-77",
        f"PatientID={PATIENT_NUMBER}&IssuerOfPatientID={SITE}",
        "StudyID=S-1",
        "StudyDate=20260301",
        "StudyDate=20260201-20260331",
        "StudyDate=20260301-",
        "StudyDate=20260301-20260301&ModalitiesInStudy=CT",
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
        "StudyDate=-",
        f"StudyInstanceUID={GB18030_STUDY}&ModalitiesInStudy=MR",
    ],
)
def test_study_is_not_found_by(coordinator: ImageClient, query: str) -> None:
    assert GB18030_STUDY not in found(coordinator, query)


@pytest.mark.parametrize(
    "query",
    ["Colour=red", "PatientBirthDate=19620415", "StudyDate=today", "StudyDate=2026", "limit=many", "offset=-1"],
)
def test_query_that_cannot_be_understood_is_refused(coordinator: ImageClient, query: str) -> None:
    reply = coordinator.get(f"/dicomweb/studies?{query}")
    assert (reply.status, reply.code()) == (400, "bad_query")


def test_search_is_answered_in_pages(coordinator: ImageClient) -> None:
    everything = coordinator.get("/dicomweb/studies?includefield=all&fuzzymatching=false").json()
    first = coordinator.get("/dicomweb/studies?limit=4").json()
    second = coordinator.get("/dicomweb/studies?limit=4&offset=4").json()
    assert first + second == everything[:8]


def test_series_are_listed_by_number_with_their_own_text(coordinator: ImageClient) -> None:
    rows = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/series").json()
    assert [row["0020000E"]["Value"][0] for row in rows] == [BONE_SERIES, LUNG_SERIES]
    assert [row["0008103E"]["Value"][0] for row in rows] == [DESCRIPTIONS[BONE_SERIES], DESCRIPTIONS[LUNG_SERIES]]
    assert [row["00201209"]["Value"][0] for row in rows] == [2, 1]


def test_instances_are_listed_by_study_and_by_series(coordinator: ImageClient) -> None:
    of_study = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/instances").json()
    of_series = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances").json()
    assert [row["00200013"]["Value"][0] for row in of_study] == [1, 2, 3]
    assert of_study[:2] == of_series


@pytest.mark.parametrize("uid", ["1.2.3", "..", "1.2.3/../4", "a", "1" * 65])
def test_study_that_is_not_there_is_not_found(coordinator: ImageClient, uid: str) -> None:
    assert coordinator.get(f"/dicomweb/studies/{uid}/series").status == 404
