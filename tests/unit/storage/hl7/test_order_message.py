"""What an order message says of urgency, green channel and consent, in the standard's codes and the sender's own."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from storage.hl7.faults import Fault
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import parse_message
from storage.hl7.order_message import OrderRequest, read_orders
from storage.screens.order_form import read_form
from storage.screens.order_message_form import prefill
from tests.integration.gateway_orders.sending import EXAMPLE, ORDERED, PID, changed, message

CODES = LocalCodes(
    urgencies={"JZ": Lane.STAT},
    green_channels={"ZZ": GreenChannel.STROKE, "XT": GreenChannel.CHEST_PAIN},
    consents=frozenset({"REMOTE-READ"}),
)
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
