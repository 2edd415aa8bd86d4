"""Key images, measurements, amendments and opinions in the words of a printed report. Pure.

Values are rounded to one decimal, finer than any reader can place a caliper by; what is signed is not.
"""

from __future__ import annotations

from datetime import tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from reading_queue.domain.roles import Title
from storage.contract.signed_report import (
    SINGLE_PHYSICIAN_WORDS,
    AmendmentKind,
    ReportedFinding,
    ReportedOpinion,
    SignedReport,
)
from storage.dicom.person_name import display_name

MINUTE: Final = "%Y-%m-%d %H:%M"
SHOWN_STEP: Final = Decimal("0.1")
UNITS: Final = {"mm2": "mm²", "cm2": "cm²", "mm3": "mm³", "[hnsf'U]": "HU", "deg": "°", "1": "", "{pixels}": "px"}
AMENDMENTS: Final = {AmendmentKind.APPENDED: "补充", AmendmentKind.CORRECTED: "更正"}
_CONCEPTS: Final = {
    "length": "长度",
    "area": "面积",
    "mean": "平均值",
    "maximum": "最大值",
    "minimum": "最小值",
    "angle": "角度",
    "long axis": "长径",
    "short axis": "短径",
}


def rounded(value: str) -> str:
    """Return a decimal text as it is shown."""
    return format(Decimal(value).quantize(SHOWN_STEP, ROUND_HALF_EVEN), "f")


def shown_unit(unit: str) -> str:
    """Return a UCUM unit as it is printed."""
    return UNITS.get(unit, unit)


def finding_line(finding: ReportedFinding) -> str:
    """Return `长度 23.4 mm（序列 2 图像 35）`, or of a key image its place alone."""
    place = _place(finding)
    if not finding.is_measurement:
        return place
    what = _CONCEPTS.get(finding.concept.strip().lower(), finding.concept)
    return f"{what} {rounded(finding.value)} {shown_unit(finding.unit)}".rstrip() + f"（{place}）"


def amendment_line(report: SignedReport) -> str:
    """Return how and why a later version differs, `更正（第 2 版）：左右写反`; empty of the first."""
    if report.amendment_kind is None:
        return ""
    return f"{AMENDMENTS[report.amendment_kind]}（第 {report.report_version} 版）：{report.amendment_reason}"


def opinion_line(opinion: ReportedOpinion, zone: tzinfo | None) -> str:
    """Return who at which hospital advised what, when and asked by whom, in local time."""
    consultant = opinion.consultant
    title = Title(consultant.title).zh if consultant.title in set(Title) else consultant.title
    asked, answered = (at.astimezone(zone).strftime(MINUTE) for at in (opinion.asked_at, opinion.answered_at))
    who = f"{consultant.organisation_name} {display_name(consultant.name)} {title}"
    question = f"［{display_name(opinion.asked_by)} {asked} 问：{opinion.question.strip()}］"
    return f"{who}（{answered}）：{opinion.opinion.strip()}\n{question}"


def single_line(report: SignedReport) -> str:
    """Return that one physician alone signed it; empty where two did."""
    return "" if report.single_physician is None else SINGLE_PHYSICIAN_WORDS


def _place(finding: ReportedFinding) -> str:
    if finding.series_number is None and finding.instance_number is None:
        return "图像位置未注明"
    series, number = ("？" if one is None else str(one) for one in (finding.series_number, finding.instance_number))
    frame = f" 第 {finding.frame} 帧" if finding.frame is not None else ""
    return f"序列 {series} 图像 {number}{frame}"
