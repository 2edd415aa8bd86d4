"""A signed report as ORU^R01 (HL7 2.5.1 chapter 7; IHE RAD-128 Send Imaging Result). Pure.

What is said of the patient and the images is from the signed report; its PDF comes from the signed PDF. From the site's
order, where there is one, come only what the site calls its order and its examination (ORC-2, OBR-2, OBR-4; the HIS's
own number where it sent the order) and the patient class (PV1). The filler order number (ORC-3, OBR-3) is the accession
number, by which the site knows the examination, else the case. The same report, settings and orders give the same
bytes, and the message's control id is a function of the document and the target: what is sent again after a lost answer
is the same message.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.targets import MessageSettings
from storage.contract.orders import Order
from storage.contract.signed_report import (
    SINGLE_PHYSICIAN_WORDS,
    ReportedFinding,
    ReportedOpinion,
    ReportedStudy,
    Signatory,
    SignedReport,
)
from storage.hl7.message import CONTROL_ID_CHARACTERS_MAX, composite, encode, escape, header, segment

# LOINC codes of imaging reports by modality, as in the SR (DICOM CID 7000).
_REPORT_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "CT": ("25045-6", "CT Report"),
    "MR": ("25056-3", "MRI Report"),
    "CR": ("43468-8", "X-Ray Report"),
    "DX": ("43468-8", "X-Ray Report"),
    "US": ("25061-3", "Ultrasound Report"),
}
_ANY_REPORT: Final = ("18748-4", "Diagnostic Imaging Report")
_SECTIONS: Final[Mapping[str, str]] = {"CT": "CT", "MR": "NMR", "US": "OUS", "NM": "NMS", "XA": "VUS"}  # table 0074
_ANY_SECTION: Final = "RAD"
VOID_WORDS: Final = (
    "本报告已作废，不作为诊疗依据；正确的报告将另行出具。 "
    "This report is void and must not be used; what is right is reported anew."
)
_SEXES: Final = frozenset({"M", "F", "O"})
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDEOGRAPHS: Final = re.compile(r"[㐀-鿿豈-﫿\U00020000-\U0003ffff]")


class Placer(NamedTuple):
    """What the system that placed an order calls it (EI)."""

    number: str
    namespace: str


class _Result(NamedTuple):
    """What one OBX says; its fields are escaped already."""

    kind: str  # OBX-2
    what: str
    value: str
    abnormal: str = ""
    unit: str = ""


def control_id(document_id: str, target: str, *, is_void: bool = False) -> str:
    """Return MSH-10: the same for every repetition of this document to this target, another for everything else."""
    return hashlib.sha256(f"{document_id}/{target}{'/void' if is_void else ''}".encode()).hexdigest()[
        :CONTROL_ID_CHARACTERS_MAX
    ]


def build_oru(
    report: SignedReport,
    settings: MessageSettings,
    message_id: str,
    pdf: bytes | None,
    orders: Mapping[str, Order] = MappingProxyType({}),
    placers: Mapping[str, Placer] = MappingProxyType({}),
    *,
    is_void: bool = False,
) -> bytes:
    """Return the message; `pdf` is the printable report, None to leave it out; `orders` are the site's, by study UID.

    Further orders of a study, under other accession numbers, are by that number; each is answered on its own.

    `placers`: of orders that a HIS sent, by their id, what the HIS calls them. Of a report that was declared void
    (作废) every result is marked as posted wrong (W of table 0085), a note says so in words, and its PDF is left out:
    the signed one does not say that it no longer counts.

    Raises:
        UnicodeEncodeError: the receiver's character set cannot say it; UTF-8 and GB 18030 can say everything.
    """
    segments = [_header(report, settings, message_id), _patient(report, settings), *_visit(report, settings, orders)]
    answered = [(study, study.study_uid) for study in report.studies]
    answered += [(study, study.accession_number) for study in report.further_studies]
    for number, (study, key) in enumerate(answered, start=1):
        order = orders.get(key)
        placer = ""
        if order is not None:
            placer = composite(*placers.get(order.order_id, Placer(order.order_id, settings.sending_application)))
        document = pdf if number == 1 and not is_void else None
        told = list(_order(report, settings, study, number, order, placer, document))
        segments += _as_void(told) if is_void else told
    return encode(segments, settings.character_set)


def _as_void(segments: Iterable[str]) -> Iterable[str]:
    """Yield the segments of an order with its results as posted wrong: a correction (table 0123), W (table 0085)."""
    for one in segments:
        fields = one.split("|")
        if fields[0] == "OBR":
            fields[25] = "C"
        elif fields[0] == "OBX":
            fields[11] = "W"
        yield "|".join(fields)
        if fields[0] == "OBR":
            yield segment("NTE", {1: "1", 2: "L", 3: escape(VOID_WORDS)})


def is_national_id(number: str) -> bool:
    """Return whether this is a resident's identity number (GB 11643-1999: 18 characters, the last is a check)."""
    if re.fullmatch(r"\d{17}[\dXx]", number) is None or not number.isascii():
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def _header(report: SignedReport, settings: MessageSettings, message_id: str) -> str:
    enhanced = "AL" if settings.acknowledgement == "enhanced" else ""
    return header(
        {
            3: settings.sending_application,
            4: settings.sending_facility or escape(report.organisation_id),
            5: settings.receiving_application,
            6: settings.receiving_facility or escape(report.site_id),
            7: _moment(report.signed_at, report),
            9: "ORU^R01^ORU_R01",
            10: message_id,
            11: "P",
            12: "2.5.1",
            15: enhanced,
            16: enhanced,
            18: settings.character_set,
        }
    )


