"""Queries over what the gateway holds, asked by DCMTK's findscu and by pynetdicom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.gateway_receive.modality import dcmtk, send
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says

pytestmark = pytest.mark.services

STUDY_FIND, PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.1"
FIRST, SECOND = "1.2.826.0.1.3680043.10.21", "1.2.826.0.1.3680043.10.22"
WORKSTATION = {"name": "ws", "ae_title": "WS", "may": ["query"]}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., AnsweringGateway]]:
    running: list[AnsweringGateway] = []

    def start(**dicom: Any) -> AnsweringGateway:
        gateway = AnsweringGateway(tmp_path / "gateway", dicom={"peers": [WORKSTATION], **dicom}).start()
        running.append(gateway)
        send(gateway.port, *[write_slice(tmp_path / "sent", number, FIRST) for number in (1, 2)])
        chinese = write_slice(tmp_path / "sent", 3, SECOND, charset="GB18030", patient_name="张^三".encode("gb18030"))
        send(gateway.port, chinese)
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


Begin = Callable[..., AnsweringGateway]


def find(gateway: AnsweringGateway, model: str = STUDY_FIND, **keys: Any) -> list[tuple[int, Dataset | None]]:
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    ae = AE(ae_title="WS")
    ae.add_requested_context(model)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
    assert association.is_established
    try:
        return [(int(status.Status), answer) for status, answer in association.send_c_find(dataset, model)]
    finally:
        association.release()


def found(gateway: AnsweringGateway, model: str = STUDY_FIND, **keys: Any) -> list[Dataset]:
    *answers, (last, _) = find(gateway, model, **keys)
    assert last == 0x0000
    return [answer for _, answer in answers if answer is not None]


def findscu(gateway: AnsweringGateway, directory: Path, *keys: str, model: str = "-S") -> list[Dataset]:
    """Return the answers as findscu wrote them down."""
    directory.mkdir(exist_ok=True)
    port = str(gateway.port)
    arguments = [word for key in keys for word in ("-k", key)]
    done = dcmtk("findscu", model, "-aet", "WS", "-X", "-od", str(directory), *arguments, "127.0.0.1", port)
    assert done.returncode == 0, done.stderr
    return [dcmread(path, force=True) for path in sorted(directory.glob("rsp*.dcm"))]


def test_findscu_finds_studies_series_and_images(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    level, uid = "QueryRetrieveLevel", f"StudyInstanceUID={FIRST}"
    (study,) = findscu(gateway, tmp_path / "1", f"{level}=STUDY", uid, "NumberOfStudyRelatedInstances", "PatientName")
    assert (study.NumberOfStudyRelatedInstances, study.PatientName) == (2, "TEST^RECEIVE")
    (series,) = findscu(gateway, tmp_path / "2", f"{level}=SERIES", uid, "Modality", "SeriesInstanceUID")
    assert (series.Modality, series.SeriesInstanceUID) == ("CT", f"{FIRST}.1")
    in_series = f"SeriesInstanceUID={FIRST}.1"
    images = findscu(gateway, tmp_path / "3", f"{level}=IMAGE", uid, in_series, "SOPInstanceUID", "InstanceNumber")
    assert {(image.SOPInstanceUID, image.InstanceNumber) for image in images} == {
        (instance_uid(number, FIRST), number) for number in (1, 2)
    }


def test_chinese_name_asked_in_gb18030_is_found_and_answered_in_gb18030(begin: Begin) -> None:
    gateway = begin()
    (answer,) = found(
        gateway,
        SpecificCharacterSet="GB18030",
        QueryRetrieveLevel="STUDY",
        PatientName="张*",
        StudyInstanceUID="",
    )
    assert (answer.StudyInstanceUID, answer.SpecificCharacterSet) == (SECOND, "GB18030")
    assert str(answer.PatientName) == "张^三"


def test_answer_to_an_old_system_is_in_its_configured_character_set(begin: Begin) -> None:
    gateway = begin(peers=[{**WORKSTATION, "character_set": "GB18030"}])
    (answer,) = found(gateway, QueryRetrieveLevel="STUDY", StudyInstanceUID=SECOND, PatientName="")
    assert answer.SpecificCharacterSet == "GB18030"
    assert str(answer.PatientName) == "张^三"


def test_patient_root_answers_each_patient_once(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    send(gateway.port, write_slice(tmp_path / "sent", 4, "1.2.826.0.1.3680043.10.23"))
    answers = found(gateway, PATIENT_FIND, QueryRetrieveLevel="PATIENT", PatientName="*", PatientID="")
    assert sorted(str(answer.PatientName) for answer in answers) == ["TEST^RECEIVE", "张^三"]


def test_key_that_nobody_answers_comes_back_empty_with_a_warning(begin: Begin) -> None:
    answers = find(begin(), QueryRetrieveLevel="STUDY", StudyInstanceUID=FIRST, StationName="")
    assert [status for status, _ in answers] == [0xFF01, 0x0000]
    assert answers[0][1] is not None
    assert answers[0][1].StationName in (None, "")


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ({"QueryRetrieveLevel": "SERIES"}, 0xA900, "needs one StudyInstanceUID"),
        ({"QueryRetrieveLevel": "PATIENT"}, 0xA900, "has no level"),
        ({"StudyInstanceUID": FIRST}, 0xA900, "Level is missing"),
        ({"QueryRetrieveLevel": "STUDY", "StudyDate": "2024ABCD"}, 0xA900, "date key"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_query_that_cannot_be_answered_is_refused_in_words(
    begin: Begin, keys: dict[str, Any], status: int, words: str
) -> None:
    gateway = begin()
    assert [answer for answer, _ in find(gateway, **keys)] == [status]
    assert refusal_that_says(gateway, words).status == status


def test_too_many_matches_end_with_out_of_resources(begin: Begin) -> None:
    gateway = begin(matches_max=1)
    assert [status for status, _ in find(gateway, QueryRetrieveLevel="STUDY", StudyInstanceUID="")] == [0xFF00, 0xA700]
    assert "matches_max" in refusal_that_says(gateway, "narrow the query").remedy


def test_query_is_cancelled(begin: Begin) -> None:
    gateway = begin()
    done = dcmtk(
        "findscu", "-S", "-v", "-aet", "WS", "--cancel", "1", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1",
        str(gateway.port),
    )  # fmt: skip
    assert done.returncode == 0
    answers = [line for line in done.stderr.splitlines() if "Find Response" in line or "Final Find" in line]
    assert answers, done.stderr


def test_device_that_may_not_query_is_refused_in_words(begin: Begin) -> None:
    gateway = begin()
    done = dcmtk("findscu", "-S", "-aet", "CT1", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", str(gateway.port))
    assert done.returncode != 0
    assert '"query"' in refusal_that_says(gateway, "asked for Query, which it may not use").remedy


def test_study_that_the_gateway_has_removed_is_not_found(begin: Begin) -> None:
    gateway = begin()
    gateway.evict([instance_uid(1, FIRST), instance_uid(2, FIRST)])
    assert found(gateway, QueryRetrieveLevel="STUDY", StudyInstanceUID=FIRST) == []
