"""The order (申请单): a clinic's request for an examination and its read, the same at the gateway and at the hub. Pure.

An order that breaks a rule is refused with a constant code and a sentence for the person who typed it. What a reader
would miss, but an emergency must not wait for, is no error: `find_gaps` names it and the desk decides.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from storage.contract.accession_numbers import ACCESSION_CHARACTERS_MAX
from storage.contract.lanes import Lane
from storage.contract.manifest import SiteIdField, UidField, WireModel
from storage.contract.national_id import IdentityKind, NationalIdProblem, parse_old_resident_id, parse_resident_id

NAME_CHARACTERS_MAX: Final = 64  # one component group of PN, PS3.5 section 6.2
NAME_COMPONENTS_MAX: Final = 5
UNNAMED_PATIENT: Final = "无名氏"
CHILDREN_AT_ONCE_MAX: Final = 9

# What an examination may be ordered on (PS3.3 section C.7.3.1.1.1).
MODALITIES: Final = frozenset(
    {"BMD", "CR", "CT", "DX", "ECG", "EPS", "ES", "GM", "HD", "IO", "IVOCT", "IVUS", "LS", "MG", "MR", "NM", "OAM"}
    | {"OCT", "OP", "OPT", "OPV", "OT", "PT", "PX", "RF", "RG", "SM", "TG", "US", "XA", "XC"}
)


class GreenChannel(StrEnum):
    """绿色通道: an emergency pathway whose patients wait for nothing."""

    STROKE = "stroke"
    CHEST_PAIN = "chest_pain"
    TRAUMA = "trauma"
    MATERNAL = "maternal"  # 危重孕产妇
    NEONATAL = "neonatal"  # 危重新生儿
    OTHER = "other"


class VisitKind(StrEnum):
    """How the patient came (HL7 table 0004)."""

    EMERGENCY = "E"
    INPATIENT = "I"
    OUTPATIENT = "O"


class Pregnancy(StrEnum):
    """What was answered when it was asked (0010,21C0)."""

    NOT_ASKED = ""
    NO = "no"
    POSSIBLE = "possible"
    YES = "yes"
    UNKNOWN = "unknown"


class OrderState(StrEnum):
    """Where the examination stands; images and the read have states of their own."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    DISCONTINUED = "discontinued"  # begun and not finished
    CANCELLED = "cancelled"


class OrderOrigin(StrEnum):
    """Who made the order."""

    CONSOLE = "console"
    COMMAND_LINE = "command_line"
    HL7 = "hl7"
    HUB = "hub"


class OrderGap(StrEnum):
    """What a reader or the law would want and the order does not have."""

    HISTORY = "history"
    QUESTION = "question"
    CONSENT = "consent"
    BIRTH_DATE = "birth_date"
    SEX = "sex"
    IDENTITY = "identity"


class OrderFault(NamedTuple):
    """One broken rule. `field` is empty where several fields contradict each other; never holds what was typed."""

    field: str
    code: str
    words: str


def _line(text: str) -> str:
    """Let through one line that DICOM can carry: no control characters, no backslash, which separates values."""
    line = text.strip()
    if not all(character.isprintable() for character in line) or "\\" in line:
        raise PydanticCustomError("text_characters", "one line without control characters and backslashes is needed")
    return line


def _lines(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not all(character.isprintable() or character in "\n\t\u3000" for character in lines):
        raise PydanticCustomError("text_characters", "the text holds control characters")
    return lines


def _person(text: str) -> str:
    name = _line(text.replace("\u3000", " "))
    if "=" in name or name.count("^") >= NAME_COMPONENTS_MAX:
        raise PydanticCustomError("name_form", "a name has at most five parts separated by ^, and no =")
    return name


def _modality(text: str) -> str:
    code = text.strip().upper()
    if code not in MODALITIES:
        raise PydanticCustomError("modality_unknown", "this is no modality that images come from, such as CT, DX or US")
    return code


def _identifier(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise PydanticCustomError("id_form", "an order's id has letters and digits only")
    return text


_ACCESSION = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e])?")


