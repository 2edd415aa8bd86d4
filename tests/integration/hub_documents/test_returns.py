"""The way home: what a site is offered, and what follows from its word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case, DocumentReceipt
from reading_queue.domain.roles import Role
from reading_queue.errors import Forbidden, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reports.report_documents import report_document
from reading_queue.services.reports.reports import render
from reading_queue.services.reports.returns import (
    documents_for_site,
    open_document,
    receive_by_hand,
    record_receipt,
)
from storage.contract.wire import DocumentDescriptor, DocumentKind, Receipt, ReceiptStep
from storage.ledger.tables import CustodyEvent
from tests.integration.hub_documents.conftest import SignedCase
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def rendered(hub: Hub, signed_case: SignedCase, fonts_dir: Path) -> SignedCase:
    render(hub, signed_case.report_id, fonts_dir)
    return signed_case


def receipt(
    step: ReceiptStep, at: datetime, *, target: str = "pacs:main", reason: str = "", seq: int = 1, **said: Any
) -> Receipt:
    return Receipt(seq=seq, step=step, target=target, at=at, reason=reason, **said)


def tell(hub: Hub, case: SignedCase, kind: DocumentKind, said: Receipt) -> None:
    record_receipt(hub, case.site_id, report_document(hub, case.case_id, kind).document_id, said)


def viewer_at(hub: Hub, site_id: str, role: Role) -> Viewer:
    return Viewer("one", "one", "one", role, site_id, site_id, None, "zh", hub.clock())


def hops_of(hub: Hub, case: SignedCase) -> list[str]:
    events = select(CustodyEvent.hop).where(CustodyEvent.case_id == case.case_id).order_by(CustodyEvent.event_id)
    with hub.transaction() as session:
        return list(session.scalars(events))


def case_row(hub: Hub, case: SignedCase) -> Case:
    with hub.transaction() as session:
        return session.get_one(Case, case.case_id)


def test_a_site_is_shown_its_own_documents_in_order_behind_a_cursor(
    hub: Hub, rendered: SignedCase, sign_case: Callable[..., SignedCase], fonts_dir: Path
) -> None:
    elsewhere = sign_case("qinghe-02")
    render(hub, elsewhere.report_id, fonts_dir)
    page = documents_for_site(hub, rendered.site_id, 0, 50)
    descriptors = [DocumentDescriptor.model_validate_json(signed.canonical) for signed in page]
    assert [descriptor.kind for descriptor in descriptors] == ["report_json", "sr", "pdf"]
    assert {descriptor.site_id for descriptor in descriptors} == {rendered.site_id}
    assert documents_for_site(hub, rendered.site_id, 0, 1) == page[:1]
    assert documents_for_site(hub, rendered.site_id, page[0].cursor, 50) == page[1:]
    assert documents_for_site(hub, rendered.site_id, page[-1].cursor, 50) == ()


def test_another_site_can_neither_open_a_document_nor_speak_about_it(hub: Hub, rendered: SignedCase) -> None:
    document = report_document(hub, rendered.case_id, DocumentKind.SR)
    assert open_document(hub, rendered.site_id, document.document_id).object_key == document.object_key
    with pytest.raises(NotFound):
        open_document(hub, "qinghe-02", document.document_id)
    with pytest.raises(NotFound):
        record_receipt(hub, "qinghe-02", document.document_id, receipt(ReceiptStep.DELIVERED, hub.clock()))
    with pytest.raises(NotFound):
        open_document(hub, rendered.site_id, "0" * 32)


def test_the_case_is_acknowledged_when_report_and_pdf_are_at_home(
    hub: Hub, rendered: SignedCase, hub_clock: SteerableClock
) -> None:
    for kind in DocumentKind:
        tell(hub, rendered, kind, receipt(ReceiptStep.FETCHED, hub.clock(), target="spool"))
    tell(hub, rendered, DocumentKind.SR, receipt(ReceiptStep.DELIVERED, hub.clock()))
    assert case_row(hub, rendered).state == "final"

    delivered_at = hub_clock.advance(5)
    hub_clock.advance(7)
    tell(hub, rendered, DocumentKind.PDF, receipt(ReceiptStep.DELIVERED, delivered_at))
    case = case_row(hub, rendered)
    assert case.state == "acknowledged"
    assert (case.delivered_at, case.acknowledged_at) == (delivered_at, hub.clock())
    assert hops_of(hub, rendered) == ["rendered", "acknowledged"]


def test_a_receipt_said_again_changes_nothing(hub: Hub, rendered: SignedCase, hub_clock: SteerableClock) -> None:
    said = receipt(ReceiptStep.DELIVERED, hub.clock())
    for _ in range(2):
        tell(hub, rendered, DocumentKind.SR, said)
        tell(hub, rendered, DocumentKind.PDF, said)
        hub_clock.advance(60)
    case = case_row(hub, rendered)
    assert case.acknowledged_at == case.signed_at
    assert hops_of(hub, rendered).count("acknowledged") == 1
    with hub.transaction() as session:
        assert len(session.scalars(select(DocumentReceipt)).all()) == 2


def test_a_technician_acknowledges_what_reached_no_system_and_deliveries_go_on(
    hub: Hub, rendered: SignedCase, hub_clock: SteerableClock
) -> None:
    technician = viewer_at(hub, rendered.site_id, Role.TECHNICIAN)
    for other in (viewer_at(hub, "qinghe-02", Role.TECHNICIAN), viewer_at(hub, rendered.site_id, Role.COORDINATOR)):
        with pytest.raises((NotFound, Forbidden)):
            receive_by_hand(hub, other, rendered.case_id, rendered.report_id)
    with pytest.raises(WrongState):
        receive_by_hand(hub, technician, rendered.case_id, "0" * 32)
    said_at = hub_clock.advance(5)
    for _ in range(2):
        receive_by_hand(hub, technician, rendered.case_id, rendered.report_id)
        hub_clock.advance(7)
    for kind in (DocumentKind.SR, DocumentKind.PDF):
        tell(hub, rendered, kind, receipt(ReceiptStep.DELIVERED, hub.clock()))
    case = case_row(hub, rendered)
    assert (case.state, case.delivered_at, case.acknowledged_at) == ("acknowledged", said_at, said_at)
    assert hops_of(hub, rendered) == ["rendered", "acknowledged"]
    with hub.transaction() as session:
        line = session.scalars(select(CustodyEvent).where(CustodyEvent.hop == "acknowledged")).one()
        assert line.actor == technician.account_id
        assert len(session.scalars(select(DocumentReceipt)).all()) == 2


def test_a_second_target_does_not_acknowledge_again(hub: Hub, rendered: SignedCase) -> None:
    for target in ("pacs:main", "pacs:backup"):
        for kind in (DocumentKind.SR, DocumentKind.PDF):
            tell(hub, rendered, kind, receipt(ReceiptStep.DELIVERED, hub.clock(), target=target))
    assert hops_of(hub, rendered).count("acknowledged") == 1


def test_a_failure_is_in_the_ledger_with_its_reason_once_per_failure(
    hub: Hub, rendered: SignedCase, hub_clock: SteerableClock
) -> None:
    first = receipt(ReceiptStep.FAILED, hub.clock(), reason="the PACS refused: out of resources")
    for _ in range(2):
        tell(hub, rendered, DocumentKind.SR, first)
    second = receipt(ReceiptStep.FAILED, hub_clock.advance(60), reason="no answer")
    tell(hub, rendered, DocumentKind.SR, second)
    with hub.transaction() as session:
        failures = session.scalars(
            select(CustodyEvent).where(CustodyEvent.hop == "delivery_failed").order_by(CustodyEvent.event_id)
        ).all()
        assert session.scalars(select(DocumentReceipt)).one().reason == "no answer"
    assert [event.detail for event in failures] == [
        {"kind": "sr", "target": "pacs:main", "reason": first.reason},
        {"kind": "sr", "target": "pacs:main", "reason": "no answer"},
    ]
    assert case_row(hub, rendered).state == "final"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("hl7:his", DocumentKind.REPORT_JSON),
        ("print:console", DocumentKind.REPORT_JSON),
        ("folder:share", DocumentKind.PDF),
        ("pacs:old", DocumentKind.SR),
    ],
)
def test_a_clinic_whose_only_target_takes_one_document_has_its_report_with_that(
    hub: Hub, rendered: SignedCase, target: str, kind: DocumentKind
) -> None:
    tell(hub, rendered, kind, receipt(ReceiptStep.DELIVERED, hub.clock(), target=target, takes=(kind,)))
    assert case_row(hub, rendered).state == "acknowledged"


def test_a_coded_failure_keeps_the_other_systems_words_out_of_the_ledger(hub: Hub, rendered: SignedCase) -> None:
    params = {"code": "AE", "said": "患者张三不存在"}
    failed = receipt(
        ReceiptStep.FAILED, hub.clock(), target="hl7:his", reason="the HIS ...", code="his_error", params=params
    )
    tell(hub, rendered, DocumentKind.REPORT_JSON, failed)
    with hub.transaction() as session:
        event = session.scalars(select(CustodyEvent).where(CustodyEvent.hop == "delivery_failed")).one()
        kept = session.scalars(select(DocumentReceipt)).one()
    assert event.detail == {"kind": "report_json", "target": "hl7:his", "fault": "his_error", "params": {"code": "AE"}}
    assert (kept.code, kept.params) == ("his_error", params)


def test_a_wrong_clock_at_the_clinic_cannot_date_delivery_before_the_signature(
    hub: Hub, rendered: SignedCase, hub_clock: SteerableClock
) -> None:
    hub_clock.advance(60)
    wrong = hub.clock() - timedelta(days=4000)
    tell(hub, rendered, DocumentKind.SR, receipt(ReceiptStep.DELIVERED, wrong))
    tell(hub, rendered, DocumentKind.PDF, receipt(ReceiptStep.DELIVERED, wrong))
    case = case_row(hub, rendered)
    assert case.delivered_at == case.signed_at


def test_only_the_newest_version_counts_as_the_report_at_home(
    hub: Hub, rendered: SignedCase, sign_case: Callable[..., SignedCase], fonts_dir: Path
) -> None:
    old = {kind: report_document(hub, rendered.case_id, kind).document_id for kind in DocumentKind}
    correction = sign_case(after=rendered)
    said = receipt(ReceiptStep.DELIVERED, hub.clock())
    for document_id in old.values():
        record_receipt(hub, rendered.site_id, document_id, said)
    assert case_row(hub, rendered).state == "final"
    render(hub, correction.report_id, fonts_dir)
    for kind in (DocumentKind.SR, DocumentKind.PDF):
        tell(hub, correction, kind, said)
    assert case_row(hub, rendered).state == "acknowledged"
