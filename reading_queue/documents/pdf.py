"""The PDF of a signed report, PDF/A-2b, as it is printed and handed to the patient (影像诊断报告书).

Deterministic: the same report, fonts and typesetter give the same bytes. The words are the signed ones. A character
that no font can show is replaced by a visible mark and the page says so; nothing disappears unnoticed.

Must never: run in a process that forks afterwards. Once typst has compiled, a forked child hangs for ever, so a
Celery parent must not call `render_pdf`; its children may. Importing this module is harmless.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

from reading_queue.documents.fonts import FontSet, FontsUnusable, load_fonts
from reading_queue.documents.words import amendment_line, finding_line, opinion_line, single_line
from reading_queue.domain.report import ReportContent, Signatory
from reading_queue.domain.roles import Title
from storage.contract.lanes import Lane
from storage.dicom.person_name import display_name, patient_display_name

MISSING_MARK: Final = "〓"  # U+3013: what Chinese typesetters have always put where a character is wanting
STANDARD: Final = "a-2b"
_TEMPLATE: Final = resources.files("reading_queue.documents") / "templates" / "report.typ"
_SEXES: Final = {"M": "男", "F": "女", "O": "其他"}
_LANES: Final = {Lane.STAT: "特急", Lane.URGENT: "急诊"}
_QUOTED: Final = re.compile(r"`[^`]*`")


class ReportNotTypeset(Exception):
    """The typesetter refused; the message never holds words of the report."""


@dataclass(frozen=True, slots=True)
class RenderedPdf:
    """`replaced`: characters shown as a mark, sorted. `remarks`: warnings of the typesetter, without quoted text."""

    pdf: bytes
    replaced: tuple[str, ...]
    remarks: tuple[str, ...]


def render_pdf(content: ReportContent, *, content_sha256: str, fonts_dir: Path, created_at: datetime) -> RenderedPdf:
    """Return the report as PDF/A-2b with a QR code of `content_sha256`, times in the time zone of `created_at`.

    Raises:
        FontsUnusable: `fonts_dir` has no Chinese font.
        ReportNotTypeset: the typesetter refused for another reason.
    """
    fonts = load_fonts(fonts_dir)
    page = _page(content, content_sha256, created_at)
    wanting = fonts.missing("".join(_strings(page)))
    page = _shown(page, wanting)
    page["replaced"] = [f"U+{ord(character):04X}" for character in sorted(wanting)]
    page["families"] = list(fonts.families)
    page["qr"] = _qr_svg(content_sha256)
    pdf, remarks = _compile(page, fonts)
    return RenderedPdf(pdf, tuple(sorted(wanting)), remarks)


def age_text(birth_date: date | None, on: date | None) -> str:
    """Return the age on a day as a Chinese report gives it: years, below three years months, below a month days."""
    if birth_date is None or on is None or on < birth_date:
        return "—"
    months = (on.year - birth_date.year) * 12 + on.month - birth_date.month - (on.day < birth_date.day)
    if months >= 36:
        return f"{months // 12}岁"
    return f"{months}月" if months >= 1 else f"{(on - birth_date).days}天"


def _page(content: ReportContent, content_sha256: str, created_at: datetime) -> dict[str, Any]:
    """Return what stands on the page, every value as text, in the template's own names."""
    patient, first = content.patient, content.studies[0]
    local = content.signed_at.astimezone(created_at.tzinfo)
    return {
        "date": [local.year, local.month, local.day],
        "hospital": content.verifier.organisation_name,
        "network": content.network_name,
        "lane": _LANES.get(content.lane, ""),
        "version": content.report_version,
        "name": patient_display_name(patient.name),
        "sex": _SEXES.get(patient.sex, "—"),
        "age": age_text(patient.birth_date, first.study_date),
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else "—",
        "patient_number": patient.patient_number or "—",
        "accession_numbers": _joined(content.accession_numbers),
        "modality": _joined(study.modality for study in content.studies),
        "exam_date": first.study_date.isoformat() if first.study_date else "—",
        "site": content.organisation_name or content.site_name,
        "referring_physician": display_name(first.referring_physician) or "—",
        "procedures": _joined(study.description or study.body_part for study in content.studies),
        "sections": [
            {"heading": heading, "paragraphs": _paragraphs(text)}
            for heading, text in (
                ("影像所见", content.findings),
                ("影像诊断", content.impression),
                ("建议", content.recommendation),
                ("版本说明", amendment_line(content)),
                ("签发说明", single_line(content)),
                ("测量", "\n".join(map(finding_line, content.measurements))),
                ("关键图像", "；".join(map(finding_line, content.key_images))),
                ("会诊意见", "\n".join(opinion_line(one, created_at.tzinfo) for one in content.opinions)),
            )
            if text.strip()
        ],
        "signatures": _signatures(content, created_at),
        "single": content.single_physician is not None,
        "report_number": content.report_id,
        "digest": content_sha256,
    }


