"""A signed report as the hub holds it, and the fonts to set it in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from reading_queue.domain.report import PatientIdentity, ReportContent, ReportedStudy, Signatory
from storage.contract.signed_report import (
    ReportedEvidence,
    ReportedFinding,
    ReportedOpinion,
    ReportedOrder,
    SinglePhysician,
)

SHANGHAI = timezone(timedelta(hours=8))
SIGNED_AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SITE_NAME = "清河县双塔镇中心卫生院"
FINDINGS = "双肺纹理清晰，右肺上叶尖段见一磨玻璃结节，大小约8 mm×6 mm。\n气管及主支气管通畅，纵隔内未见肿大淋巴结。"
IMPRESSION = "1. 右肺上叶尖段磨玻璃结节。\n2. 主动脉粥样硬化。"
RECOMMENDATION = "三个月后复查低剂量胸部CT。"

_BUILT_FONTS = Path("build/web/fonts")
_DEBIAN_FONTS = Path("/usr/share/fonts/opentype/noto")


def find_fonts() -> Path:
    """Return the fonts that the build prepares, else Debian's package fonts-noto-cjk."""
    for directory in (_BUILT_FONTS, _DEBIAN_FONTS):
        if any(directory.glob("*.tt[fc]")):
            return directory.resolve()
    pytest.fail("no Chinese fonts: run make prepare, or install the Debian package fonts-noto-cjk")


def reported_study(**changes: Any) -> ReportedStudy:
    """Return the study the report is about."""
    study = ReportedStudy(
        study_uid=STUDY_UID,
        accession_number="A2026-0001",
        description="胸部CT平扫",
        modality="CT",
        body_part="CHEST",
        study_date=date(2026, 3, 2),
        study_time="081500",
        referring_physician="赵六",
    )
    return study.model_copy(update=changes)


def signatory(name: str, title: str, organisation_name: str) -> Signatory:
    """Return a physician as of the moment of signing."""
    return Signatory(
        physician_id=f"physician-{title}",
        name=name,
        title=title,
        licence_number="110310000012345",
        organisation_id="hospital",
        organisation_name=organisation_name,
    )


def report_content(**changes: Any) -> ReportContent:
    """Return what the verifier signed."""
    content = ReportContent(
        report_id="0123456789abcdef" * 2,
        case_id="c" * 32,
        report_version=1,
        network_name="清河县远程影像网",
        site_id="qinghe-01",
        site_name=SITE_NAME,
        organisation_id="qinghe-01",
        organisation_name=SITE_NAME,
        lane="routine",
        modality="CT",
        patient=PatientIdentity(
            patient_number="P20260001", name="Zhang^San=张^三䶮", sex="F", birth_date=date(1949, 12, 31)
        ),
        studies=(reported_study(),),
        author=signatory("李明", "resident", "清河县人民医院"),
        verifier=signatory("王芳", "chief", "河北省第一人民医院"),
        findings=FINDINGS,
        impression=IMPRESSION,
        recommendation=RECOMMENDATION,
        exam_started_at=SIGNED_AT - timedelta(hours=1),
        submitted_at=SIGNED_AT - timedelta(minutes=30),
        signed_at=SIGNED_AT,
        submission_sha256="a" * 64,
    )
    return content.model_copy(update=changes)


def reported_evidence() -> tuple[ReportedEvidence, ...]:
    """Return a marked image and a measurement, as they are signed with the report."""
    image = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": f"{STUDY_UID}.1.1",
        "series_number": 2,
        "instance_number": 35,
    }
    marked = ReportedFinding.model_validate(image)
    measured = ReportedFinding.model_validate(
        {**image, "concept": "Length", "code": "SCT 410668003", "value": "23.40517", "unit": "mm"}
    )
    documents = (
        ("1.2.840.10008.5.1.4.1.1.88.59", "2.25.71", marked),
        ("1.2.840.10008.5.1.4.1.1.88.34", "2.25.72", measured),
    )
    return tuple(
        ReportedEvidence(study_uid=STUDY_UID, sop_class_uid=sop_class, sop_instance_uid=uid, findings=(finding,))
        for sop_class, uid, finding in documents
    )


def report_with_evidence() -> ReportContent:
    """Return a report that was signed with key images and measurements."""
    return report_content(format="counterpart-report/3", evidence=reported_evidence())


def report_with_opinion() -> ReportContent:
    """Return a report on which another hospital was asked for its opinion before it was signed."""
    opinion = ReportedOpinion(
        consult_id="d" * 32,
        asked_by="李明",
        asked_at=SIGNED_AT - timedelta(minutes=50),
        question="结节是否需要增强扫描？",
        consultant=signatory("林静", "chief", "省肿瘤医院"),
        answered_at=SIGNED_AT - timedelta(minutes=40),
        opinion="建议增强扫描。\n警惕早期肺癌。",
    )
    return report_content(format="counterpart-report/4", opinions=(opinion,))


def report_of_one() -> ReportContent:
    """Return a report that its author signed alone."""
    alone = SinglePhysician(agreement_id="renmin-first:qinghe-01", agreement_version=3, declared_at=SIGNED_AT)
    author = signatory("王芳", "chief", "河北省第一人民医院")
    return report_content(
        format="counterpart-report/5", author=author, verifier=author, single_physician=alone, submitted_at=SIGNED_AT
    )


def report_of_two_orders() -> ReportContent:
    """Return a report of one study that answers two orders, of which the images name the first."""
    orders = (("a" * 32, "A2026-0001", "胸部CT平扫", "肺结节？"), ("b" * 32, "A2026-0002", "腹部CT平扫", "肝囊肿？"))
    return report_content(
        format="counterpart-report/6",
        orders=tuple(
            ReportedOrder(
                order_id=order_id, accession_number=number, study_uid=STUDY_UID, procedure_name=what, question=question
            )
            for order_id, number, what, question in orders
        ),
    )
