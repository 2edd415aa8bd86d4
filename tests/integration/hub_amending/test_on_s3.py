"""Corrections and their repetition on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reading_queue.services.corrections.amendments import merge_patients, move_study, withdraw
from reading_queue.services.corrections.rejecting import reject
from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_id
from storage.objects.protocol import ObjectStore
from storage.objects.s3 import S3Store
from tests.integration.hub_amending.amending import FANG, NA, WHY, World, rebuilt_differs
from tests.integration.hub_intake.conftest import SITE
from tests.support.clock import SteerableClock
from tests.support.s3_server import running_s3_server

pytestmark = [pytest.mark.postgres, pytest.mark.services]


@pytest.fixture
def hub_clock() -> SteerableClock:
    """The real time: an S3 server has a clock of its own."""
    return SteerableClock(datetime.now(UTC))


@pytest.fixture
def directory_store(tmp_path: Path, hub_clock: SteerableClock) -> Iterator[ObjectStore]:
    """A bucket on the server, in place of the directory."""
    with running_s3_server(tmp_path / "s3") as server:
        store = S3Store(server.endpoint, f"bucket-{new_id()}", server.credentials, clock=hub_clock, secure=False)
        store.ensure_bucket()
        yield store


def test_corrections_lie_on_s3_and_are_repeated_from_there(world: World, other: Hub) -> None:
    one, two = world.arrive(1, FANG), world.arrive(2, NA)
    moved = move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    reject(world.hub, world.coordinator, SITE, two, "113037", WHY, sop_instance_uids=(f"{two}.9.1",))
    withdraw(world.hub, world.coordinator, moved, WHY)
    merge_patients(world.hub, world.coordinator, SITE, "P-0001", "P-0002", WHY)
    keys = [key for key in world.hub.objects.list_keys("") if "/amendments/" in key]
    assert sorted(keys) == [
        f"patients/{SITE}/amendments/1.json",
        f"studies/{SITE}/{one}/amendments/1.json",
        f"studies/{SITE}/{one}/amendments/2.json",
        f"studies/{SITE}/{two}/amendments/1.json",
    ]
    world.settle()
    done, differing = rebuilt_differs(world.hub, other)
    assert (done.problems, differing) == ((), [])
