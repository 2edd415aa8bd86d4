"""What a query's sender wrote is what is read: levels, hierarchy, and the character set it was written in."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.query.answers import choose_target
from gateway.query.identifier import IdentifierUnusable, check_hierarchy, check_retrieval, read_identifier
from gateway.query.levels import PATIENT_ROOT, STUDY_ROOT, InformationModel


def over_the_wire(dataset: Dataset) -> Dataset:
    encoded = encode(dataset, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return decode(BytesIO(encoded), is_implicit_vr=True, is_little_endian=True)


def ask(level: str, **keys: object) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return over_the_wire(dataset)


def raw_name(name: bytes, declared: str | None) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "STUDY"
    if declared is not None:
        dataset.SpecificCharacterSet = declared
    dataset.add_new(0x00100010, "UN", name)
    return over_the_wire(dataset)


@pytest.mark.parametrize(
    ("codec", "declared", "configured"),
    [
        ("gb18030", "GB18030", None),
        ("gbk", "GBK", None),
        ("utf-8", "ISO_IR 192", None),
        ("gb18030", None, "GB18030"),
        ("gb18030", None, None),
        ("utf-8", None, None),
        ("gb18030", "ISO_IR 100", None),
    ],
)
def test_name_is_read_as_it_was_written(codec: str, declared: str | None, configured: str | None) -> None:
    identifier = read_identifier(raw_name("张三*".encode(codec), declared), STUDY_ROOT, configured)
    assert identifier.keys["PatientName"] == "张三*"


@pytest.mark.parametrize(
    ("model", "level", "keys", "problem"),
    [
        (STUDY_ROOT, "PATIENT", {}, "has no level PATIENT"),
        (STUDY_ROOT, "EXAM", {}, "Level is missing"),
        (STUDY_ROOT, "SERIES", {}, "needs one StudyInstanceUID"),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ""}, "needs one StudyInstanceUID"),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}, "needs one StudyInstanceUID"),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2"}, "needs one SeriesInstanceUID"),
        (PATIENT_ROOT, "STUDY", {}, "needs one PatientID"),
        (PATIENT_ROOT, "STUDY", {"PatientID": "P*"}, "needs one PatientID"),
        (PATIENT_ROOT, "PATIENT", {}, None),
        (STUDY_ROOT, "STUDY", {}, None),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}, None),
    ],
)
def test_levels_above_are_named_by_one_value(
    model: InformationModel, level: str, keys: dict[str, object], problem: str | None
) -> None:
    if problem is None:
        check_hierarchy(read_identifier(ask(level, **keys), model, None), model)
        return
    with pytest.raises(IdentifierUnusable, match=problem):
        check_hierarchy(read_identifier(ask(level, **keys), model, None), model)


@pytest.mark.parametrize(
    ("level", "keys", "fine"),
    [
        ("STUDY", {"StudyInstanceUID": "1.2"}, True),
        ("STUDY", {"StudyInstanceUID": ["1.2", "1.3"]}, True),
        ("STUDY", {"StudyInstanceUID": ""}, False),
        ("STUDY", {"StudyInstanceUID": "*"}, False),
        ("STUDY", {}, False),
        ("IMAGE", {"StudyInstanceUID": "1", "SeriesInstanceUID": "2", "SOPInstanceUID": ["3", "4"]}, True),
        ("IMAGE", {"StudyInstanceUID": "1", "SOPInstanceUID": "3"}, False),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_retrieval_names_what_it_wants(level: str, keys: dict[str, object], fine: bool) -> None:
    identifier = read_identifier(ask(level, **keys), STUDY_ROOT, None)
    if fine:
        check_retrieval(identifier, STUDY_ROOT)
    else:
        with pytest.raises(IdentifierUnusable):
            check_retrieval(identifier, STUDY_ROOT)


def test_keys_that_nobody_answers_are_told_apart() -> None:
    identifier = read_identifier(ask("STUDY", PatientName="", StationName="X", SeriesInstanceUID=""), STUDY_ROOT, None)
    assert identifier.unsupported == ("StationName", "SeriesInstanceUID")


def test_too_many_keys_are_refused() -> None:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "STUDY"
    for number in range(300):
        dataset.add_new(0x60000000 + (number % 16) * 0x20000 + 0x0010 + number // 16, "US", 1)
    with pytest.raises(IdentifierUnusable, match="More than"):
        read_identifier(over_the_wire(dataset), STUDY_ROOT, None)


@pytest.mark.parametrize(
    ("asked", "configured", "text", "expected"),
    [
        ("GB18030", None, "张三", "GB18030"),
        ("", "GB18030", "张三", "GB18030"),
        ("ISO_IR 100", "GB18030", "张三", "GB18030"),
        ("ISO_IR 100", None, "张三", "ISO_IR 192"),
        ("", None, "张三", "ISO_IR 192"),
        ("\\ISO 2022 IR 58", None, "张三", "ISO 2022 IR 58"),
        ("\\ISO 2022 IR 58", None, "𠮷", "ISO_IR 192"),
        ("GBK", None, "𠮷", "ISO_IR 192"),
        ("ISO_IR 100", None, "Müller", "ISO_IR 100"),
        ("", None, "Smith", None),
        ("GB18030", None, "Smith", "GB18030"),
    ],
)
def test_answer_is_written_in_a_set_that_its_asker_reads(
    asked: str, configured: str | None, text: str, expected: str | None
) -> None:
    assert choose_target(asked, configured, [text, "plain"]) == expected
