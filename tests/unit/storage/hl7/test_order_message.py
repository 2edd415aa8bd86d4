"""What an order message says of urgency, green channel and consent, in the standard's codes and the sender's own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from storage.contract.lanes import Lane
from storage.contract.national_id import IdentityKind
from storage.contract.orders import GreenChannel
from storage.hl7.faults import Fault
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import parse_message
from storage.hl7.order_message import OrderRequest, read_orders
from storage.screens.order_form import read_form
from storage.screens.order_message_form import prefill
from tests.integration.gateway_orders.sending import EXAMPLE, ORDERED, PID, RESIDENT, changed, message

CODES = LocalCodes(
    urgencies={"JZ": Lane.STAT},
    green_channels={"ZZ": GreenChannel.STROKE, "XT": GreenChannel.CHEST_PAIN},
    consents=frozenset({"REMOTE-READ"}),
)
SECONDS_MAX = 10
CON = "CON|1|REMOTE-READ|||||||||A||20260301180000|||||||||||王^建国"


def read(*segments: str, codes: LocalCodes = CODES) -> tuple[tuple[OrderRequest, ...], tuple[Fault, ...]]:
    parsed = parse_message(message(*segments), "UNICODE UTF-8")
    return read_orders(parsed, zone=ZoneInfo("Asia/Shanghai"), codes=codes)


def read_one(*segments: str, codes: LocalCodes = CODES) -> OrderRequest:
    (request,), faults = read(*segments, codes=codes)
    assert faults == ()
    return request


def test_a_message_is_about_one_patient() -> None:
    _, faults = read(*EXAMPLE, "PID|2||C777^^^HIS^MR||李^四")
    assert [fault.where for fault in faults] == ["PID-3"]


@pytest.mark.parametrize(
    ("old", "new", "kind", "number"),
    [
        (RESIDENT, RESIDENT.lower(), IdentityKind.RESIDENT, RESIDENT.lower()),
        (RESIDENT, "110105491231002", IdentityKind.OLD_RESIDENT, "110105491231002"),
        (f"{RESIDENT}^^^^NNCHN", "E12345678^^^^PPN", IdentityKind.PASSPORT, "E12345678"),
        (f"{RESIDENT}^^^^NNCHN", "H1234567800^^^^NNHKG", IdentityKind.OTHER, "H1234567800"),
        (f"{RESIDENT}^^^^NNCHN", "810000199408230021^^^^NNHKG", IdentityKind.RESIDENT, "810000199408230021"),
        (f"~{RESIDENT}^^^^NNCHN||王^秀兰", "||王^秀兰", None, None),
    ],
)
def test_identity_numbers_are_told_by_their_types(old: str, new: str, kind: IdentityKind | None, number: str) -> None:
    fields = read_one(*changed(old, new, *EXAMPLE)).fields
    assert (fields.get("identity_kind"), fields.get("identity_number")) == (kind, number)


def test_a_field_of_thousands_of_repetitions_is_cut_once() -> None:
    many = "~".join(f"A{number}^^^^X" for number in range(20_000))
    began_s = time.process_time()
    assert read_one(*changed("M0042^^^HIS^MR", f"{many}~M0042^^^HIS^MR", *EXAMPLE)).fields["patient_number"] == "M0042"
    assert time.process_time() - began_s < SECONDS_MAX  # cut anew for each it takes a minute


@pytest.mark.parametrize(("sent", "kind"), [(RESIDENT, IdentityKind.RESIDENT), ("110105491231002", None)])
def test_residents_number_of_version_2_3_is_in_pid_19(sent: str, kind: IdentityKind | None) -> None:
    request = read_one(PID.replace(f"~{RESIDENT}^^^^NNCHN", "") + "|" * 11 + sent, *ORDERED)
    assert request.fields.get("identity_kind") == kind
    assert request.sources.get("identity_number") == ("PID-19" if kind else None)
    other = read_one(PID + "|" * 11 + "110105194912310021", *ORDERED)
    assert (other.fields["identity_number"], other.sources.get("identity_number")) == (RESIDENT, None)


@pytest.mark.parametrize(("sex", "read"), [("男", "M"), ("女", "F"), ("1", "M"), ("U", "")])
def test_sex_is_read_as_clinics_write_it(sex: str, read: str) -> None:
    assert read_one(*changed("|19491231|F", f"|19491231000000+0800|{sex}", *EXAMPLE)).fields["sex"] == read


def test_several_examinations_under_one_orc_have_their_own_numbers_and_its_urgency() -> None:
    second = "OBR|2|P2^HIS||CTHEAD^头颅CT平扫^L||||||||||||||ACC2||||||CT"
    third = "OBR|3|P3^HIS||CTNECK^颈部CT平扫^L||||||||||||||ACC3||||||CT"
    requests, faults = read(*of_priority("S"), second, third, "TQ1|1||||||20260303||R")
    assert faults == ()
    told = [(one.placer_number, one.accession_number, one.fields["lane"]) for one in requests]
    assert told == [("P1", "ACC1", Lane.STAT), ("P2", "ACC2", Lane.STAT), ("P3", "ACC3", Lane.ROUTINE)]
    assert "头颅" not in requests[0].fields["procedure_name"]


def test_procedure_counts_where_the_service_is_empty_and_codes_are_read_in_either_case() -> None:
    obr = "OBR|1|P1^HIS" + "|" * 42 + "fsct^胸部CT^L"
    request = read_one(PID, "ORC|NW|P1^HIS", obr, codes=LocalCodes(modalities={"FSCT": "CT"}))
    assert [request.fields[name] for name in ("modality", "procedure_name", "procedure_code")] == [
        "CT",
        "胸部CT",
        "fsct",
    ]


def test_values_of_every_kind_that_has_words_are_history() -> None:
    request = read_one(
        *EXAMPLE, "OBX|2|SN|X^eGFR^L||<^60|ml/min", "OBX|3||X^末次月经^L||20260201", "OBX|4|ED|X||a^b^c^d^e"
    )
    assert request.fields["history"].splitlines()[-3:] == ["eGFR: < 60 ml/min", "末次月经: 20260201", "请尽快"]


def of_priority(text: str) -> tuple[str, ...]:
    return changed("||R", f"||{text}", *EXAMPLE)


@pytest.mark.parametrize(
    ("priority", "lane", "green"),
    [
        ("S", Lane.STAT, None),
        ("A", Lane.URGENT, None),
        ("JZ", Lane.STAT, None),
        ("zz", Lane.STAT, GreenChannel.STROKE),
        ("S~XT", Lane.STAT, GreenChannel.CHEST_PAIN),
        ("S^立即^HL70485^ZZ^卒中^L", Lane.STAT, GreenChannel.STROKE),
        ("R^常规^HL70485^P9^普通^L", Lane.ROUTINE, None),
        ("R~ZZ", Lane.ROUTINE, GreenChannel.STROKE),  # which the order itself refuses
    ],
)
def test_priority_says_lane_and_green_channel(priority: str, lane: Lane, green: GreenChannel | None) -> None:
    fields = read_one(*of_priority(priority)).fields
    assert (fields["lane"], fields.get("green_channel")) == (lane, green)


def test_priority_in_the_old_places_counts_where_the_new_one_is_empty() -> None:
    old = changed("|P1^HIS||||||||||D7", "|P1^HIS|||||^^^^^ZZ|||||D7", *changed("||R", "", *EXAMPLE))
    assert read_one(*old).fields["green_channel"] is GreenChannel.STROKE


def test_code_that_nobody_knows_is_a_fault() -> None:
    _, faults = read(*of_priority("ZZ"), codes=LocalCodes())
    assert [fault.where for fault in faults] == ["TQ1-9"]


def test_consent_segment_says_who_agreed_and_when() -> None:
    request = read_one(PID, CON, *ORDERED)
    assert request.fields["consent_recorded"] is True
    assert request.consent is not None
    assert (request.consent.by, request.consent.moment) == ("王建国", datetime(2026, 3, 1, 10, tzinfo=UTC))


@pytest.mark.parametrize("status", ["R", "X", "L", "P", "B"])
def test_any_other_status_is_no_consent(status: str) -> None:
    assert read_one(PID, CON.replace("|A|", f"|{status}|"), *ORDERED).fields["consent_recorded"] is False


def test_consent_to_something_else_says_nothing() -> None:
    other = read_one(PID, CON.replace("REMOTE-READ", "ANAESTHESIA"), *ORDERED)
    assert ("consent_recorded" in other.fields, other.consent) == (False, None)
    assert "consent_recorded" not in read_one(PID, CON, *ORDERED, codes=LocalCodes()).fields


@pytest.mark.parametrize(("value", "given"), [("Y", True), ("373066001^Yes^SCT", True), ("N", False)])
def test_observation_says_it_too_and_is_no_history(value: str, given: bool) -> None:
    request = read_one(*EXAMPLE, f"OBX|2|CWE|REMOTE-READ^远程阅片同意^L||{value}|||||||||20260302080000")
    assert request.fields["consent_recorded"] is given
    assert "远程阅片" not in request.fields["history"]
    assert request.consent is not None
    assert request.consent.moment == datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


def test_of_two_that_differ_the_refusal_counts() -> None:
    assert read_one(PID, CON, *ORDERED, "OBX|2|CWE|REMOTE-READ||N").fields["consent_recorded"] is False


def test_consent_behind_one_order_is_of_that_one_alone() -> None:
    second = changed("P1^HIS", "P2^HIS", *changed("|ACC1|", "|ACC2|", *ORDERED[1:]))
    (one, two), _ = read(PID, *ORDERED, CON, *second)
    assert (one.fields.get("consent_recorded"), two.fields.get("consent_recorded")) == (True, None)
    (one, two), _ = read(PID, CON, *ORDERED, *second)
    assert (one.fields.get("consent_recorded"), two.fields.get("consent_recorded")) == (True, True)


@pytest.mark.parametrize(
    ("segment", "where"),
    [
        ("OBX|2|CWE|REMOTE-READ||MAYBE", "OBX-5"),
        ("OBX|2|CWE|REMOTE-READ||Y|||||||||yesterday", "OBX-14"),
        (CON.replace("|A|", "||"), "CON-11"),
        (CON.replace("20260301180000", "202613"), "CON-13"),
    ],
)
def test_consent_that_is_not_understood_is_a_fault(segment: str, where: str) -> None:
    _, faults = read(*EXAMPLE, segment)
    assert [fault.where for fault in faults] == [where]


@pytest.mark.parametrize(("answer", "given"), [("A", True), ("R", False)])
def test_consent_of_a_refused_message_is_ticked_on_the_form_that_it_opens_as(answer: str, given: bool) -> None:
    now, zone = datetime(2026, 3, 2, tzinfo=UTC), ZoneInfo("Asia/Shanghai")
    request = read_one(*EXAMPLE, CON.replace("|A|", f"|{answer}|"))
    assert read_form(prefill(request, now, zone), zone, now).fields["consent_recorded"] is given