def _patient(report: SignedReport, settings: MessageSettings) -> str:
    patient = report.patient
    facility = settings.sending_facility or report.organisation_id
    national = is_national_id(patient.patient_number)
    identifier = ""
    if patient.patient_number and not national:
        identifier = composite(patient.patient_number, "", "", facility, "MR")
    elif national and settings.national_id:
        identifier = composite(patient.patient_number, "", "", "", "NNCHN")  # table 0203
    return segment(
        "PID",
        {
            1: "1",
            3: identifier,
            5: _person(patient.name),
            7: f"{patient.birth_date:%Y%m%d}" if patient.birth_date else "",
            8: patient.sex if patient.sex in _SEXES else "U",
        },
    )


def _visit(report: SignedReport, settings: MessageSettings, orders: Mapping[str, Order]) -> Iterable[str]:
    """Yield PV1 with the patient class (table 0004) and the visit number, where an order knows them."""
    order = next((orders[study.study_uid] for study in report.studies if study.study_uid in orders), None)
    if order is not None:
        facility = settings.sending_facility or report.organisation_id
        visit = composite(order.visit_number, "", "", facility, "VN") if order.visit_number else ""
        yield segment("PV1", {1: "1", 2: str(order.visit_kind), 19: visit})


def _single(report: SignedReport) -> list[_Result]:
    """Return that one physician alone signed it, nothing where two did."""
    if report.single_physician is None:
        return []
    return [_Result("FT", composite("48767-8", "Annotation comment", "LN"), escape(SINGLE_PHYSICIAN_WORDS))]


