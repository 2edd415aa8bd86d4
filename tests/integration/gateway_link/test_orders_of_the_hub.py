"""An order that is made at the hub stands on the worklist of the clinic's scanners, until it is cancelled there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.bootstrap import open_journal
from gateway.clock import utc_now
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.settings import GatewaySettings
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, create_account
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages.intake import take_message
from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.services.orders import order_entry
from reading_queue.services.orders.order_entry import Consent, Wanted
from tests.integration.gateway_link.test_examination import TYPED
from tests.integration.gateway_link.test_order_commands import worklist
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, dicom_port, enrolled, real
from tests.integration.gateway_orders.sending import EXAMPLE, changed, message
from tests.support.waiting import eventually

__all__ = ["dicom_port", "enrolled", "real"]
pytestmark = pytest.mark.postgres


@pytest.fixture
def technician(real: RealHub) -> Viewer:
    new = NewAccount("t1", "高原", "a long password", Role.TECHNICIAN, SITE, "zh")
    account_id = create_account(real.hub, new)
    return Viewer(account_id, "t1", "高原", Role.TECHNICIAN, SITE, SITE, None, "zh", utc_now())


def test_an_order_of_the_hub_reaches_the_scanners_and_leaves_them_when_it_is_cancelled(
    real: RealHub, technician: Viewer, enrolled: GatewaySettings, dicom_port: int, tmp_path: Path
) -> None:
    journal = open_journal(enrolled)
    wanted = Wanted(SITE, TYPED, Consent("王芳", utc_now()), confirmed=("history", "question"))
    order = order_entry.enter_order(real.hub, technician, wanted)
    looks = iter(range(10_000))

    def offered() -> list[str]:
        look_now(journal)
        return worklist(dicom_port, tmp_path / f"worklist-{next(looks)}")

    def is_listed() -> None:
        assert offered() == [order.accession_number]

    def is_gone() -> None:
        assert offered() == []

    eventually(is_listed, PATIENCE_S, every_s=0.3)
    order_entry.cancel_order(real.hub, technician, order.order_id, 1, "病人未到")
    eventually(is_gone, PATIENCE_S, every_s=0.3)


def test_an_order_that_a_his_sent_to_the_hub_reaches_the_scanners_under_its_own_number(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int, tmp_path: Path
) -> None:
    journal = open_journal(enrolled)
    sender = OrderSender("his", SITE, certificate_name="his.example")
    hub = replace(real.hub, order_senders={sender.name: sender})
    today = changed("20260302093000", f"{utc_now():%Y%m%d%H%M%S}+0000", *EXAMPLE)
    assert b"MSA|AA|C1" in take_message(hub, sender, message(*today), "192.0.2.7")
    looks = iter(range(10_000))

    def is_listed() -> None:
        look_now(journal)
        assert worklist(dicom_port, tmp_path / f"worklist-{next(looks)}") == ["ACC1"]

    eventually(is_listed, PATIENCE_S, every_s=0.3)


def look_now(journal: Journal) -> None:
    """Let every loop of the gateway look now."""
    with journal.transaction() as connection:
        record_action(connection, utc_now(), "test", "look", "")