def _signatures(content: ReportContent, created_at: datetime) -> list[dict[str, str]]:
    submitted = content.submitted_at.astimezone(created_at.tzinfo)
    signed = content.signed_at.astimezone(created_at.tzinfo)
    if content.single_physician is not None:
        return [_signature("签发医师", "签发时间", content.verifier, signed)]
    return [
        _signature("报告医师", "报告时间", content.author, submitted),
        _signature("审核医师", "审核时间", content.verifier, signed),
    ]


def _signature(role: str, when: str, physician: Signatory, at: datetime) -> dict[str, str]:
    known = physician.title in set(Title)
    return {
        "role": role,
        "name": display_name(physician.name),
        "title": Title(physician.title).zh if known else physician.title,
        "licence": physician.licence_number or "—",
        "organisation": physician.organisation_name,
        "when": when,
        "at": at.strftime("%Y-%m-%d %H:%M"),
    }


def _joined(values: Any) -> str:
    return "、".join(dict.fromkeys(value for value in values if value)) or "—"


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.splitlines() if paragraph.strip()]


def _strings(value: Any) -> list[str]:
    """Return every text of the page, as it will be shown."""
    if isinstance(value, dict):
        return [text for member in value.values() for text in _strings(member)]
    if isinstance(value, list):
        return [text for member in value for text in _strings(member)]
    return [_visible(value)] if isinstance(value, str) else []


def _shown(value: Any, wanting: frozenset[str]) -> Any:
    """Return the page with every wanting character replaced by the mark."""
    if isinstance(value, dict):
        return {key: _shown(member, wanting) for key, member in value.items()}
    if isinstance(value, list):
        return [_shown(member, wanting) for member in value]
    if isinstance(value, str):
        return _visible(value).translate({ord(character): MISSING_MARK for character in wanting})
    return value


def _visible(text: str) -> str:
    """Return `text` without what has no form of its own: format characters and variation selectors; tabs as spaces."""
    kept = (character for character in text.replace("\t", "    ") if not _is_formless(character))
    return "".join(kept)


def _is_formless(character: str) -> bool:
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return selector or unicodedata.category(character) == "Cf"


def _qr_svg(text: str) -> str:
    import segno

    buffer = io.BytesIO()
    segno.make(text, error="m", micro=False).save(buffer, kind="svg", border=2, xmldecl=False, nl=False)
    return buffer.getvalue().decode()


def _compile(page: dict[str, Any], fonts: FontSet) -> tuple[bytes, tuple[str, ...]]:
    import typst

    with tempfile.TemporaryDirectory(prefix="report-") as private_root:  # the typesetter can read nothing else
        try:
            pdf, warnings = typst.compile_with_warnings(
                _TEMPLATE.read_bytes(),
                root=private_root,
                font_paths=fonts.handle,
                format="pdf",
                pdf_standards=[STANDARD],
                sys_inputs={"page": json.dumps(page, ensure_ascii=False)},
            )
        except typst.TypstError as exc:
            raise ReportNotTypeset(_without_quotes(exc.message)) from None  # its diagnostics quote the report
    remarks = tuple(_without_quotes(warning.message) for warning in warnings)
    if any(remark.startswith("unknown font family") for remark in remarks):
        raise FontsUnusable("the template asks for a font that the fonts directory does not have")
    return pdf, remarks


def _without_quotes(message: str) -> str:
    return _QUOTED.sub("`…`", message)
