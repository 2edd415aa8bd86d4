"""A bucket that keeps versions keeps nothing of what was erased: studies, replaced metadata, deposits, holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from minio import Minio

from reading_queue.db.tables import Case
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival.deposit_leftovers import quarantine_prefix, remove_staged, staging_prefix
from reading_queue.services.holdings import retention
from reading_queue.services.holdings.erasing import erase
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Deposit, DepositState, PreparedMetadata
from storage.contract.identifiers import new_id
from storage.objects.s3 import S3Store
from tests.integration.dicomweb.county import SITE, County
from tests.integration.dicomweb.phantom import noise_study
from tests.support.clock import SteerableClock
from tests.support.s3_server import S3Server, running_s3_server

pytestmark = pytest.mark.postgres

STUDY, OTHER_STUDY = "2.25.77201", "2.25.77202"
BUCKET = "versioned"
THIRTY_YEARS_S = 30.1 * timedelta(days=365.25).total_seconds()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    with running_s3_server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def county(hub: Hub, s3: S3Server, hub_clock: SteerableClock) -> County:
    """A county whose hub keeps its objects in a bucket with versions."""
    store = S3Store(s3.endpoint, BUCKET, s3.credentials, clock=hub_clock, secure=False)
    store.ensure_bucket(versioned=True)
    return County(replace(hub, objects=store)).build()


def person(hub: Hub, name: str) -> Viewer:
    return Viewer(name, name, name, Role.COORDINATOR, "qinghe", None, None, "en", hub.clock())


def versions_of(s3: S3Server, prefix: str) -> list[tuple[str, bool]]:
    """Return every key under a prefix of which the bucket keeps anything, once for each version or marker."""
    known = s3.credentials
    client = Minio(s3.endpoint, known.access_key, known.secret_key, region=known.region, secure=False)
    found = client.list_objects(BUCKET, prefix=prefix, recursive=True, include_version=True)
    return [(str(one.object_name), bool(one.is_delete_marker)) for one in found]


def test_erased_study_leaves_no_version_of_anything(county: County, s3: S3Server, hub_clock: SteerableClock) -> None:
    hub = county.hub
    files = noise_study(STUDY, 1, 3, 16)
    county.arrive(SITE, files[:1])
    county.arrive(SITE, files)
    county.arrive(SITE, noise_study(OTHER_STUDY, 1, 1, 16))
    hold_id = retention.place_hold(hub, person(hub, "one"), SITE, STUDY, "a court asks for it")
    retention.release_hold(hub, person(hub, "one"), hold_id)  # its record is written over
    conflicting = f"{quarantine_prefix(SITE, STUDY)}1.2.3-{'0' * 64}.dcm"
    for body in (b"first", b"again"):
        hub.objects.put(conflicting, body, len(body))
    own = f"studies/{SITE}/{STUDY}/"
    assert len(versions_of(s3, f"{own}holds/")) == 2
    other = sorted(versions_of(s3, f"studies/{SITE}/{OTHER_STUDY}/"))
    with hub.transaction() as session:
        session.execute(sa.update(Case).values(state="acknowledged"))
    hub_clock.advance(THIRTY_YEARS_S)
    request_id = retention.request_deletion(hub, person(hub, "one"), SITE, STUDY, "its time is over")
    retention.decide_deletion(hub, person(hub, "two"), request_id, approve=True)
    erase(hub, request_id)
    assert versions_of(s3, own) == []
    assert versions_of(s3, quarantine_prefix(SITE, STUDY)) == []
    assert versions_of(s3, "incoming/") == []
    assert sorted(versions_of(s3, f"studies/{SITE}/{OTHER_STUDY}/")) == other != []


def test_replaced_metadata_leaves_no_version(county: County, s3: S3Server) -> None:
    files = noise_study(STUDY, 1, 2, 16)
    county.arrive(SITE, files[:1])
    county.arrive(SITE, files)
    with county.hub.transaction() as session:
        key = session.scalars(sa.select(PreparedMetadata.object_key)).one()
    assert versions_of(s3, f"studies/{SITE}/{STUDY}/metadata/") == [(key, False)]


def test_deposit_that_was_given_up_leaves_no_version(county: County, s3: S3Server) -> None:
    hub, deposit_id = county.hub, new_id()
    with hub.transaction() as session:
        session.add(
            Deposit(
                deposit_id=deposit_id,
                site_id=SITE,
                study_uid=STUDY,
                deposited_by="one",
                purpose="evidence",
                state=DepositState.PUTTING,
                begun_at=hub.clock(),
            )
        )
    for body in (b"first", b"again"):
        hub.objects.put(f"{staging_prefix(deposit_id)}a.tar", body, len(body))
    assert len(versions_of(s3, staging_prefix(deposit_id))) == 2
    remove_staged(hub, deposit_id)
    assert versions_of(s3, staging_prefix(deposit_id)) == []
