"""The PDF as a DICOM object: it comes out as it went in."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread

from reading_queue.documents.encapsulated_pdf import build_encapsulated_pdf
from storage.contract.identifiers import Uid
from tests.support.reports import SHANGHAI, SIGNED_AT, STUDY_UID, report_content


def build(pdf: bytes) -> bytes:
    return build_encapsulated_pdf(
        report_content(),
        pdf,
        sop_instance_uid=Uid("2.25.3"),
        series_uid=Uid("2.25.4"),
        source_sr_uid=Uid("2.25.1"),
        created_at=SIGNED_AT.astimezone(SHANGHAI),
    )


@pytest.mark.parametrize("pdf", [b"%PDF-1.7\n%%EOF", b"%PDF-1.7\n%%EOF\n"])
def test_dcmtk_takes_the_same_bytes_out_again(tmp_path: Path, pdf: bytes) -> None:
    (tmp_path / "report.dcm").write_bytes(build(pdf))
    subprocess.run(["dcm2pdf", str(tmp_path / "report.dcm"), str(tmp_path / "report.pdf")], check=True)
    assert (tmp_path / "report.pdf").read_bytes() == pdf


def test_it_says_what_it_is_and_which_structured_report_it_shows() -> None:
    dataset = dcmread(io.BytesIO(build(b"%PDF")))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (dataset.Modality, dataset.ConversionType, dataset.MIMETypeOfEncapsulatedDocument) == (
        "DOC",
        "WSD",
        "application/pdf",
    )
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.DocumentTitle == "影像诊断报告书"
    assert dataset.ConceptNameCodeSequence[0].CodeValue == "11528-7"
    assert dataset.SourceInstanceSequence[0].ReferencedSOPInstanceUID == "2.25.1"
    assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (STUDY_UID, "2.25.4")
    assert dataset.PatientName.ideographic == "张^三䶮"


def test_built_twice_it_is_the_same_bytes() -> None:
    assert build(b"%PDF") == build(b"%PDF")