def _order(
    report: SignedReport,
    settings: MessageSettings,
    study: ReportedStudy,
    number: int,
    order: Order | None,
    placer: str,
    pdf: bytes | None,
) -> Iterable[str]:
    """Yield one order with its results: a report about several studies answers the order of each."""
    status = "F" if report.report_version == 1 else "C"
    filler = composite(study.accession_number or report.case_id, settings.sending_application)
    started = _exam_start(report, study)
    yield segment("ORC", {1: "RE", 2: placer, 3: filler})
    yield segment(
        "OBR",
        {
            1: str(number),
            2: placer,
            3: filler,
            4: _service(study, order),
            7: started,
            16: _ordering(study.referring_physician),
            18: escape(study.accession_number),
            22: _moment(report.signed_at, report),
            24: _SECTIONS.get(study.modality, _ANY_SECTION),
            25: status,
            32: _interpreter(report.verifier),
            33: _interpreter(report.author),
        },
    )
    results = [
        _Result("ST", composite("113014", "DICOM Study", "DCM"), escape(study.study_uid)),
        _Result("FT", composite("59776-5", "Findings", "LN"), escape(report.findings)),
        _Result(
            "FT",
            composite("19005-8", "Impressions", "LN"),
            escape(report.impression),
            abnormal="AA" if report.critical else "",
        ),
    ]
    if report.recommendation:
        results.append(_Result("FT", composite("18783-1", "Recommendations", "LN"), escape(report.recommendation)))
    results += _single(report)
    if number == 1:  # what is about all of its studies is told once
        results += map(_measurement, report.measurements)
        results += (_opinion(one, report) for one in report.opinions)
    if pdf is not None:
        data = base64.b64encode(pdf).decode("ascii")
        results.append(_Result("ED", composite(*_ANY_REPORT, "LN"), f"^application^pdf^Base64^{data}"))
    for place, result in enumerate(results, start=1):
        yield segment(
            "OBX",
            {
                1: str(place),
                2: result.kind,
                3: result.what,
                4: "1" if result.kind != "ST" else "",
                5: result.value,
                6: result.unit,
                8: result.abnormal,
                11: status,
                14: started,
            },
        )


def _measurement(finding: ReportedFinding) -> _Result:
    """Return a measured value with its code and its unit (UCUM)."""
    scheme, _, value = finding.code.partition(" ")
    what = composite(value, finding.concept, scheme) if value else composite("", finding.concept)
    return _Result("NM", what, finding.value, unit=composite(finding.unit, "", "UCUM") if finding.unit else "")


def _opinion(opinion: ReportedOpinion, report: SignedReport) -> _Result:
    """Return what another hospital advised, with who said it and when."""
    who, at = opinion.consultant, opinion.answered_at.astimezone(ZoneInfo(report.time_zone))
    said = f"{who.organisation_name} {who.name} {at:%Y-%m-%d %H:%M}: {opinion.opinion}"
    return _Result("FT", composite("11488-4", "Consult note", "LN"), escape(said))


def _service(study: ReportedStudy, order: Order | None) -> str:
    """Return OBR-4: what the site has ordered, else the kind of report; the other coding stands beside it."""
    code, name = _REPORT_CODES.get(study.modality, _ANY_REPORT)
    if order is not None:
        return composite(order.procedure_code, order.procedure_name, "L", code, name, "LN")
    return composite(code, name, "LN", study.modality, study.description or name, "L")


def _exam_start(report: SignedReport, study: ReportedStudy) -> str:
    """Return when this study's exam began, as the site's local time: of several studies each has its own."""
    if report.exam_started_at is not None and len(report.studies) == 1:
        return _moment(report.exam_started_at, report)
    if study.study_date is None:
        return ""
    time = study.study_time[:6] if study.study_time[:6].isdecimal() and len(study.study_time) >= 4 else ""
    return f"{study.study_date:%Y%m%d}{time}"


def _moment(at: datetime, report: SignedReport) -> str:
    """Return a TS with its offset, in the site's time zone: many a HIS reads it as local time whatever the offset."""
    return at.astimezone(ZoneInfo(report.time_zone)).strftime("%Y%m%d%H%M%S%z")


def _person(name: str) -> str:
    """Return a DICOM PN as XPN, the group with Chinese characters first; each says in which writing it is."""
    groups = [group for group in name.split("=")[:3] if group.strip("^ ")]
    groups.sort(key=lambda group: _IDEOGRAPHS.search(group) is None)
    return "~".join(_xpn(group) for group in groups)


def _xpn(group: str) -> str:
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    writing = "I" if _IDEOGRAPHS.search(group) else "A"
    return composite(family, given, middle, suffix, prefix, "", "L", writing)


def _ordering(name: str) -> str:
    groups = [group for group in name.split("=")[:3] if group.strip("^ ")]
    groups.sort(key=lambda group: _IDEOGRAPHS.search(group) is None)
    return composite("", *[part.strip() for part in groups[0].split("^")[:3]]) if groups else ""


def _interpreter(physician: Signatory) -> str:
    """Return an NDL whose first component is the physician: licence number and name (a CNN)."""
    return composite(physician.licence_number, physician.name, separator="&")
