"""What readers see of a corrected study over DICOMweb, and who may ask for what was rejected."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pydicom
import pytest

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.corrections.amendments import merge_patients, move_study
from reading_queue.services.corrections.rejecting import reject
from tests.integration.dicomweb.county import SITE, County, with_header
from tests.integration.stow.made import claim_offered, evidence, images, study_of, uid_of
from tests.integration.stow.serving import STUDIES, Storing

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

AsPerson = Callable[[str], Storing]
PERSON = {"PatientID": "P-9", "PatientName": "Wang^Fang", "PatientBirthDate": "19800229", "PatientSex": "F"}
WHY = "the wrong entry was chosen"
NOT_ALLOWED = 0x0124


@pytest.fixture
def study(county: County) -> list[bytes]:
    """Three images of a study that is offered to the reader."""
    files = images(1, 3)
    county.arrive(SITE, files)
    return files


@pytest.fixture
def coordinator(county: County, viewer_of: Callable[[str], Viewer]) -> Viewer:
    return replace(viewer_of("coordinator"), authenticated_at=county.hub.clock())


def asked(person: Storing, path: str) -> list[dict[str, dict[str, list[object]]]]:
    answer = person.get(f"{STUDIES}{path}", accept="application/dicom+json")
    assert answer.status in (200, 404), answer.body
    return json.loads(answer.body) if answer.status == 200 else []  # type: ignore[no-any-return]


def uids(answer: list[dict[str, dict[str, list[object]]]]) -> set[object]:
    return {one["00080018"]["Value"][0] for one in answer}


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("code", ["113001", "113038"])
def test_rejected_instance_is_nowhere_for_a_reader(
    county: County, as_person: AsPerson, study: list[bytes], coordinator: Viewer, code: str, prepared: bool
) -> None:
    bad, left = uid_of(study[0]), {uid_of(file) for file in study[1:]}
    reject(county.hub, coordinator, SITE, study_of(study[0]), code, WHY, sop_instance_uids=(bad,))
    if prepared:
        county.run_jobs()
    reader, address = as_person("reader"), f"/{study_of(study[0])}"
    assert uids(asked(reader, f"{address}/metadata")) == left
    assert uids(asked(reader, f"{address}/instances")) == left
    series = asked(reader, f"{address}/series")
    assert [one["00201209"]["Value"] for one in series] == [[2]]
    (row,) = asked(reader, f"?StudyInstanceUID={address[1:]}")
    assert (row["00201208"]["Value"], row["00201206"]["Value"]) == ([2], [1])
    assert len(reader.get(STUDIES + address).parts()) == 2
    one = f"{STUDIES}{address}/series/{series[0]['0020000E']['Value'][0]}/instances/{bad}"
    for path in (one, f"{one}/frames/1", f"{one}/metadata"):
        assert reader.get(path).status == 404


def test_what_was_rejected_for_quality_is_given_to_who_may_ask(
    county: County, as_person: AsPerson, study: list[bytes], coordinator: Viewer
) -> None:
    address = f"/{study_of(study[0])}"
    reject(county.hub, coordinator, SITE, address[1:], "113001", WHY, sop_instance_uids=(uid_of(study[0]),))
    reject(county.hub, coordinator, SITE, address[1:], "113037", WHY, sop_instance_uids=(uid_of(study[1]),))
    for login in ("coordinator", "technician"):
        person = as_person(login)
        found = uids(asked(person, f"{address}/metadata?rejected=quality"))
        assert {uid_of(study[0]), uid_of(study[2])} < found  # and the note
        assert uid_of(study[1]) not in found
        assert uids(asked(person, f"{address}/instances?rejected=quality")) == found
        assert len(person.get(f"{STUDIES}{address}?rejected=quality").parts()) == len(found) == 3
        assert uids(asked(person, f"{address}/metadata")) == {uid_of(study[2])}
    reader = as_person("reader")
    assert reader.get(f"{STUDIES}{address}/metadata?rejected=quality").status == 403
    assert as_person("coordinator").get(f"{STUDIES}{address}/metadata?rejected=all").status == 400


def test_wholly_rejected_study_vanishes(
    county: County, as_person: AsPerson, study: list[bytes], coordinator: Viewer
) -> None:
    address = f"/{study_of(study[0])}"
    before = as_person("coordinator")
    reject(county.hub, coordinator, SITE, address[1:], "113001", WHY)
    county.run_jobs()
    for login in ("reader", "coordinator"):
        person = as_person(login)
        assert asked(person, "?limit=10") == []
        assert person.get(f"{STUDIES}{address}/metadata").status == 404
        assert person.get(STUDIES + address).status == 404
    assert len(asked(before, "?rejected=quality")) == 1


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("act", ["move", "merge"])
def test_patient_is_corrected_on_the_way_out_and_the_file_is_as_it_came(
    county: County, as_person: AsPerson, study: list[bytes], coordinator: Viewer, act: str, prepared: bool
) -> None:
    county.arrive(SITE, [with_header(file, **PERSON) for file in images(2)])
    address = f"/{study_of(study[0])}"
    number = str(pydicom.dcmread(io.BytesIO(study[0])).PatientID)
    if act == "move":
        move_study(county.hub, coordinator, SITE, address[1:], "P-9", WHY)
    else:
        merge_patients(county.hub, coordinator, SITE, number, "P-9", WHY)
    if prepared:
        county.run_jobs()
    reader = as_person("reader")
    (row,) = asked(reader, f"?StudyInstanceUID={address[1:]}&PatientID=P-9")
    for found in (row, *asked(reader, f"{address}/metadata")):
        assert found["00100020"]["Value"] == ["P-9"]
        assert found["00100010"]["Value"] == [{"Alphabetic": "Wang^Fang"}]
        assert (found["00100030"]["Value"], found["00100040"]["Value"]) == (["19800229"], ["F"])
        assert number not in json.dumps({tag: value for tag, value in found.items() if tag.startswith("0010")})
        assert "00101010" not in found  # the age of somebody else
    assert asked(reader, f"?StudyInstanceUID={address[1:]}&PatientID={number}") == []
    stored = reader.get(STUDIES + address).parts()
    assert {body for _, _, body in stored} == set(study)


def test_reader_rejects_nothing_and_the_sites_technician_does(
    county: County, as_person: AsPerson, study: list[bytes], viewer_of: Callable[[str], Viewer]
) -> None:
    claim_offered(county.hub, viewer_of("reader"))
    title = pydicom.Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113001", "DCM", "Rejected for Quality Reasons"
    note = evidence(study[:1], ConceptNameCodeSequence=[title])
    reply = as_person("reader").store([note])
    assert reply.failed() == [(uid_of(note), NOT_ALLOWED)]
    assert "rejects images" in reply.words()
    assert as_person("technician").store([note]).kept() == [uid_of(note)]
    left = uids(asked(as_person("reader"), f"/{study_of(study[0])}/metadata"))
    assert left == {uid_of(file) for file in study[1:]}
