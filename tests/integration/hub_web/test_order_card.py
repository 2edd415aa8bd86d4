"""The order beside a case, as its reader sees it in either language."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Account
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.hub import Hub
from reading_queue.services.orders import orders
from storage.contract.orders import Order
from storage.contract.wire import OrderBatch
from tests.integration.hub_web.county import AUTHOR, FIRST_SITE, County
from tests.integration.hub_web.serving import Visitor

STUDY = "1.2.3.1"


def hand_in_order(hub: Hub, number: int | None = None) -> None:
    """Hand in the order of `STUDY`, or of its `number`th neighbour; it names another patient than the images."""
    now = hub.clock()
    order = Order.model_validate(
        {
            "order_id": "a" * 32 if number is None else f"{number:a>32}",
            "version": 1,
            "site_id": FIRST_SITE,
            "accession_number": "A1" if number is None else f"N{number}",
            "study_uid": STUDY if number is None else f"{STUDY}.{number}",
            "origin": "console",
            "patient_number": "P.3.1",
            "patient_name": "李小明",
            "sex": "F",
            "birth_date": date(1960, 5, 1),
            "lane": "stat",  # an emergency goes on
            "modality": "CT",
            "procedure_name": "胸部平扫",
            "requesting_physician": "王^建国",
            "scheduled_at": now,
            "entered_by": "t1",
            "entered_at": now,
            "changed_at": now,
        }
    )
    gateway = GatewayIdentity(gateway_id=f"gateway-{FIRST_SITE}", site_id=FIRST_SITE)
    assert orders.accept_orders(hub, gateway, OrderBatch(orders=(order,))).accepted


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", "影像与申请单不一致，请核对：姓名、出生日期"),
        ("en", "Images and order do not agree; check: name, date of birth"),
    ],
)
def test_what_differs_is_one_sentence_and_a_name_in_hanzi_has_no_gap(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], language: str, words: str
) -> None:
    case_id = county.arrive(STUDY)
    hand_in_order(hub)
    with hub.transaction() as session:
        session.execute(update(Account).where(Account.login == AUTHOR).values(language=language))
    page = browser_of(AUTHOR).get(f"/radiologist/cases/{case_id}").text
    assert words in page
    assert "王建国" in page
