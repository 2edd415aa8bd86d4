"""A site, a certificate authority and its sender."""

from __future__ import annotations

from pathlib import Path

import pytest

from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.senders import OrderSender
from storage.ledger.tables import Site
from tests.integration.hub_orders.listening import fingerprint, with_sender
from tests.support.certificates import Authority, Issued

SITE = "qinghe-t01"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def his_certificate(authority: Authority) -> Issued:
    return authority.issue("his.qinghe.example")


@pytest.fixture
def hub(hub: Hub, his_certificate: Issued) -> Hub:
    """A hub with one site, whose HIS is known by its certificate's digest."""
    with hub.transaction() as session:
        session.add(Site(site_id=SITE, name="双桥镇中心卫生院", time_zone="Asia/Shanghai", created_at=hub.clock()))
    return with_sender(hub, OrderSender("qinghe-his", SITE, certificate_sha256=fingerprint(his_certificate)))
