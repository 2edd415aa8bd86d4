"""A whole gateway against the hub's own gateway API, database and object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway, open_journal
from gateway.clock import utc_now
from gateway.identity import enrol
from gateway.link import build_client
from gateway.settings import GatewaySettings
from reading_queue.db.tables import Organisation
from reading_queue.services import custody
from reading_queue.services.enrolment import issue_enrolment_code
from reading_queue.services.hub import Hub
from reading_queue.services.verification import VERIFY_JOB, verify_pack
from storage.ledger.tables import OutboxMessage, Site
from storage.objects.directory import DirectoryStore
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_process import send_study
from tests.integration.hub_intake.http_server import HubServer
from tests.support.hub import make_hub
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres
SITE = "qinghe"


@pytest.fixture
def real_hub(database: sa.Engine, tmp_path: Path) -> Iterator[tuple[Hub, str]]:
    store = DirectoryStore(tmp_path / "hub-objects", public_url="", secret=b"s" * 32, clock=utc_now)
    hub = make_hub(database, store, tmp_path / "hub.key", utc_now)
    with hub.transaction() as session:
        session.add(Site(site_id=SITE, name="清河镇卫生院", created_at=utc_now()))
        session.flush()
        session.add(Organisation(organisation_id=SITE, kind="township", name="清河镇卫生院", site_id=SITE))
    with HubServer(hub) as server:
        store._public_url = server.url  # the port is known only now
        yield hub, server.url


@pytest.fixture
def enrolled(real_hub: tuple[Hub, str], tmp_path: Path) -> GatewaySettings:
    hub, url = real_hub
    settings = make_settings(tmp_path / "clinic", url)
    client = build_client(settings, None)
    code = issue_enrolment_code(hub, SITE, issued_by="admin")
    identity = enrol(open_journal(settings), settings.spool_dir, client, code, clock=utc_now)
    client.close()
    assert identity.site_id == SITE
    return settings


def verify_what_is_committed(hub: Hub) -> None:
    with hub.transaction() as session:
        jobs = session.scalars(select(OutboxMessage).where(OutboxMessage.job == VERIFY_JOB)).all()
    for job in jobs:
        verify_pack(hub, job.arguments["granted_pack_id"])


def test_study_travels_from_the_scanner_into_the_hubs_catalogue(
    real_hub: tuple[Hub, str], enrolled: GatewaySettings
) -> None:
    hub, _ = real_hub
    gateway = Gateway(enrolled)
    port = gateway.start()
    try:
        study = send_study(port, instances=4)

        def whole_ledger() -> None:
            verify_what_is_committed(hub)
            hops = [line.hop for line in custody.ledger_of(hub, study, SITE)]
            assert set(hops) >= {
                *("received", "completed", "declared", "uploaded", "committed"),
                *("verified", "catalogued", "confirmed"),
            }
            assert len(hops) == len(set(hops))

        eventually(whole_ledger, within_s=15)
    finally:
        gateway.stop()
