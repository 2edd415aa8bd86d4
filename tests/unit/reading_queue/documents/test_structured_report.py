"""The Basic Text SR: what other programs read in it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from reading_queue.documents.structured_report import build_basic_text_sr
from reading_queue.domain.report import ReportContent
from storage.contract.identifiers import Uid
from storage.contract.signed_report import SINGLE_PHYSICIAN_WORDS
from storage.dicom.document_parts import EvidenceInstance
from tests.support.reports import (
    FINDINGS,
    SHANGHAI,
    SIGNED_AT,
    STUDY_UID,
    report_content,
    report_of_one,
    report_of_two_orders,
    report_with_evidence,
    report_with_opinion,
    reported_study,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
OTHER_STUDY = "1.2.826.0.1.3680043.8.498.2"
EVIDENCE = (
    EvidenceInstance(STUDY_UID, f"{STUDY_UID}.2", CT, f"{STUDY_UID}.2.1"),
    EvidenceInstance(OTHER_STUDY, f"{OTHER_STUDY}.1", CT, f"{OTHER_STUDY}.1.1"),
    EvidenceInstance(STUDY_UID, f"{STUDY_UID}.1", CT, f"{STUDY_UID}.1.2"),
    EvidenceInstance(STUDY_UID, f"{STUDY_UID}.1", CT, f"{STUDY_UID}.1.1"),
)
BEFORE = EvidenceInstance(STUDY_UID, "2.25.10", "1.2.840.10008.5.1.4.1.1.88.11", "2.25.11")


def build(content: ReportContent, *, predecessor: EvidenceInstance | None = None) -> bytes:
    return build_basic_text_sr(
        content,
        EVIDENCE,
        sop_instance_uid=Uid("2.25.1"),
        series_uid=Uid("2.25.2"),
        created_at=SIGNED_AT.astimezone(SHANGHAI),
        predecessor=predecessor,
    )


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def section(dataset: Dataset, code_value: str) -> Dataset:
    return next(item for item in dataset.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code_value)


def headings(dataset: Dataset) -> list[str]:
    return [item.ConceptNameCodeSequence[0].CodeValue for item in dataset.ContentSequence]


def test_dcmtk_reads_the_whole_tree_in_chinese(tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(build(report_content()))
    dump = subprocess.run(["dsrdump", "+Pl", "+Pc", str(path)], capture_output=True, check=True, text=True)
    assert "Error" not in dump.stderr
    assert "Basic Text SR Document" in dump.stdout
    assert "VERIFIED" in dump.stdout
    for words in (
        "张^三䶮",
        "王芳",
        "李明",
        "磨玻璃结节",
        "主动脉粥样硬化",
        "三个月后复查",
        "59776-5",
        "19005-8",
        "121071",
    ):
        assert words in dump.stdout


def test_it_says_who_wrote_and_who_verified_and_when() -> None:
    dataset = read(build(report_content()))
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag) == (
        "COMPLETE",
        "VERIFIED",
        "FINAL",
    )
    verifier = dataset.VerifyingObserverSequence[0]
    assert (verifier.VerifyingObserverName, verifier.VerifyingOrganization) == ("王芳", "河北省第一人民医院")
    assert verifier.VerificationDateTime == "20260302093000"
    assert verifier.VerifyingObserverIdentificationCodeSequence[0].CodeValue == "110310000012345"
    author = dataset.AuthorObserverSequence[0]
    assert (author.PersonName, author.InstitutionName, author.ObserverType) == ("李明", "清河县人民医院", "PSN")


def test_it_lies_in_the_study_of_its_images_with_their_identity() -> None:
    dataset = read(build(report_content()))
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.TimezoneOffsetFromUTC == "+0800"
    assert dataset.PatientName.ideographic == "张^三䶮"
    assert (dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex) == ("P20260001", "19491231", "F")
    assert (dataset.StudyInstanceUID, dataset.AccessionNumber) == (STUDY_UID, "A2026-0001")
    assert (dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName) == ("20260302", "081500", "赵六")
    assert (dataset.Modality, dataset.SeriesInstanceUID) == ("SR", "2.25.2")
    assert (dataset.ContentDate, dataset.ContentTime) == ("20260302", "093000")


def test_the_words_are_the_signed_ones_and_lines_end_as_dicom_wants() -> None:
    findings = section(read(build(report_content())), "59776-5").ContentSequence[0]
    assert findings.TextValue == FINDINGS.replace("\n", "\r\n")
    assert findings.ConceptNameCodeSequence[0].CodeValue == "121071"


def test_a_part_left_empty_has_no_heading() -> None:
    dataset = read(build(report_content(recommendation="  ")))
    assert "18783-1" not in headings(dataset)
    assert headings(dataset)[-1] == "19005-8"


@pytest.mark.parametrize(
    ("modality", "title"),
    [("CT", "25045-6"), ("MR", "25056-3"), ("DX", "43468-8"), ("US", "25061-3"), ("NM", "11528-7")],
)
def test_the_title_follows_the_modality(modality: str, title: str) -> None:
    dataset = read(build(report_content(studies=(reported_study(modality=modality),))))
    assert dataset.ConceptNameCodeSequence[0].CodeValue == title


def test_every_image_read_is_named_under_its_study_and_series() -> None:
    studies = read(build(report_content())).CurrentRequestedProcedureEvidenceSequence
    assert [study.StudyInstanceUID for study in studies] == [STUDY_UID, OTHER_STUDY]
    series = studies[0].ReferencedSeriesSequence
    assert [item.SeriesInstanceUID for item in series] == [f"{STUDY_UID}.1", f"{STUDY_UID}.2"]
    images = series[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in images] == [f"{STUDY_UID}.1.1", f"{STUDY_UID}.1.2"]
    assert images[0].ReferencedSOPClassUID == CT


def test_a_name_from_a_gb18030_image_is_written_as_utf_8() -> None:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CT, "1.2.3"
    image.SpecificCharacterSet = "GB18030"
    image.PatientName = "张^三䶮"
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    assert "张".encode("gb18030") in buffer.getvalue()

    name = str(read(buffer.getvalue()).PatientName)
    patient = report_content().patient.model_copy(update={"name": name})
    data = build(report_content(patient=patient))
    assert "张^三䶮".encode() in data
    assert read(data).PatientName == "张^三䶮"


def test_built_twice_it_is_the_same_bytes() -> None:
    assert build(report_content()) == build(report_content())


def test_a_later_version_names_the_one_before() -> None:
    dataset = read(build(report_content(report_version=2), predecessor=BEFORE))
    series = dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.11"
    assert "PredecessorDocumentsSequence" not in read(build(report_content()))


def test_a_later_version_without_the_one_before_is_refused() -> None:
    with pytest.raises(ValueError, match="predecessor"):
        build(report_content(report_version=2))


def test_a_report_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="evidence"):
        build_basic_text_sr(
            report_content(), (), sop_instance_uid=Uid("2.25.1"), series_uid=Uid("2.25.2"), created_at=SIGNED_AT
        )


def test_values_that_no_element_may_hold_are_made_to_fit() -> None:
    study = reported_study(
        description="a\\b\n" + "长" * 100, accession_number="9" * 30, study_time="soon", study_date=None
    )
    patient = report_content().patient.model_copy(update={"sex": "X", "birth_date": None, "name": "无名氏" * 40})
    dataset = read(build(report_content(studies=(study,), patient=patient)))
    assert str(dataset.StudyDescription).startswith("a/b 长")
    assert len(dataset.StudyDescription) == 64
    assert (dataset.AccessionNumber, dataset.StudyTime, dataset.StudyDate) == ("9" * 16, "", "")
    assert (dataset.PatientSex, dataset.PatientBirthDate, len(str(dataset.PatientName))) == ("", "", 64)


def test_key_images_and_measurements_stand_in_it_with_the_images_that_they_are_about(tmp_path: Path) -> None:
    data = build(report_with_evidence())
    (marked,) = section(read(data), "55113-5").ContentSequence
    assert marked.ConceptNameCodeSequence[0].CodeValue == "121080"
    assert marked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.1.1"
    measured = read(data).ContentSequence[-2].ContentSequence[0]
    assert measured.TextValue == "长度 23.4 mm（序列 2 图像 35）"
    assert measured.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.1.1"
    path = tmp_path / "report.dcm"
    path.write_bytes(data)
    dump = subprocess.run(["dsrdump", "+Pl", "+Pc", str(path)], capture_output=True, check=True, text=True)
    assert "Error" not in dump.stderr
    assert "Key Images" in dump.stdout


def test_a_later_version_says_how_and_why_it_differs() -> None:
    amended = report_content(
        format="counterpart-report/3", report_version=2, amendment_kind="corrected", amendment_reason="左右写反"
    )
    (said,) = section(read(build(amended, predecessor=BEFORE)), "55107-7").ContentSequence
    assert said.TextValue == "更正（第 2 版）：左右写反"
    assert "55107-7" not in headings(read(build(report_content())))


def test_opinion_is_a_section_observed_by_who_gave_it(tmp_path: Path) -> None:
    data = build(report_with_opinion())
    _, observer, employer, asked, said = section(read(data), "11488-4").ContentSequence
    assert (observer.PersonName, employer.TextValue) == ("林静", "省肿瘤医院")
    assert asked.TextValue == "结节是否需要增强扫描？"
    assert (said.TextValue, said.ObservationDateTime) == ("建议增强扫描。\r\n警惕早期肺癌。", "20260302085000")
    path = tmp_path / "report.dcm"
    path.write_bytes(data)
    dump = subprocess.run(["dsrdump", "+Pl", "+Pc", str(path)], capture_output=True, check=True, text=True)
    assert "Error" not in dump.stderr
    assert "Consult note" in dump.stdout


def test_a_report_that_one_physician_signed_says_so() -> None:
    (said,) = section(read(build(report_of_one())), "48767-8").ContentSequence
    assert said.TextValue == SINGLE_PHYSICIAN_WORDS
    assert "48767-8" not in headings(read(build(report_content())))


def test_every_order_that_it_answers_is_a_request_of_its_own() -> None:
    requests = read(build(report_of_two_orders())).ReferencedRequestSequence
    assert [item.AccessionNumber for item in requests] == ["A2026-0001", "A2026-0002"]
    assert {item.StudyInstanceUID for item in requests} == {STUDY_UID}
