"""What decays at the hub comes again from a gateway that still keeps the originals: the real hub, a whole gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway
from gateway.forwarder.forwarder import IDLE_MAX_S
from gateway.hub import news
from gateway.settings import GatewaySettings
from reading_queue.services.arrival import custody
from reading_queue.services.holdings.scrubbing import scrub
from storage.catalogue.tables import Pack
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_process import send_study
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, enrol_at, running_hub
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

AT_ONCE_S = IDLE_MAX_S - 5  # by then the forwarder would look by itself


@pytest.fixture
def real(database: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealHub]:
    monkeypatch.setattr(news, "EVENTS_EVERY_S", 0.2)
    monkeypatch.setattr(news, "EVENTS_IDLE_S", 0.2)
    with running_hub(database, tmp_path) as real:
        yield real


@pytest.fixture
def settings(real: RealHub, tmp_path: Path) -> GatewaySettings:
    return enrol_at(real, make_settings(tmp_path / "clinic", real.url))


def lose_everything(real: RealHub) -> list[str]:
    """Lose every pack of the hub's object store, and have that found."""
    with real.hub.transaction() as session:
        packs = session.scalars(select(Pack)).all()
    for pack in packs:
        real.store.delete(pack.object_key)
        scrub(real.hub, pack.pack_id)
    return [pack.object_key for pack in packs]


def is_healed(real: RealHub, study: Uid) -> None:
    real.verify()
    hops = [line.hop for line in custody.ledger_of(real.hub, study, SITE)]
    assert Hop.HEALED in hops, hops
    with real.hub.transaction() as session:
        assert all(pack.condition == "sound" for pack in session.scalars(select(Pack)))


def test_lost_pack_comes_again_from_the_gateway_that_keeps_it(real: RealHub, settings: GatewaySettings) -> None:
    gateway = Gateway(settings)
    try:
        study = send_study(gateway.start(), instances=3)
        eventually(real.holds(study), within_s=PATIENCE_S)
        keys = lose_everything(real)
        eventually(lambda: is_healed(real, study), within_s=AT_ONCE_S)
    finally:
        gateway.stop()
    assert [real.store.stat(key).key for key in keys] == keys


def test_gateway_that_was_away_hears_of_the_damage_when_it_is_back(real: RealHub, settings: GatewaySettings) -> None:
    gateway = Gateway(settings)
    study = send_study(gateway.start(), instances=3)
    eventually(real.holds(study), within_s=PATIENCE_S)
    gateway.stop()
    lose_everything(real)
    gateway = Gateway(settings)
    gateway.start()
    try:
        eventually(lambda: is_healed(real, study), within_s=AT_ONCE_S)
    finally:
        gateway.stop()
