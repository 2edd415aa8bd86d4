"""Order messages of a HIS or RIS: OMI^O23 and ORM^O01 (HL7 2.5.1 chapter 4; IHE RAD-2, RAD-3, RAD-4). Pure.

A message is about one patient and one or several orders; each begins with ORC. Read are what the tables below name. A
field that is not sent is left as it is by a change; one that is sent as `""` is emptied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from storage.contract.lanes import Lane
from storage.contract.orders import MODALITIES
from storage.hl7.faults import ErrorCode, Fault, OrderFaulty
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import Message
from storage.hl7.order_consent import SaidConsent, is_about_consent, read_consent
from storage.hl7.order_patient import NULL, parse_day, read_patient
from storage.hl7.order_urgency import read_urgency

KINDS: Final = {("OMI", "O23"): "ORI^O24^ORI_O24", ("ORM", "O01"): "ORR^O02^ORR_O02"}  # and what answers each
ORDERS_MAX: Final = 50  # of one message
PLACER_CHARACTERS_MAX: Final = 199  # of a placer's number and of its namespace; EI has less in every version
EMERGENCIES: Final = frozenset({Lane.STAT, Lane.URGENT})
# What an emergency is taken without: its places in a message.
_CAN_BE_LEFT_OUT: Final = frozenset(
    {"PID-7", "PID-8", "TQ1-7", "OBR-27.4", "ORC-7.4", "OBR-36", "CON-11", "CON-13", "CON-14", "OBX-5", "OBX-14"}
)
NO_TIME: Final = "this is no time written YYYYMMDDHHMM, with or without seconds and offset"


class Control(StrEnum):
    """What is to be done with an order."""

    NEW = "new"
    CHANGE = "change"
    CANCEL = "cancel"
    STATUS = "status"


# ORC-1, HL7 table 0119.
_CONTROLS: Final = {
    "NW": Control.NEW,
    "XO": Control.CHANGE,
    "XX": Control.CHANGE,
    "CA": Control.CANCEL,
    "DC": Control.CANCEL,
    "OC": Control.CANCEL,
    "SC": Control.STATUS,
}
# OBR-24, HL7 table 0074, where it says one modality.
_SECTIONS: Final = {"NMR": "MR", "OUS": "US", "VUS": "US", "NMS": "NM", "XRC": "XA"}
_HISTORY: Final = frozenset({"11329-0", "10154-3", "8684-3", "10164-2"})  # LOINC of OBX-3
_QUESTION: Final = frozenset({"29299-5", "18785-6", "59768-2"})
_PREGNANCY: Final = frozenset({"82810-3", "11449-6"})
_PREGNANT: Final = {"77386006": "yes", "Y": "yes", "60001007": "no", "N": "no", "U": "unknown"}
_SHARED: Final = ("ORC", "TQ1")  # what several OBR under one ORC have in common
_CODED_TYPES: Final = frozenset({"CE", "CWE", "CNE", "CF"})
_DATA_TYPES: Final = frozenset({"ED", "RP"})  # documents and pointers, no words


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What one ORC asks. `fields` are those of an `Order` that were sent; `sources` say where, for faults."""

    number: int  # in the message, from 1
    control: Control
    placer_number: str
    placer_namespace: str
    accession_number: str
    status: str  # ORC-5, HL7 table 0038
    reason: str  # ORC-16
    fields: Mapping[str, Any]
    sources: Mapping[str, str]
    consent: SaidConsent | None = None  # as it was said, beside `consent_recorded` of the fields
    left_out: tuple[Fault, ...] = ()  # what an emergency was not made to wait for


@dataclass
class _Group:
    """The segments of one order: places of each name in the message. `first`: that of the first under the same ORC."""

    number: int
    places: dict[str, list[int]] = field(default_factory=dict)
    first: _Group | None = None


def parse_orders(message: Message, *, zone: ZoneInfo, codes: LocalCodes) -> tuple[OrderRequest, ...]:
    """Return what the message asks, in its order.

    `zone`: of times without an offset. `codes`: what this sender's own codes mean. Emergencies wait for no birth date,
    sex, time or consent that cannot be read: it is left out of them, and told.

    Raises:
        OrderFaulty: with everything that is wrong.
    """
    requests, faults = read_orders(message, zone=zone, codes=codes)
    if not faults:
        return requests
    are_emergencies = all(one.fields.get("lane") in EMERGENCIES for one in requests)
    if not are_emergencies or any(fault.where not in _CAN_BE_LEFT_OUT for fault in faults):
        raise OrderFaulty(*faults)
    return tuple(
        replace(one, left_out=tuple(fault for fault in faults if fault.order == one.number)) for one in requests
    )


