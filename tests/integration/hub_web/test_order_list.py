"""All orders of a site, however many: paged, filtered, searched by name and numbers, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.hub import Hub
from reading_queue.services.orders import orders
from reading_queue.services.orders.order_list import OrderFilter, list_orders
from storage.contract.lanes import Lane
from storage.contract.orders import Order, OrderState
from storage.contract.wire import OrderBatch
from tests.integration.hub_web.county import COORDINATOR, FIRST_SITE, SECOND_SITE, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor
from tests.support.statements import statements

pytestmark = pytest.mark.postgres


def hand_in(hub: Hub, number: int, *, site: str = FIRST_SITE, **facts: Any) -> str:
    now = hub.clock()
    given = {"order_id": f"{number:x>32}", "version": 1, "site_id": site, "accession_number": f"ACC{number:04}"}
    given |= {"study_uid": f"1.2.{number}", "origin": "console", "patient_number": f"P{number}", "patient_name": "赵䶮"}
    given |= {"modality": "CT", "procedure_name": "胸部平扫", "entered_by": "t", "scheduled_at": now}
    given |= {"entered_at": now, "changed_at": now + timedelta(seconds=number)}
    gateway = GatewayIdentity(gateway_id=f"gateway-{site}", site_id=site)
    order = Order.model_validate(given | facts)
    assert orders.accept_orders(hub, gateway, OrderBatch(orders=(order,))).accepted
    return order.order_id


def found(hub: Hub, county: County, login: str = COORDINATOR, **wanted: Any) -> list[str]:
    listed = list_orders(hub, county.viewer(login), OrderFilter(**wanted))
    return [order.accession_number for order in listed.orders]


def test_pages_lead_through_all_orders_once_and_a_changed_one_comes_first(hub: Hub, county: County):
    for number in range(5):
        hand_in(hub, number)
    hand_in(hub, 1, version=2, question="更正")
    viewer, seen, before = county.viewer(TECHNICIAN), [], None
    while True:
        listed = list_orders(hub, viewer, OrderFilter(), before=before, limit=2)
        seen += [order.accession_number for order in listed.orders]
        before = listed.next_before
        if before is None:
            break
    assert seen == ["ACC0001", "ACC0004", "ACC0003", "ACC0002", "ACC0000"]


def test_orders_are_filtered_and_searched_and_each_key_finds_its_own_alone(hub: Hub, county: County):
    hand_in(hub, 1, lane="urgent", patient_name="王小东")
    hand_in(hub, 2, state="cancelled", state_reason="重复")
    hand_in(hub, 3, site=SECOND_SITE, patient_name_latin="Li^Na", patient_name="李娜")
    for wanted, numbers in (
        ({"lane": Lane.URGENT}, ["ACC0001"]),
        ({"state": OrderState.CANCELLED}, ["ACC0002"]),
        ({"site_id": SECOND_SITE}, ["ACC0003"]),
        ({"site_id": SECOND_SITE, "lane": Lane.URGENT}, []),
        ({"text": "小东"}, ["ACC0001"]),
        ({"text": "wangx"}, ["ACC0001"]),
        ({"text": "li na"}, ["ACC0003"]),
        ({"text": "acc000"}, ["ACC0003", "ACC0002", "ACC0001"]),
        ({"text": "P2"}, ["ACC0002"]),
        ({"text": "C0001"}, []),
        ({"text": "小东", "state": OrderState.CANCELLED}, []),
    ):
        assert found(hub, county, **wanted) == numbers, wanted
    assert found(hub, county, TECHNICIAN, text="acc") == ["ACC0002", "ACC0001"], "nobody else's"
    hand_in(hub, 1, version=2, patient_name="孙丽", lane="urgent")
    assert found(hub, county, text="小东") == []
    assert found(hub, county, text="孙") == ["ACC0001"]


def test_a_page_takes_as_many_statements_for_many_orders_as_for_one(hub: Hub, county: County):
    viewer = county.viewer(COORDINATOR)
    hand_in(hub, 0)
    list_orders(hub, viewer, OrderFilter())
    with statements(hub) as for_one:
        list_orders(hub, viewer, OrderFilter())
    for number in range(1, 12):
        hand_in(hub, number)
    with statements(hub) as for_many:
        assert len(list_orders(hub, viewer, OrderFilter()).orders) == 12
    assert len(for_many) == len(for_one)


def test_page_and_api_filter_find_and_page(
    hub: Hub, county: County, browser_of: Callable[[str], Visitor], program_of: Callable[[str], Visitor]
):
    for number in range(60):
        hand_in(hub, number, lane="urgent" if number % 2 else "routine")
    clinic = browser_of(TECHNICIAN)
    assert "/clinic/orders/all" in clinic.get("/clinic/orders").text
    page = clinic.get("/clinic/orders/all?lane=urgent").text
    assert ("ACC0059" in page, "ACC0058" in page, "更早的申请单" in page) == (True, False, False)
    assert "更早的申请单" in clinic.get("/clinic/orders/all").text
    named = clinic.post("/clinic/orders/all", text="ACC0007")
    assert ("ACC0007" in named.text, "ACC0008" in named.text) == (True, False)
    assert clinic.get("/clinic/orders/all?state=lost").status == 422
    program = program_of(TECHNICIAN)
    first = program.call("GET", "/orders?limit=40").json()
    rest = program.call("GET", f"/orders?limit=40&before={first['next_before']}").json()
    assert (len(first["orders"]), len(rest["orders"]), rest["next_before"]) == (40, 20, None)
    assert len(program.call("POST", "/orders/search", {"text": "ACC0007"}).json()["orders"]) == 1
    assert program.call("GET", "/orders?limit=0").status == 422
