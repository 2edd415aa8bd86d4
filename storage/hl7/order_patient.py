"""The patient and the visit of an order message (PID, PV1, AL1) as fields of an order. Pure.

Which identifier is which is told by its type (PID-3.5, HL7 table 0203). A field that is not sent is not among what is
returned; one that is sent as `""` is there, empty: the sender deletes it.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from storage.contract.national_id import OLD_RESIDENT_ID_CHARACTERS, RESIDENT_ID_CHARACTERS, IdentityKind
from storage.contract.orders import UNNAMED_PATIENT
from storage.hl7.faults import ErrorCode, Fault
from storage.hl7.message import Message

NULL: Final = '""'
_NUMBER_TYPES: Final = ("MR", "PI", "PT", "PN", "")  # the first that is there is the patient's number
_IDENTITY_TYPES: Final = {
    "NNCHN": IdentityKind.RESIDENT,
    "NI": IdentityKind.RESIDENT,
    "NN": IdentityKind.RESIDENT,
    "CZ": IdentityKind.RESIDENT,
    "PPN": IdentityKind.PASSPORT,
    "MI": IdentityKind.MILITARY,
    # Permits of residents of Hong Kong, Macao and Taiwan, and of foreigners who stay
    "NNHKG": IdentityKind.OTHER,
    "NNMAC": IdentityKind.OTHER,
    "NNTWN": IdentityKind.OTHER,
    "PRC": IdentityKind.OTHER,
}
_SEXES: Final = {
    "M": "M",
    "F": "F",
    "O": "O",
    "A": "O",
    "N": "O",
    "U": "",
    # GB/T 2261.1, which many a HIS sends
    "1": "M",
    "2": "F",
    "0": "",
    "9": "",
    "男": "M",
    "女": "F",
}
_VISITS: Final = {"E": "E", "I": "I"}


def read_patient(message: Message, faults: list[Fault]) -> dict[str, Any]:
    """Return the order's fields of the patient; what is wrong is appended to `faults`."""
    if not message.named("PID"):
        faults.append(Fault("PID-3", ErrorCode.REQUIRED_FIELD_MISSING, "the message has no patient (PID)"))
        return {}
    if len(message.named("PID")) > 1:
        words = "the message names more than one patient: send a message for each"
        faults.append(Fault("PID-3", ErrorCode.DATA_TYPE_ERROR, words))
    fields = _read_identifiers(message, faults) | _read_names(message)
    fields |= _read_birth_date(message, faults) | _read_sex(message, faults)
    if fields.get("patient_name") == UNNAMED_PATIENT and "identity_number" not in fields:
        fields |= {"patient_name": "", "identity_kind": IdentityKind.UNNAMED}
    return fields | _read_visit(message) | _read_allergies(message)


def parse_day(text: str) -> date:
    """Return the day of a time as HL7 writes it. Raises ValueError."""
    if not (text[:8].isascii() and text[:8].isdecimal()):
        raise ValueError("no day")
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _read_identifiers(message: Message, faults: list[Fault]) -> dict[str, Any]:
    place = message.named("PID")[0]
    by_type: dict[str, str] = {}
    for number in range(1, message.repetitions(place, 3) + 1):
        identifier = message.at(place, 3, 1, repetition=number).strip()
        if identifier and identifier != NULL:
            by_type.setdefault(message.at(place, 3, 5, repetition=number).strip().upper(), identifier)
    patient_number = next((by_type[one] for one in _NUMBER_TYPES if one in by_type), "")
    if not patient_number:
        words = "the patient's number at the clinic is missing: an identifier of the type MR, PI or PT"
        faults.append(Fault("PID-3", ErrorCode.REQUIRED_FIELD_MISSING, words))
    fields: dict[str, Any] = {"patient_number": patient_number}
    for type_code, kind in _IDENTITY_TYPES.items():
        if type_code in by_type:
            return fields | _identity_of(by_type[type_code], kind)
    of_old_version = message.get("PID", 19).strip()  # where many a HIS of version 2.3 has it, and others their own
    is_resident = len(of_old_version) == RESIDENT_ID_CHARACTERS
    return fields | (_identity_of(of_old_version, IdentityKind.RESIDENT) if is_resident else {})


def _identity_of(number: str, kind: IdentityKind) -> dict[str, Any]:
    """Return an identity number with its kind: a resident's may have 15 digits, a permit the form of a resident's."""
    if kind is IdentityKind.RESIDENT and len(number) == OLD_RESIDENT_ID_CHARACTERS:
        kind = IdentityKind.OLD_RESIDENT
    if kind is IdentityKind.OTHER and len(number) == RESIDENT_ID_CHARACTERS:
        kind = IdentityKind.RESIDENT
    return {"identity_kind": kind, "identity_number": number}


def _read_names(message: Message) -> dict[str, Any]:
    """Return the name as it is written, and as pinyin where it is sent in both writings."""
    place = message.named("PID")[0]
    names = [_name_of(message, place, number) for number in range(1, message.repetitions(place, 5) + 1)]
    names = [name for name in names if name]
    if not names:
        return {}
    hanzi = next((name for name in names if not name.isascii()), "")
    latin = next((name for name in names if name.isascii()), "")
    return {"patient_name": hanzi or latin} | ({"patient_name_latin": latin} if hanzi and latin else {})


def _name_of(message: Message, place: int, repetition: int) -> str:
    """Return one XPN as one group of a PN: HL7 has the suffix before the prefix."""
    family, given, middle, suffix, prefix = (
        message.at(place, 5, component, repetition=repetition).strip() for component in range(1, 6)
    )
    parts = [part.replace(NULL, "").replace("^", " ") for part in (family, given, middle, prefix, suffix)]
    return "^".join(parts).rstrip("^")


def _read_birth_date(message: Message, faults: list[Fault]) -> dict[str, Any]:
    text = message.get("PID", 7).strip()
    if not text:
        return {}
    if text == NULL:
        return {"birth_date": None}
    try:
        return {"birth_date": parse_day(text)}
    except ValueError:
        words = "the date of birth is no day of the calendar written YYYYMMDD"
        faults.append(Fault("PID-7", ErrorCode.DATA_TYPE_ERROR, words))
        return {}


def _read_sex(message: Message, faults: list[Fault]) -> dict[str, Any]:
    code = message.get("PID", 8).strip().upper()
    if not code:
        return {}
    if code != NULL and code not in _SEXES:
        words = "this sex is not in table 0001: send M, F, O or U"
        faults.append(Fault("PID-8", ErrorCode.TABLE_VALUE_NOT_FOUND, words))
        return {}
    return {"sex": _SEXES.get(code, "")}


def _read_visit(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if patient_class := message.get("PV1", 2).strip().upper():
        fields["visit_kind"] = _VISITS.get(patient_class, "O")
    if visit := message.get("PV1", 19).strip():
        fields["visit_number"] = visit.replace(NULL, "")
    return fields


def _read_allergies(message: Message) -> dict[str, Any]:
    said = [message.at(place, 3, 2) or message.at(place, 3, 1) for place in message.named("AL1")]
    text = "\n".join(line.strip() for line in said if line.strip())
    return {"allergies": text} if text else {}
