"""Headers come from one object for each revision of a study, and are the same as those put together from its packs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import delete, select, update

from reading_queue.services.holdings.prepared_metadata import INSTANCES_MAX, PREPARE_JOB, ask, prepare
from reading_queue.services.motion import sweeps
from storage.catalogue.indexing import find_study_locked
from storage.catalogue.tables import PreparedMetadata, Study
from storage.ledger.tables import OutboxMessage
from storage.objects.protocol import ObjectStore
from tests.integration.dicomweb.county import OTHER_SITE, SITE, County, bundled, with_own_uids
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, noise_study
from tests.integration.dicomweb.server import ImageClient, ImageServer, Reply

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STUDY = f"/dicomweb/studies/{GB18030_STUDY}"
ADDRESSES = (
    f"{STUDY}/metadata",
    f"{STUDY}/series/{BONE_SERIES}/metadata",
    f"{STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.2/metadata",
)


@dataclass
class CountedReads:
    """Passes on what is asked of a store, and keeps the keys of what is read."""

    objects: ObjectStore
    keys: list[str] = field(default_factory=list)

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        self.keys.append(key)
        return self.objects.open(key, offset=offset, length=length)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self.keys.append(key)
        return self.objects.read(key, offset=offset, length=length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


@pytest.fixture
def reads(county: County) -> CountedReads:
    return CountedReads(county.hub.objects)


@pytest.fixture
def counted(county: County, reads: CountedReads, tmp_path: Path) -> Iterator[ImageClient]:
    """The same county over a store that tells what is read."""
    with ImageServer(replace(county.hub, objects=reads), tmp_path) as running:
        yield ImageClient(running.url, county.token("coordinator"))


def prepared_of(county: County, study_uid: str) -> PreparedMetadata | None:
    with county.hub.transaction() as session:
        query = select(PreparedMetadata).join(Study, Study.study_id == PreparedMetadata.study_id)
        return session.scalars(query.where(Study.study_uid == study_uid)).one_or_none()


def forget_prepared(county: County, study_uid: str) -> None:
    of_study = select(Study.study_id).where(Study.study_uid == study_uid).scalar_subquery()
    with county.hub.transaction() as session:
        session.execute(delete(PreparedMetadata).where(PreparedMetadata.study_id == of_study))


def ask_for(county: County, site: str, study_uid: str) -> str:
    with county.hub.transaction() as session:
        study = find_study_locked(session, site, study_uid)
        assert study is not None
        ask(session, study, county.hub.clock())
        return study.study_id


def arrived(county: County, study_uid: str, slices: int = 2) -> list[bytes]:
    files = noise_study(study_uid, 1, slices, 16)
    county.arrive(OTHER_SITE, files)
    return files


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_prepared_headers_are_those_of_the_packs(
    county: County, coordinator: ImageClient, address: str, encoding: str
) -> None:
    assert prepared_of(county, GB18030_STUDY) is not None
    prepared = coordinator.get(address, **{"Accept-Encoding": encoding})
    forget_prepared(county, GB18030_STUDY)
    put_together = coordinator.get(address, **{"Accept-Encoding": encoding})
    ask_for(county, SITE, GB18030_STUDY)
    county.run_jobs()
    assert prepared.json() == put_together.json() != []
    for reply in (prepared, put_together):
        assert reply.headers.get("Content-Encoding", "identity") == encoding
        assert reply.headers["Vary"] == "Accept, Accept-Encoding"
        assert reply.headers["ETag"] == prepared.headers["ETag"]


def test_long_values_have_whole_addresses_in_prepared_headers(
    county: County, coordinator: ImageClient, pictures: dict[str, bytes]
) -> None:
    file = with_own_uids(bundled("examples_overlay.dcm"), 801)
    study_uid = county.arrive(OTHER_SITE, [file])
    assert prepared_of(county, study_uid) is not None
    (header,) = coordinator.get(f"/dicomweb/studies/{study_uid}/metadata").json()
    assert header["60003000"]["BulkDataURI"].startswith(f"/dicomweb/studies/{study_uid}/series/")
    assert coordinator.get(header["60003000"]["BulkDataURI"]).status == 200


@pytest.mark.parametrize("address", ADDRESSES[:2])
def test_one_object_is_read_for_a_study_in_many_packs(
    county: County, counted: ImageClient, reads: CountedReads, address: str
) -> None:
    prepared = prepared_of(county, GB18030_STUDY)
    assert prepared is not None
    assert counted.get(address).status == 200
    assert reads.keys == [prepared.object_key]


def test_one_pack_is_asked_for_one_instance(counted: ImageClient, reads: CountedReads) -> None:
    assert counted.get(ADDRESSES[2]).status == 200
    assert len(reads.keys) == 1


def test_images_that_come_later_are_in_a_new_object_and_the_old_one_goes(
    county: County, coordinator: ImageClient
) -> None:
    uid, files = "2.25.78001", noise_study("2.25.78001", 1, 3, 16)
    county.arrive(OTHER_SITE, files[:2])
    before, first = prepared_of(county, uid), coordinator.get(f"/dicomweb/studies/{uid}/metadata")
    county.arrive(OTHER_SITE, files)
    after, second = prepared_of(county, uid), coordinator.get(f"/dicomweb/studies/{uid}/metadata")
    assert before is not None
    assert after is not None
    assert (len(first.json()), len(second.json())) == (2, 3)
    assert after.revision == before.revision + 1
    assert first.headers["ETag"] != second.headers["ETag"]
    kept = list(county.hub.objects.list_keys(f"studies/{OTHER_SITE}/{uid}/metadata/"))
    assert kept == [after.object_key]


def test_object_of_another_state_of_the_study_is_not_given(county: County, coordinator: ImageClient) -> None:
    uid = "2.25.78002"
    arrived(county, uid)
    row = prepared_of(county, uid)
    assert row is not None
    county.hub.objects.delete(row.object_key)  # had it been asked for, it would be missed
    with county.hub.transaction() as session:
        session.execute(update(PreparedMetadata).where(PreparedMetadata.study_id == row.study_id).values(revision=99))
    assert len(coordinator.get(f"/dicomweb/studies/{uid}/metadata").json()) == 2


def test_object_that_has_just_been_replaced_is_not_missed(county: County, coordinator: ImageClient) -> None:
    uid = "2.25.78003"
    arrived(county, uid)
    row = prepared_of(county, uid)
    assert row is not None
    county.hub.objects.delete(row.object_key)
    for address in (f"/dicomweb/studies/{uid}/metadata", f"/dicomweb/studies/{uid}/series/{uid}.1/metadata"):
        assert len(coordinator.get(address).json()) == 2


def test_preparing_that_was_killed_is_done_again(county: County) -> None:
    uid = "2.25.78004"
    arrived(county, uid)
    forget_prepared(county, uid)  # killed between the object and its row
    study_id = ask_for(county, OTHER_SITE, uid)
    with county.hub.transaction() as session:  # and its launch is lost
        session.execute(delete(OutboxMessage).where(OutboxMessage.subject_id == study_id))
    assert sweeps.relaunch_lost(county.hub) == 0, "it may be on its way"
    with county.hub.transaction() as session:
        long_ago = county.hub.clock() - sweeps.GRACE - timedelta(seconds=1)
        session.execute(update(Study).where(Study.study_id == study_id).values(metadata_due_at=long_ago))
    sweeps.relaunch_lost(county.hub)
    county.run_jobs()
    assert prepared_of(county, uid) is not None
    with county.hub.transaction() as session:
        assert session.get_one(Study, study_id).metadata_due_at is None
        launches = select(OutboxMessage).where(OutboxMessage.job == PREPARE_JOB, OutboxMessage.subject_id == study_id)
        assert len(session.scalars(launches).all()) == 1
    sweeps.relaunch_lost(county.hub)
    county.run_jobs()


def test_study_that_changes_while_it_is_prepared_is_left_to_the_next_launch(county: County) -> None:
    uid = "2.25.78005"
    arrived(county, uid)
    before = prepared_of(county, uid)
    assert before is not None
    study_id = ask_for(county, OTHER_SITE, uid)

    class Changing(CountedReads):
        def put(self, key: str, body: bytes | BinaryIO, size_bytes: int) -> None:
            self.objects.put(key, body, size_bytes)
            with county.hub.transaction() as session:
                session.execute(update(Study).where(Study.study_id == study_id).values(revision=Study.revision + 1))

    with county.hub.transaction() as session:
        session.execute(update(Study).where(Study.study_id == study_id).values(revision=Study.revision + 1))
    prepare(replace(county.hub, objects=Changing(county.hub.objects)), study_id)
    after = prepared_of(county, uid)
    assert after is not None
    assert after.revision == before.revision
    assert list(county.hub.objects.list_keys(f"studies/{OTHER_SITE}/{uid}/metadata/")) == [before.object_key]
    with county.hub.transaction() as session:
        assert session.get_one(Study, study_id).metadata_due_at is not None
    county.run_jobs()


def test_study_larger_than_a_job_has_time_for_is_read_from_its_packs(county: County, coordinator: ImageClient) -> None:
    uid = "2.25.78006"
    arrived(county, uid)
    forget_prepared(county, uid)
    study_id = ask_for(county, OTHER_SITE, uid)
    with county.hub.transaction() as session:
        session.get_one(Study, study_id).instance_count = INSTANCES_MAX + 1
    county.run_jobs()
    assert prepared_of(county, uid) is None
    with county.hub.transaction() as session:
        assert session.get_one(Study, study_id).metadata_due_at is None
    assert len(coordinator.get(f"/dicomweb/studies/{uid}/metadata").json()) == 2


def test_reader_who_has_the_headers_is_told_so(coordinator: ImageClient, county: County) -> None:
    tag = coordinator.get(ADDRESSES[0]).headers["ETag"]
    again = coordinator.get(ADDRESSES[0], **{"If-None-Match": tag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert coordinator.get(ADDRESSES[0], **{"If-None-Match": '"other"'}).status == 200


def test_tag_opens_nothing(coordinator: ImageClient, as_person: Callable[[str], ImageClient], county: County) -> None:
    tag = coordinator.get(ADDRESSES[0]).headers["ETag"]
    for held in (tag, "*"):
        assert as_person("stranger").get(ADDRESSES[0], **{"If-None-Match": held}).code() == "not_found"


@pytest.mark.parametrize("accept", ['multipart/related; type="application/dicom+xml"', "image/jpeg", "text/html"])
def test_headers_in_another_form_are_refused(coordinator: ImageClient, county: County, accept: str) -> None:
    reply = coordinator.get(ADDRESSES[0], Accept=accept)
    assert (reply.status, reply.code()) == (406, "not_acceptable")
    assert "application/dicom+json" in reply.body.decode()


def test_what_is_taken_may_stand_in_the_query(coordinator: ImageClient, county: County) -> None:
    path = f"{ADDRESSES[0]}?accept=application/dicom%2Bjson"
    assert coordinator.get(path, Accept="image/jpeg").status == 200
    assert coordinator.get(f"{ADDRESSES[0]}?accept=image/jpeg").status == 406
    search = f"/dicomweb/studies?StudyInstanceUID={GB18030_STUDY}&accept="
    assert len(coordinator.get(f"{search}application/dicom%2Bjson").json()) == 1
    assert coordinator.get(f"{search}image/jpeg").code() == "not_acceptable"


def test_answer_without_gzip_has_its_length(coordinator: ImageClient, county: County) -> None:
    plain: Reply = coordinator.get(ADDRESSES[0], **{"Accept-Encoding": "identity"})
    assert int(plain.headers["Content-Length"]) == len(plain.body)
    row = prepared_of(county, GB18030_STUDY)
    assert row is not None
    assert json.loads(gzip.decompress(county.hub.objects.read(row.object_key))) == plain.json()