def _accession(text: str) -> str:
    number = text.strip()
    if _ACCESSION.fullmatch(number) is None or any(character in "*?" for character in number):
        raise PydanticCustomError(
            "accession_characters", "an accession number has ASCII characters without backslash, * and ?"
        )
    return number


ShortText = Annotated[str, AfterValidator(_line), Field(max_length=16)]  # SH, CS, AE
LongText = Annotated[str, AfterValidator(_line), Field(max_length=64)]  # LO
PersonText = Annotated[str, AfterValidator(_person), Field(max_length=NAME_CHARACTERS_MAX)]
FreeText = Annotated[str, AfterValidator(_lines), Field(max_length=4000)]
OrderId = Annotated[str, AfterValidator(_identifier), Field(min_length=8, max_length=32)]
AccessionNumber = Annotated[str, AfterValidator(_accession), Field(min_length=1, max_length=ACCESSION_CHARACTERS_MAX)]


class Order(WireModel):
    """One version of one order. `version` counts from 1; a change after it was reported is a new version.

    Texts are Unicode; each peer gets them in its own character set. `patient_name` is written as the clinic writes it,
    in Hanzi or not, with or without `^` between its parts; `patient_name_latin` is its pinyin. `identity_number` is
    checked by `identity_kind`. `station_ae_title` empty: any device of the modality. `study_uid` is what the scanner is
    told to use. `exam_started_at`, `exam_ended_at` and `expected_instances` come from the scanner's own report.
    """

    format: Literal["counterpart-order/1"] = "counterpart-order/1"
    order_id: OrderId
    version: int = Field(ge=1, le=1_000_000)
    site_id: SiteIdField
    accession_number: AccessionNumber
    study_uid: UidField
    state: OrderState = OrderState.SCHEDULED
    origin: OrderOrigin

    patient_number: Annotated[str, AfterValidator(_line), Field(min_length=1, max_length=64)]
    patient_name: PersonText = ""
    patient_name_latin: PersonText = ""
    birth_date: date | None = None
    sex: Literal["M", "F", "O", ""] = ""
    identity_kind: IdentityKind = IdentityKind.NONE
    identity_number: LongText = ""
    birth_order: int | None = Field(default=None, ge=1, le=CHILDREN_AT_ONCE_MAX)  # of a newborn among its siblings

    lane: Lane = Lane.ROUTINE
    green_channel: GreenChannel | None = None
    visit_kind: VisitKind = VisitKind.OUTPATIENT
    visit_number: LongText = ""  # 门诊号, 住院号
    modality: Annotated[str, AfterValidator(_modality)]
    body_part: LongText = ""
    procedure_code: ShortText = ""
    procedure_name: Annotated[str, AfterValidator(_line), Field(min_length=1, max_length=64)]
    history: FreeText = ""
    question: FreeText = ""  # 检查目的
    allergies: Annotated[str, AfterValidator(_lines), Field(max_length=500)] = ""
    pregnancy: Pregnancy = Pregnancy.NOT_ASKED
    consent_recorded: bool = False
    requesting_physician: PersonText = ""
    requesting_department: LongText = ""
    contact_phone: Annotated[str, AfterValidator(_line), Field(max_length=32)] = ""  # for critical values

    scheduled_at: AwareDatetime
    station_ae_title: ShortText = ""
    entered_by: Annotated[str, AfterValidator(_line), Field(min_length=1, max_length=64)]
    entered_at: AwareDatetime
    changed_at: AwareDatetime
    state_reason: Annotated[str, AfterValidator(_line), Field(max_length=200)] = ""  # why cancelled or discontinued

    exam_started_at: AwareDatetime | None = None
    exam_ended_at: AwareDatetime | None = None
    expected_instances: int | None = Field(default=None, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Order:
        faults = _contradictions(self)
        identity = _find_identity_fault(self)
        for fault in (*faults, identity):
            if fault is not None:
                raise PydanticCustomError(fault.code, fault.words)
        return self

    def person_name(self) -> str:
        """Return the patient's name as PN: alphabetic group, then the ideographic one where both are known."""
        name = self.patient_name or UNNAMED_PATIENT
        return f"{self.patient_name_latin}={name}" if self.patient_name_latin else name


def find_gaps(order: Order) -> tuple[OrderGap, ...]:
    """Return what the order lacks; a desk may insist on it in the lanes that can wait."""
    unnamed = order.identity_kind is IdentityKind.UNNAMED
    lacking = {
        OrderGap.HISTORY: not order.history,
        OrderGap.QUESTION: not order.question,
        OrderGap.CONSENT: not order.consent_recorded,
        OrderGap.BIRTH_DATE: order.birth_date is None and not unnamed,
        OrderGap.SEX: not order.sex and not unnamed,
        OrderGap.IDENTITY: order.identity_kind is IdentityKind.NONE,
    }
    return tuple(gap for gap, is_lacking in lacking.items() if is_lacking)


def explain_faults(error: ValidationError) -> list[OrderFault]:
    """Return what is wrong with an order as field, code and words; never what was typed."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(part) for part in fault["loc"])
        faults.append(OrderFault(name, fault["type"], fault["msg"]))
    return faults


def _contradictions(order: Order) -> list[OrderFault]:
    """Return the rules between fields that the order breaks."""
    pregnant = order.pregnancy in {Pregnancy.POSSIBLE, Pregnancy.YES}
    unnamed = order.identity_kind is IdentityKind.UNNAMED
    started, ended = order.exam_started_at, order.exam_ended_at
    rules = (
        (not order.patient_name and not unnamed, "name_missing", "the patient's name is missing"),
        (order.sex == "M" and pregnant, "pregnant_man", "a male patient is said to be pregnant"),
        (
            order.green_channel is not None and order.lane is not Lane.STAT,
            "green_channel_lane",
            "an order of a green channel must be in the lane stat",
        ),
        (
            order.birth_date is not None and order.birth_date > _latest_day(order),
            "birth_date_future",
            "the date of birth lies in the future",
        ),
        (
            order.state is OrderState.CANCELLED and not order.state_reason,
            "reason_missing",
            "a cancelled order needs a reason",
        ),
        (started is not None and ended is not None and ended < started, "exam_times", "the exam ended before it began"),
    )
    return [OrderFault("", code, words) for is_broken, code, words in rules if is_broken]


def _find_identity_fault(order: Order) -> OrderFault | None:
    """Return why the identity number cannot be this patient's."""
    number, kind = order.identity_number, order.identity_kind
    if not number:
        needs = kind not in {IdentityKind.NONE, IdentityKind.UNNAMED}
        return OrderFault("identity_number", "identity_missing", "the identity number is missing") if needs else None
    if kind in {IdentityKind.NONE, IdentityKind.UNNAMED}:
        return OrderFault("identity_kind", "identity_kind_missing", "say what kind of identity number this is")
    parse = _PARSERS.get(kind)
    if parse is None:
        return None
    try:
        resident = parse(number, today=_latest_day(order))
    except NationalIdProblem as problem:
        return OrderFault("identity_number", problem.code, str(problem))
    if kind is IdentityKind.NEWBORN:  # it is the mother's
        return None
    if order.birth_date is not None and order.birth_date != resident.birth_date:
        words = "the date of birth is not the one that the identity number holds"
        return OrderFault("birth_date", "birth_date_differs", words)
    if order.sex in {"M", "F"} and order.sex != resident.sex:
        return OrderFault("sex", "sex_differs", "the sex is not the one that the identity number holds")
    return None


def _latest_day(order: Order) -> date:
    """Return the last day that can be today anywhere: birth dates have no time zone."""
    return order.entered_at.date() + timedelta(days=1)


_PARSERS: Final = {
    IdentityKind.RESIDENT: parse_resident_id,
    IdentityKind.OLD_RESIDENT: parse_old_resident_id,
    IdentityKind.NEWBORN: parse_resident_id,
}