def read_orders(
    message: Message, *, zone: ZoneInfo, codes: LocalCodes
) -> tuple[tuple[OrderRequest, ...], tuple[Fault, ...]]:
    """Return what could be read of the orders, and everything that is wrong with them.

    An order control that is not taken is read as a new order's. Otherwise as `parse_orders`.
    """
    faults: list[Fault] = []
    patient = read_patient(message, faults)
    groups = _split(message)
    if not groups:
        faults.append(Fault("ORC-1", ErrorCode.REQUIRED_FIELD_MISSING, "the message has no order (ORC)"))
    if len(groups) > ORDERS_MAX:
        words = f"one message has at most {ORDERS_MAX} orders"
        return (), (Fault("ORC-1", ErrorCode.DATA_TYPE_ERROR, words, order=ORDERS_MAX + 1),)
    requests = [_Reader(message, group, zone, codes, faults).read(patient) for group in groups]
    return tuple(requests), tuple(faults)


def _split(message: Message) -> list[_Group]:
    """Return the orders: each begins with ORC, or with a further OBR under the same ORC."""
    groups: list[_Group] = []
    for place, fields in enumerate(message.segments):
        name = fields[0]
        if name == "ORC":
            groups.append(_Group(len(groups) + 1))
        elif name == "OBR" and groups and "OBR" in groups[-1].places:
            groups.append(_Group(len(groups) + 1, first=groups[-1].first or groups[-1]))
        if groups:
            groups[-1].places.setdefault(name, []).append(place)
    for group in groups:
        if group.first is not None:
            group.places = {one: group.first.places[one] for one in _SHARED if one in group.first.places} | group.places
    return groups


