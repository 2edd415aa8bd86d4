"""Text goes out in the character set of its reader, right down to nested names; what cannot be written is seen."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from storage.dicom.charsets import choose_character_set
from storage.dicom.headers import read_header
from storage.dicom.recoding import Replaced, UnknownCharacterSet, encode_text, recode_dataset
from tests.unit.storage.dicom.datasets import part10

NAME = "张三^买买提·吐尔逊=Zhang^San"


def dataset_read_from_gb18030() -> Dataset:
    """A dataset as it was read: its names still carry the bytes they came in."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "GB18030"
    dataset.PatientName = "张三"
    dataset.OtherPatientNames = ["李娜", "王芳"]
    item = Dataset()
    item.PatientName, item.StudyDescription = "赵六", "胸部"
    dataset.ReferencedPatientSequence = Sequence([item])
    raw = io.BytesIO()
    dataset.save_as(raw, enforce_file_format=False)
    raw.seek(0)
    return pydicom.dcmread(raw, force=True)


def written(dataset: Dataset) -> Dataset:
    raw = io.BytesIO()
    dataset.save_as(raw, enforce_file_format=False)
    raw.seek(0)
    return pydicom.dcmread(raw, force=True)


@pytest.mark.parametrize("target", ["ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 58"])
def test_names_read_in_one_character_set_are_written_right_in_another_nested_ones_too(target: str) -> None:
    dataset = dataset_read_from_gb18030()
    assert recode_dataset(dataset, target) == []
    again = written(dataset)
    assert again.PatientName == "张三"
    assert [str(name) for name in again.OtherPatientNames] == ["李娜", "王芳"]
    assert again.ReferencedPatientSequence[0].PatientName == "赵六"
    assert again.ReferencedPatientSequence[0].StudyDescription == "胸部"


def test_a_character_that_the_target_lacks_is_seen_and_reported_by_place_alone() -> None:
    dataset = dataset_read_from_gb18030()
    dataset.PatientName = "王䶮"
    assert recode_dataset(dataset, "GBK") == [Replaced(0x00100010, 1)]
    assert written(dataset).PatientName == "王〓"


def test_latin_targets_get_question_marks_for_chinese() -> None:
    dataset = dataset_read_from_gb18030()
    replaced = recode_dataset(dataset, "ISO_IR 100")
    assert {found.tag for found in replaced} == {0x00100010, 0x00101001, 0x00081030}
    assert written(dataset).PatientName == "??"


def test_an_unknown_target_is_refused_before_anything_changes() -> None:
    dataset = dataset_read_from_gb18030()
    with pytest.raises(UnknownCharacterSet, match="GB18030"):
        recode_dataset(dataset, "KLINGON")
    assert dataset.SpecificCharacterSet == "GB18030"


@pytest.mark.parametrize("target", ["ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 58"])
def test_encoded_text_is_read_back_by_the_reader_of_this_project(target: str) -> None:
    raw, replaced = encode_text(NAME, target)
    assert replaced == 0
    declared = "\\ISO 2022 IR 58" if target == "ISO 2022 IR 58" else target
    assert choose_character_set(declared, [raw]).decode(raw).replace("・", "·") == NAME


def test_escapes_of_iso_2022_come_again_in_every_component() -> None:
    raw, _ = encode_text("张^三=Zhang", "ISO 2022 IR 58")
    assert raw == b"\x1b$)A" + "张".encode("gb2312") + b"^\x1b$)A" + "三".encode("gb2312") + b"=Zhang"


def test_a_header_written_in_iso_2022_is_indexed_right() -> None:
    raw, _ = encode_text("张^三", "ISO 2022 IR 58")
    file = part10({0x00080005: ("CS", b"\\ISO 2022 IR 58"), 0x00100010: ("PN", raw)})
    assert read_header(file).patient_name == "张^三"
