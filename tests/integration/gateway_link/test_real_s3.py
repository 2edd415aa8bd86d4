"""A whole gateway and a real hub over a real S3 server: uploads go straight there, large packs in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway
from gateway.clock import utc_now
from reading_queue.db.tables import Organisation
from storage.catalogue.tables import GrantedPack, Instance
from storage.contract.identifiers import new_id
from storage.ledger.tables import Site
from storage.objects.s3 import S3Store
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_process import send_study
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, enrol_at
from tests.integration.hub_intake.http_server import HubServer
from tests.support.hub import make_hub
from tests.support.s3_server import running_s3_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres
FRAMES = 70_000  # of 512 bytes of noise: 34 MiB, seven parts


@dataclass
class HubOnS3(RealHub):
    """A hub whose object store is another server."""

    def start(self) -> None:
        self.server = HubServer(self.hub, urlsplit(self.url).port or 0)
        self.server.__enter__()
        self.url = self.server.url


@pytest.fixture
def real(database: sa.Engine, tmp_path: Path) -> Iterator[HubOnS3]:
    with running_s3_server(tmp_path / "s3") as server:
        store = S3Store(server.endpoint, f"bucket-{new_id()}", server.credentials, clock=utc_now, secure=False)
        store.ensure_bucket()
        hub = make_hub(database, store, tmp_path / "hub.key", utc_now)
        with hub.transaction() as session:
            session.add(Site(site_id=SITE, name="清河镇卫生院", created_at=utc_now()))
            session.flush()
            session.add(Organisation(organisation_id=SITE, kind="township", name="清河镇卫生院", site_id=SITE))
        real = HubOnS3(hub, store)  # type: ignore[arg-type]
        real.start()
        yield real
        real.stop()


def test_instance_larger_than_a_pack_is_composed_of_its_parts_by_the_store_itself(
    real: HubOnS3, tmp_path: Path
) -> None:
    gateway = Gateway(enrol_at(real, make_settings(tmp_path / "clinic", real.url)))
    try:
        study = send_study(gateway.start(), instances=1, frames=FRAMES)
        eventually(real.holds(study), within_s=PATIENCE_S)
    finally:
        gateway.stop()
    with real.hub.transaction() as session:
        granted = session.scalars(select(GrantedPack)).all()  # once for each grant that named some of its parts
        (instance,) = session.scalars(select(Instance)).all()
    assert {len(pack.parts or ()) for pack in granted} == {7}
    assert instance.size_bytes > FRAMES * 512
    assert list(real.store.list_keys("incoming/")) == []
    (kept,) = [key for key in real.store.list_keys("studies/") if key.endswith(".tar")]
    assert {real.store.stat(kept).size_bytes} == {pack.size_bytes for pack in granted}