class _Reader:
    """Reads one order."""

    def __init__(
        self,
        message: Message,
        group: _Group,
        zone: ZoneInfo,
        codes: LocalCodes,
        faults: list[Fault],
    ) -> None:
        self._message, self._group, self._zone, self._codes = message, group, zone, codes
        self._faults = faults
        self._fields: dict[str, Any] = {}
        self._sources: dict[str, str] = {}

    def read(self, patient: Mapping[str, Any]) -> OrderRequest:
        """Return what could be read of the request; the faults tell the rest."""
        code = self._value("ORC", 1).upper()
        control = _CONTROLS.get(code)
        if control is None:
            words = "this order control is not taken here: send NW, XO, CA, DC or SC"
            self._fault("ORC-1", ErrorCode.TABLE_VALUE_NOT_FOUND if code else ErrorCode.REQUIRED_FIELD_MISSING, words)
            control = Control.NEW
        self._fields |= patient
        if patient.get("identity_number", "") == self._message.get("PID", 19).strip() != "":
            self._sources["identity_number"] = "PID-19"
        accession_number = self._accession()
        placer, namespace = self._placer()
        if max(len(placer), len(namespace)) > PLACER_CHARACTERS_MAX:
            words = f"the placer's number has more than {PLACER_CHARACTERS_MAX} characters"
            self._fault("ORC-2", ErrorCode.DATA_TYPE_ERROR, words)
        if not placer and not accession_number:
            words = "the order has no number: neither the placer's (ORC-2) nor an accession number"
            self._fault("ORC-2", ErrorCode.REQUIRED_FIELD_MISSING, words)
        if control is not Control.CANCEL:
            self._read_examination(is_new=control is Control.NEW)
        consent = self._read_consent() if control is not Control.CANCEL else None
        return OrderRequest(
            self._group.number,
            control,
            placer,
            namespace,
            accession_number,
            self._value("ORC", 5).upper(),
            self._value("ORC", 16, 2) or self._value("ORC", 16),
            self._fields,
            self._sources,
            consent,
        )

    def _read_examination(self, *, is_new: bool) -> None:
        self._read_modality(is_new=is_new)
        self._read_procedure(is_new=is_new)
        self._read_urgency()
        self._read_time()
        self._read_clinical()
        self._take("study_uid", ("IPC", 3, 1), ("ZDS", 1, 1), keep_null=False)
        self._take("station_ae_title", ("IPC", 9, 1))
        self._take("body_part", ("OBR", 15, 4))
        self._take("requesting_department", ("ORC", 17, 2), ("ORC", 17, 1))
        self._take("contact_phone", ("ORC", 14, 1), ("OBR", 17, 1))
        for name, number in (("ORC", 12), ("OBR", 16)):
            parts = [self._value(name, number, component) for component in (2, 3)]
            if any(parts):
                self._set("requesting_physician", "^".join(parts).rstrip("^"), f"{name}-{number}")
                break

    def _placer(self) -> tuple[str, str]:
        """Return the placer's number and its namespace; of several OBR under one ORC each has its own, in OBR-2."""
        places = ("OBR", "ORC") if self._group.first is not None else ("ORC", "OBR")
        number = next((found for name in places if (found := self._value(name, 2))), "")
        namespace = next((found for name in places if (found := self._value(name, 2, 2))), "")
        return number, namespace or self._message.get("MSH", 3)

    def _accession(self) -> str:
        """Return the accession number: that of the imaging step, else OBR-18, else the filler's order number."""
        steps = {self._message.at(place, 1).strip() for place in self._group.places.get("IPC", [])} - {"", NULL}
        if len(steps) > 1:
            words = "one order has several accession numbers: send an order for each of them"
            self._fault("IPC-1", ErrorCode.DATA_TYPE_ERROR, words)
        for name, number in (("IPC", 1), ("OBR", 18), ("ORC", 3), ("OBR", 3)):
            value = self._value(name, number).replace(NULL, "")
            if value:
                self._sources["accession_number"] = f"{name}-{number}"
                return value
        return ""

    def _read_modality(self, *, is_new: bool) -> None:
        code = self._value("IPC", 5).upper()
        section, procedures = self._value("OBR", 24).upper(), [self._value("OBR", number).upper() for number in (4, 44)]
        for value in (code, *procedures, section):
            known = self._codes.modalities.get(value) or _SECTIONS.get(value) or (value if value in MODALITIES else "")
            if value and known and value != NULL:
                self._set("modality", known, "IPC-5" if value == code else "OBR-24")
                return
        if code or section:
            words = "no modality is known by this code: send one of DICOM such as CT, DX or US, or have it configured"
            self._fault("IPC-5" if code else "OBR-24", ErrorCode.TABLE_VALUE_NOT_FOUND, words)
        elif is_new:
            self._fault("OBR-24", ErrorCode.REQUIRED_FIELD_MISSING, "the modality is missing")

    def _read_procedure(self, *, is_new: bool) -> None:
        for number in (4, 44):  # the service, else the procedure
            code = self._value("OBR", number)
            name = self._value("OBR", number, 2) or self._value("OBR", number, 5) or code
            if name and name != NULL:
                self._set("procedure_name", name, f"OBR-{number}.2")
                self._set("procedure_code", code if code != name else "", f"OBR-{number}.1")
                return
        if is_new:
            self._fault("OBR-4", ErrorCode.REQUIRED_FIELD_MISSING, "what is to be examined is missing")

    def _read_urgency(self) -> None:
        said = read_urgency(self._message, self._group.places, self._codes)
        if said is None:
            return
        if said.lane is None:
            words = "this urgency is not in table 0485: send S, A, R, P, C or T"
            self._fault(said.where, ErrorCode.TABLE_VALUE_NOT_FOUND, words)
            return
        self._set("lane", said.lane, said.where)
        if said.green_channel is not None:
            self._set("green_channel", said.green_channel, said.where)

    def _read_consent(self) -> SaidConsent | None:
        orders = self._message.named("ORC")
        of_all = [place for place in self._message.named("CON") if not orders or place < orders[0]]
        places = self._group.places
        said = read_consent(self._message, places.get("OBX", []), [*of_all, *places.get("CON", [])], self._codes)
        if said is None:
            return None
        if said.given is None:
            words = "whether the patient agreed is not said: send A or R in CON-11, Y or N in OBX-5"
            self._fault(said.where, ErrorCode.TABLE_VALUE_NOT_FOUND, words)
            return None
        try:
            moment = parse_moment(said.at, self._zone) if said.at else None
        except ValueError:
            self._fault(said.at_where, ErrorCode.DATA_TYPE_ERROR, NO_TIME)
            return None
        self._set("consent_recorded", said.given, said.where)
        return replace(said, moment=moment)

    def _read_time(self) -> None:
        for name, number, component in (("TQ1", 7, 1), ("OBR", 27, 4), ("ORC", 7, 4), ("OBR", 36, 1)):
            text = self._value(name, number, component)
            if not text or text == NULL:
                continue
            where = f"{name}-{number}" + (f".{component}" if component > 1 else "")
            try:
                self._set("scheduled_at", parse_moment(text, self._zone), where)
            except ValueError:
                self._fault(where, ErrorCode.DATA_TYPE_ERROR, NO_TIME)
            return

    def _read_clinical(self) -> None:
        """Read history and question out of OBR-13, OBR-31, OBX, DG1 and NTE; each says a part of it."""
        history, question = [self._text("OBR", 13)], [*self._reasons()]
        for place in self._group.places.get("OBX", []):
            self._read_observation(place, history, question)
        for place in self._group.places.get("DG1", []):
            history.append(self._message.at(place, 4) or self._message.at(place, 3, 2) or self._message.at(place, 3))
        history += [self._message.text(place, 3) for place in self._group.places.get("NTE", [])]
        for name, lines, where in (("history", history, "OBR-13"), ("question", question, "OBR-31")):
            text = "\n".join(line.strip() for line in lines if line.strip() and line.strip() != NULL)
            if text or NULL in lines:
                self._set(name, text, where)

    def _reasons(self) -> Iterator[str]:
        for place in self._group.places.get("OBR", [])[:1]:
            for repetition in range(1, self._message.repetitions(place, 31) + 1):
                yield next(
                    (text for part in (2, 5, 1) if (text := self._message.at(place, 31, part, repetition=repetition))),
                    "",
                )

    def _read_observation(self, place: int, history: list[str], question: list[str]) -> None:
        at = self._message.at
        if is_about_consent(self._message, place, self._codes):
            return
        code, kind = at(place, 3), at(place, 2).upper()
        if code in _PREGNANCY:
            said = _PREGNANT.get(at(place, 5).strip().upper(), "unknown")
            self._set("pregnancy", said, "OBX-5")
            return
        if kind in _DATA_TYPES:
            return
        text = at(place, 5, 2) or at(place, 5) if kind in _CODED_TYPES else self._message.text(place, 5)
        if kind == "SN":  # a comparator and a number
            text = text.replace("^", " ")
        if not text.strip():
            return
        if code in _QUESTION:
            question.append(text)
        elif code in _HISTORY:
            history.append(text)
        else:
            name, unit = at(place, 3, 2) or code, at(place, 6)
            history.append(f"{name}: {text} {unit}".strip())

    def _take(self, name: str, *places: tuple[str, int, int], keep_null: bool = True) -> None:
        for segment, number, component in places:
            value = self._value(segment, number, component)
            if value == NULL and not keep_null:
                continue
            if value:
                self._set(name, value.replace(NULL, ""), f"{segment}-{number}")
                return

    def _set(self, name: str, value: Any, where: str) -> None:
        self._fields[name] = value
        self._sources[name] = where

    def _value(self, segment: str, number: int, component: int = 1) -> str:
        places = self._group.places.get(segment, [])
        return self._message.at(places[0], number, component).strip() if places else ""

    def _text(self, segment: str, number: int) -> str:
        places = self._group.places.get(segment, [])
        return self._message.text(places[0], number).strip() if places else ""

    def _fault(self, where: str, code: ErrorCode, words: str) -> None:
        self._faults.append(Fault(where, code, words, order=self._group.number))


def parse_moment(text: str, zone: ZoneInfo) -> datetime:
    """Return a time as HL7 writes it, from the day to a part of a second, with or without offset. Raises ValueError."""
    main, offset = text, ""
    for sign in "+-":
        if sign in text:
            main, _, digits = text.partition(sign)
            offset = sign + digits
    digits = main.partition(".")[0]
    day: date = parse_day(digits)
    clock = digits[8:]
    if len(clock) not in (0, 2, 4, 6) or (clock and not (clock.isascii() and clock.isdecimal())):
        raise ValueError("no time of day")
    hour, minute, second = (int(clock[at : at + 2] or 0) for at in (0, 2, 4))
    moment = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone)
    if not 2000 <= moment.year < 2200:
        raise ValueError("no time of an order")
    return moment.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo) if offset else moment
