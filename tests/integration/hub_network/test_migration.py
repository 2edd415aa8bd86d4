"""A hub from before there were versions: what it holds becomes version 1, and nothing of it changes."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from reading_queue.db import schema
from reading_queue.db.network_tables import NetworkVersion
from reading_queue.services.hub import Hub
from reading_queue.services.network.network import export_network, load_network, plan_import
from tests.integration.hub_web.county import CHEAP, read_document

pytestmark = pytest.mark.postgres


def test_network_of_an_older_hub_is_the_same_after_the_migration(hub: Hub) -> None:
    document = read_document()
    document.pop("duty_directors", None)  # no older hub knew of them
    periods = [{"starts_at": "2097-10-01T00:00:00+00:00", "ends_at": "2097-10-01T12:00:00+00:00"}]
    document["physicians"][0]["duty"] = periods
    load_network(hub, document, hasher=CHEAP)
    before = export_network(hub)
    schema.downgrade(hub.engine, "0029")
    with hub.engine.begin() as connection:  # as imports named the period of `always` then
        connection.execute(
            sa.text(
                "UPDATE duty_periods SET duty_period_id = physician_id || '\\:always', ends_at = '2098-01-01'"
                " WHERE starts_at < '2097-01-01'"
            )
        )
    schema.upgrade(hub.engine)
    assert export_network(hub) == before
    assert plan_import(hub, document, whole=True).changes == ()
    with hub.transaction() as session:
        numbers = session.scalars(select(NetworkVersion.number)).all()
    assert set(numbers) == {1}
    people = sum(len(before[group]) for group in ("physicians", "technicians", "coordinators", "administrators"))
    assert len(numbers) == len(before["organisations"]) + people + 2 * len(before["physicians"])
