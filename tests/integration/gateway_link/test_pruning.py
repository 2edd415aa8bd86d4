"""What is old and settled is forgotten; what the hub has still to hear, or what lies in the spool, never."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from gateway.clock import utc_now
from gateway.forwarder.keeper import Keeper
from gateway.forwarder.pruner import Pruner, PruningLimits
from gateway.his_orders.intake import dismiss_message
from gateway.journal.course import acts_of, add_act, note_answer
from gateway.journal.identity_doubts import add_settlement, note_settled, settlements_of
from gateway.journal.order_messages import Envelope, decide_on_message, keep_message, list_messages
from gateway.journal.returns import last_cursor
from gateway.returns.retention import DocumentRetention
from gateway.returns.store import DocumentStore
from gateway.spool import QuarantineReason
from storage.contract.course import SiteAct, SiteActKind, SiteActsAnswer
from storage.contract.identifiers import new_uid
from storage.contract.identity_doubts import IdentitySettlement, SettlementKind
from storage.hl7.faults import ErrorCode, Fault
from storage.hl7.order_answers import Letterhead
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.integration.gateway_link.test_keeping import confirm
from tests.integration.gateway_link.test_returns import publish_report
from tests.support.waiting import eventually

TABLES = ("custody", "transfers", "packs", "instances")
LIMITS = PruningLimits(timedelta(days=400), timedelta(days=180), 10_000)


def prune(clinic: Clinic, *, days: float) -> None:
    now = utc_now() + timedelta(days=days)
    Pruner(clinic.journal, clinic.spool, LIMITS, clock=lambda: now).step()


def counts(clinic: Clinic) -> dict[str, int]:
    return {table: clinic.journal.read(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES}


def test_study_that_is_gone_from_the_spool_is_forgotten_once_it_is_old(clinic: Clinic) -> None:
    confirm(clinic)

    def all_told() -> None:
        clinic.connect()
        assert clinic.journal.read("SELECT count(*) AS n FROM custody WHERE reported = 0")[0]["n"] == 0

    eventually(all_told)
    clinic.disconnect()
    before = counts(clinic)
    prune(clinic, days=500)
    assert counts(clinic) == before | {"custody": 0}  # its files are still here
    Keeper(clinic.journal, clinic.spool, keep=timedelta(0), clock=lambda: utc_now() + timedelta(days=1)).step()
    prune(clinic, days=399)
    assert counts(clinic)["transfers"] == 1
    prune(clinic, days=401)
    assert counts(clinic) == dict.fromkeys(TABLES, 0)


def test_study_on_its_way_and_what_the_hub_has_not_heard_are_never_forgotten(clinic: Clinic) -> None:
    clinic.add_study()
    before = counts(clinic)
    assert before["custody"] == 1
    prune(clinic, days=5000)
    assert counts(clinic) == before


def test_an_order_message_that_waits_for_somebody_is_never_forgotten(clinic: Clinic) -> None:
    at, fault = utc_now(), Fault("PID-3", ErrorCode.REQUIRED_FIELD_MISSING, "the message has no patient (PID)")
    for number, (code, faults) in enumerate((("AA", []), ("AA", [fault]), ("AE", [fault]), ("AR", [fault]))):
        head = Letterhead("HIS", f"C{number}", "OMI^O23", f"{number}" * 64)
        with clinic.journal.transaction() as connection:
            kept = keep_message(connection, Envelope("127.0.0.1", head, b"MSH|"), at)
            decide_on_message(connection, kept, code=code, answer=b"", faults=faults, order_ids=[], now=at)
    prune(clinic, days=401)
    assert [one.code for one in list_messages(clinic.journal)] == ["AR", "AE", "AA"]
    for one in list_messages(clinic.journal):
        dismiss_message(clinic.journal, one.message_id, "tech", at + timedelta(minutes=1))
    prune(clinic, days=401)
    assert list_messages(clinic.journal) == []


@pytest.mark.parametrize(("days", "left"), [(399, 2), (401, 1)])
def test_what_was_decided_about_cases_is_forgotten_once_it_is_old_and_the_hub_has_answered(
    clinic: Clinic, days: float, left: int
) -> None:
    at, study_uid = utc_now(), new_uid()
    words = {"study_uid": study_uid, "account_id": "li", "at": at}
    facts = {"conflict_id": "c1", "facts_sha256": "ab" * 32, "kind": SettlementKind.CONFIRM, "reason": "核对"}
    with clinic.journal.transaction() as connection:
        for act_id in ("a" * 8, "b" * 8):
            add_act(connection, SiteAct(act_id=act_id, kind=SiteActKind.WITHDRAW, words="转院", **words))
            add_settlement(connection, IdentitySettlement.model_validate(words | facts | {"act_id": act_id}))
    told = SiteActsAnswer(done=("a" * 8,))
    note_answer(clinic.journal, told)
    note_settled(clinic.journal, told)
    prune(clinic, days=days)
    assert len(acts_of(clinic.journal, study_uid)) == left
    assert len(settlements_of(clinic.journal, study_uid)) == left


@pytest.mark.parametrize(("days", "left"), [(179, 2), (181, 0)])
def test_quarantine_is_cleared_after_its_time(clinic: Clinic, days: float, left: int) -> None:
    for number in (1, 2):
        set_aside(clinic, b"x" * number)
    prune(clinic, days=days)
    assert len(list((clinic.spool.root / "quarantine").glob("*.dcm"))) == left
    assert len(list((clinic.spool.root / "quarantine").glob("*.json"))) == left


def test_oldest_in_quarantine_goes_when_all_of_it_is_too_much(clinic: Clinic) -> None:
    old, new = set_aside(clinic, b"x" * 6000), set_aside(clinic, b"y" * 6000)
    path = clinic.spool.root / "quarantine" / f"{old}.dcm"
    os.utime(path, (0, path.stat().st_mtime - 100))
    prune(clinic, days=0)
    assert [path.stem for path in (clinic.spool.root / "quarantine").glob("*.dcm")] == [new]


def set_aside(clinic: Clinic, content: bytes) -> str:
    refused = clinic.spool.begin()
    refused.write(content)
    refused.seal()
    return clinic.spool.quarantine(refused.path, QuarantineReason("not_dicom", "w", "r", "", None, None, "CT1"))


def fetched_case(clinic: Clinic, hub: HubStandIn) -> str:
    documents = publish_report(hub, new_uid())

    def all_told() -> None:
        told = {about for about, _ in hub.receipts}
        assert {descriptor.document_id for descriptor, _ in documents} <= told
        assert clinic.journal.read("SELECT count(*) AS n FROM receipts WHERE reported = 0")[0]["n"] == 0

    eventually(all_told)
    return documents[0][0].case_id


def keep_documents(clinic: Clinic, *, days: float) -> None:
    store = DocumentStore(clinic.spool_dir, clinic.spool.files)
    now = utc_now() + timedelta(days=days)
    DocumentRetention(clinic.journal, store, keep=timedelta(days=1095), clock=lambda: now).step()


def test_report_that_went_everywhere_is_removed_once_it_is_old_and_never_the_newest(
    clinic: Clinic, hub: HubStandIn
) -> None:
    clinic.connect()
    old, newest = fetched_case(clinic, hub), fetched_case(clinic, hub)
    with clinic.journal.transaction() as connection:  # somebody has seen it on the console
        connection.execute("UPDATE deliveries SET state = 'delivered'")
    cursor = last_cursor(clinic.journal)
    keep_documents(clinic, days=1094)
    assert (clinic.spool_dir / "documents" / old).is_dir()
    keep_documents(clinic, days=1096)
    assert [path.name for path in (clinic.spool_dir / "documents").iterdir()] == [newest]
    assert {row["case_id"] for row in clinic.journal.read("SELECT case_id FROM documents")} == {newest}
    assert last_cursor(clinic.journal) == cursor


def test_report_that_waits_for_a_target_or_is_not_told_stays(clinic: Clinic, hub: HubStandIn) -> None:
    clinic.connect()
    waiting, untold, _ = (fetched_case(clinic, hub) for _ in range(3))
    clinic.disconnect()
    document_of = "SELECT document_id FROM documents WHERE case_id = ? AND kind = 'pdf'"
    with clinic.journal.transaction() as connection:
        connection.execute(
            "INSERT INTO deliveries (document_id, target, state, next_attempt_at)"
            f" SELECT document_id, 'pacs:main', 'due', '' FROM ({document_of})",
            (waiting,),
        )
        connection.execute(f"UPDATE receipts SET reported = 0 WHERE document_id IN ({document_of})", (untold,))
    keep_documents(clinic, days=2000)
    assert {waiting, untold} < {path.name for path in (clinic.spool_dir / "documents").iterdir()}
