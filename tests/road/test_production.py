"""The road on the configuration of production: PostgreSQL, RabbitMQ, S3, and each of the hub's roles as a process."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa

from storage.contract.hops import ROAD, Hop
from storage.dicom.transcoding import is_compressed_here, prove_restorable, write_in_syntax
from tests.support.network import SITE
from tests.support.road import Production, production, read_by_two, storescu
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.road,
    pytest.mark.services,
    pytest.mark.xdist_group("production"),
]
PATIENCE_S = 60  # on a machine that does much else
IMAGES = Path(pydicom.__file__).parent / "data" / "test_files"
CT = IMAGES / "CT_small.dcm"
COMPRESSED_COLOUR = IMAGES / "examples_jpeg2k.dcm"
AFTER_GRACE = sa.text(
    "UPDATE outbox SET published_at = published_at - interval '1 hour' WHERE published_at IS NOT NULL"
)
COMMITTED_LONG_AGO = sa.text("UPDATE granted_packs SET committed_at = committed_at - interval '1 hour'")
UNPUBLISHED = sa.text("SELECT count(*) FROM outbox WHERE published_at IS NULL")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with production(tmp_path_factory.mktemp("production")) as running:
        yield running


def study_of(file: Path) -> str:
    return str(pydicom.dcmread(file, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def documents_at_the_clinic(hub: Production, study_uid: str) -> list[str]:
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in hub.network.pacs.received()]
    return sorted(header.Modality for header in headers if study_uid == header.StudyInstanceUID)


def images_in_s3(hub: Production, study_uid: str) -> list[pydicom.Dataset]:
    held = []
    for key in hub.objects.list_keys(f"studies/{SITE}/{study_uid}/packs/"):
        if key.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(hub.objects.read(key))) as archive:
                files = [archive.extractfile(member) for member in archive if member.name.endswith(".dcm")]
                held += [as_received(file.read()) for file in files if file is not None]
    return held


def as_received(part10: bytes) -> pydicom.Dataset:
    """Return the instance as its scanner sent it."""
    held = io.BytesIO(part10)
    if not is_compressed_here(held):
        return pydicom.dcmread(io.BytesIO(part10))
    received = io.BytesIO()
    write_in_syntax(held, prove_restorable(held).received_transfer_syntax_uid, received)
    return pydicom.dcmread(io.BytesIO(received.getvalue()))


def as_dcmtk_sends(file: Path) -> pydicom.Dataset:
    dataset = pydicom.dcmread(file)
    dataset.pop("DataSetTrailingPadding", None)
    return dataset


def test_report_comes_home_and_the_operator_sees_every_hop(hub: Production) -> None:
    study = study_of(CT)
    storescu(hub.network.dicom_port, [CT])
    author, verifier = read_by_two(hub.network, study)
    assert author != verifier
    hub.network.wait_for(study, Hop.ACKNOWLEDGED, PATIENCE_S)
    assert documents_at_the_clinic(hub, study) == ["DOC", "SR"]
    assert images_in_s3(hub, study) == [as_dcmtk_sends(CT)]

    ledger = hub.hub("custody", study, "--json")
    assert ledger.returncode == 0, ledger.stderr
    lines = json.loads(ledger.stdout)
    assert {line["hop"] for line in lines} >= set(ROAD)
    assert {line["site_id"] for line in lines} == {SITE}
    for words in (["status"], ["check"]):
        told = hub.hub(*words)
        assert told.returncode == 0, told.stdout + told.stderr
    assert set(hub.balancer.taken) == set(hub.balancer.ports), "both web processes have answered"


def test_study_comes_home_although_the_broker_loses_everything_on_the_way(hub: Production) -> None:
    study = study_of(COMPRESSED_COLOUR)
    hub.stop_workers()
    storescu(hub.network.dicom_port, [COMPRESSED_COLOUR])
    hub.network.wait_for(study, Hop.COMMITTED, PATIENCE_S)

    def published() -> None:
        with hub.database.connect() as connection:
            assert connection.scalar(UNPUBLISHED) == 0

    eventually(published, PATIENCE_S)  # from here on the broker alone has the message, and nobody to give it to
    hub.broker.stop()
    hub.broker.wipe()
    assert hub.hub("status").returncode == 1
    hub.broker.start()
    with hub.database.begin() as connection:  # as if the time had passed after which a job counts as lost
        connection.execute(AFTER_GRACE)
        connection.execute(COMMITTED_LONG_AGO)
    hub.start_workers()
    read_by_two(hub.network, study)
    hub.network.wait_for(study, Hop.ACKNOWLEDGED, PATIENCE_S)
    assert documents_at_the_clinic(hub, study) == ["DOC", "SR"]
    assert images_in_s3(hub, study) == [as_dcmtk_sends(COMPRESSED_COLOUR)]
    told = hub.hub("status")
    assert told.returncode == 0, told.stdout
