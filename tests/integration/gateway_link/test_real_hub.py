"""A whole gateway against the hub's own gateway API, database and object store, and what goes wrong between them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway, open_journal
from gateway.clock import utc_now
from gateway.identity import enrol
from gateway.link import build_client
from gateway.operations import Asker, change_study_lane
from gateway.settings import GatewaySettings
from gateway.status import read_status
from reading_queue.db.tables import Case, Organisation
from reading_queue.services.access.enrolment import issue_enrolment_code
from reading_queue.services.arrival import custody
from reading_queue.services.arrival.settling import VERIFY_JOB, VERIFY_LARGE_JOB
from reading_queue.services.arrival.verification import verify_large_pack, verify_pack
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Grant, GrantedPack, Instance, Transfer
from storage.contract.identifiers import Uid, new_id
from storage.contract.lanes import Lane
from storage.ledger.tables import OutboxMessage, Site
from storage.objects.directory import DirectoryStore, Upload
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_process import send_study
from tests.integration.hub_intake.http_server import HubServer
from tests.support.hub import make_hub
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres
SITE = "qinghe"
VERIFICATIONS = {VERIFY_JOB: verify_pack, VERIFY_LARGE_JOB: verify_large_pack}
PATIENCE_S = 60  # on a machine that does much else
WAY_IN = {"received", "completed", "declared", "uploaded", "committed", "verified", "catalogued", "confirmed"}


class HeldStore(DirectoryStore):
    """A store that can hold uploads back, as a slow disk does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, public_url="", secret=b"s" * 32, clock=utc_now)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def begin_put(self, key: str, size_bytes: int, sha256: str | None = None) -> Upload:
        assert self.goes_on.wait(60)
        return super().begin_put(key, size_bytes, sha256)


@dataclass
class RealHub:
    """The hub's parts in this process, behind a real port that can go away and come back."""

    hub: Hub
    store: HeldStore
    server: HubServer = field(init=False)
    url: str = ""

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.server = HubServer(self.hub, urlsplit(self.url).port or 0)
        self.server.__enter__()
        self.url = self.store._public_url = self.server.url  # the port is known only now

    def stop(self) -> None:
        self.server.__exit__(None, None, None)

    def verify(self) -> None:
        """Do the jobs of the worker."""
        with self.hub.transaction() as session:
            jobs = session.scalars(select(OutboxMessage).where(OutboxMessage.job.in_(VERIFICATIONS))).all()
        for job in jobs:
            VERIFICATIONS[job.job](self.hub, job.arguments["granted_pack_id"])

    def holds(self, *studies: Uid) -> Callable[[], None]:
        """Return an assertion that the whole way in of these studies is in the ledger; only uploads are repeated."""

        def whole_ledger() -> None:
            self.verify()
            for study in studies:
                hops = [line.hop for line in custody.ledger_of(self.hub, study, SITE)]
                assert set(hops) >= WAY_IN, hops
                assert {hop for hop in hops if hops.count(hop) > 1} <= {"uploaded"}

        return whole_ledger


@contextmanager
def running_hub(database: sa.Engine, tmp_path: Path) -> Iterator[RealHub]:
    """Run a hub with one site."""
    store = HeldStore(tmp_path / "hub-objects")
    hub = make_hub(database, store, tmp_path / "hub.key", utc_now)
    with hub.transaction() as session:
        session.add(Site(site_id=SITE, name="清河镇卫生院", created_at=utc_now()))
        session.flush()
        session.add(Organisation(organisation_id=SITE, kind="township", name="清河镇卫生院", site_id=SITE))
    real = RealHub(hub, store)
    real.start()
    yield real
    real.stop()


@pytest.fixture
def real(database: sa.Engine, tmp_path: Path) -> Iterator[RealHub]:
    with running_hub(database, tmp_path) as real:
        yield real


@pytest.fixture
def enrolled(real: RealHub, tmp_path: Path) -> GatewaySettings:
    return enrol_at(real, make_settings(tmp_path / "clinic", real.url))


def enrol_at(real: RealHub, settings: GatewaySettings) -> GatewaySettings:
    """Enrol the gateway of these settings for the site, and return them."""
    client = build_client(settings, None)
    code = issue_enrolment_code(real.hub, SITE, issued_by="admin")
    identity = enrol(open_journal(settings), settings.spool_dir, client, code, clock=utc_now)
    client.close()
    assert identity.site_id == SITE
    return settings


@pytest.fixture
def dicom_port(enrolled: GatewaySettings) -> Iterator[int]:
    """The port of a running gateway."""
    gateway = Gateway(enrolled)
    yield gateway.start()
    gateway.stop()


def problem_of(settings: GatewaySettings, study: Uid) -> str:
    studies: list[dict[str, Any]] = read_status(open_journal(settings))["studies"]
    return next((one["problem"] for one in studies if one["study_uid"] == study), "")


def told(settings: GatewaySettings, study: Uid, words: str) -> Callable[[], None]:
    """Return an assertion that the technician reads these words about the study."""

    def is_told() -> None:
        assert words in problem_of(settings, study)

    return is_told


def test_study_travels_from_the_scanner_into_the_hubs_catalogue(real: RealHub, dicom_port: int) -> None:
    study = send_study(dicom_port, instances=4)
    eventually(real.holds(study), within_s=PATIENCE_S)


def test_images_travel_smaller_and_the_hub_proves_that_nothing_of_them_changed(real: RealHub, dicom_port: int) -> None:
    study = send_study(dicom_port, instances=4, frames=8, pixels=bytes(range(256)) * 16)
    eventually(real.holds(study), within_s=PATIENCE_S)
    with real.hub.transaction() as session:
        rows = session.scalars(select(Instance)).all()
        assert len(rows) == 4
        for row in rows:
            assert row.received_transfer_syntax_uid == "1.2.840.10008.1.2.1"
            assert row.transfer_syntax_uid in ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.80")
            assert row.pixel_sha256 == hashlib.sha256(bytes(range(256)) * 16).hexdigest()
            assert len(row.frame_spans) == 8


def test_instance_larger_than_a_pack_travels_in_parts_into_the_hubs_catalogue(real: RealHub, dicom_port: int) -> None:
    study = send_study(dicom_port, instances=1, frames=70_000)
    eventually(real.holds(study), within_s=PATIENCE_S)
    with real.hub.transaction() as session:
        packs = session.scalars(select(GrantedPack)).all()
    assert {len(pack.parts or ()) for pack in packs} == {7}
    assert list(real.store.list_keys("incoming/")) == []


def test_studies_that_arrive_while_the_hub_is_down_reach_it_when_it_is_back(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int
) -> None:
    real.stop()
    studies = [send_study(dicom_port) for _ in range(3)]
    for study in studies:
        eventually(told(enrolled, study, "cannot be reached"), PATIENCE_S)
    real.start()
    eventually(real.holds(*studies), within_s=PATIENCE_S)
    eventually(lambda: [told(enrolled, study, "")() for study in studies])


def test_grant_that_expires_while_a_pack_is_on_its_way_is_asked_for_again(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int
) -> None:
    short_lived = replace(real.hub, policy=replace(real.hub.policy, grant_ttl_s=2))
    real.stop()
    real.hub = short_lived
    real.store.goes_on.clear()
    real.start()
    study = send_study(dicom_port)

    def expired() -> None:
        with real.hub.transaction() as session:
            assert session.scalars(select(Grant).where(Grant.expires_at < utc_now())).all()

    eventually(expired, PATIENCE_S)
    real.store.goes_on.set()
    eventually(real.holds(study), within_s=PATIENCE_S)
    with real.hub.transaction() as session:
        states = session.scalars(select(GrantedPack.state)).all()
    assert len(states) > 1
    assert states.count("verified") == 1


def test_full_disk_at_the_hub_is_told_in_words_and_the_study_arrives_once_there_is_room(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk() -> str:
        name = new_id()
        (real.store.uploads / name).symlink_to("/dev/full")  # the kernel itself says that there is no space
        return name

    with monkeypatch.context() as full:
        full.setattr("storage.objects.directory.new_id", on_a_full_disk)
        study = send_study(dicom_port)
        eventually(told(enrolled, study, "the disk of the object store is full"), PATIENCE_S)
        assert list(real.store.list_keys("")) == []
    eventually(real.holds(study), within_s=PATIENCE_S)


def test_manifest_that_lies_about_a_digest_costs_that_instance_a_place_in_quarantine_and_no_other(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int
) -> None:
    real.stop()
    study = send_study(dicom_port, instances=3)
    eventually(told(enrolled, study, "cannot be reached"), PATIENCE_S)
    liar = tamper_with_a_file(enrolled.spool_dir, study)
    real.start()
    journal = open_journal(enrolled)

    def the_others_are_confirmed() -> None:
        real.verify()
        rows = journal.read("SELECT state, json_array_length(manifest, '$.instances') AS n FROM transfers")
        assert [(row["state"], row["n"]) for row in rows] == [("confirmed", 2)]

    eventually(the_others_are_confirmed, within_s=PATIENCE_S)
    (aside,) = journal.read("SELECT * FROM quarantine")
    assert aside["sop_instance_uid"] == liar
    assert aside["reason"]


def test_raised_lane_hurries_the_case_and_uploads_nothing_again(
    real: RealHub, enrolled: GatewaySettings, dicom_port: int
) -> None:
    study = send_study(dicom_port)
    eventually(real.holds(study), within_s=PATIENCE_S)
    journal = open_journal(enrolled)
    change_study_lane(journal, Asker("technician-1", utc_now()), study, Lane.STAT)

    limit = timedelta(minutes=real.hub.policy.time_limit_default_min[Lane.STAT])

    def hurried() -> None:
        with real.hub.transaction() as session:
            case = session.scalars(sa.select(Case)).one()
            assert (case.lane, case.due_at - case.first_instance_at) == ("stat", limit)
            assert session.scalars(select(Transfer.lane)).all() == ["stat"]
            assert len(session.scalars(select(GrantedPack)).all()) == 1

    eventually(hurried, within_s=PATIENCE_S)


def tamper_with_a_file(spool_dir: Path, study: Uid) -> str:
    """Change one byte of one instance in the spool: the manifest speaks of other bytes now."""
    path = sorted((spool_dir / "ready" / f"{study}.1").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(bytes(content))
    return path.stem


class Technician:
    """Runs the gateway's commands for one clinic's box."""

    def __init__(self, folder: Path, hub_url: str) -> None:
        folder.mkdir()
        self._config = folder / "gateway.toml"
        self._config.write_text(
            f'spool_dir = "{folder / "spool"}"\n[hub]\nurl = "{hub_url}"\n'
            '[dicom]\nport = 0\nallowed_calling_ae_titles = ["CT1"]\n',
            encoding="utf-8",
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", "--config", str(self._config), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_technician_reads_in_words_why_a_code_is_not_taken(real: RealHub, tmp_path: Path) -> None:
    box, other_box = Technician(tmp_path / "box", real.url), Technician(tmp_path / "other", real.url)
    code = issue_enrolment_code(real.hub, SITE, issued_by="admin")
    wrong = box.run("enrol", "--code", "AAAA-BBBB-CCCC-DDDD")
    assert wrong.returncode == 1
    assert "The hub refused the code" in wrong.stderr
    assert "Ask its administrator for a new one" in wrong.stderr
    assert json.loads(box.run("status", "--json").stdout)["site_id"] is None
    short = box.run("enrol", "--code", "A")
    assert short.returncode == 1
    assert short.stderr.startswith("This is no enrolment code"), short.stderr
    assert box.run("enrol", "--code", code).returncode == 0
    used = other_box.run("enrol", "--code", code)
    assert used.returncode == 1
    assert "The hub refused the code" in used.stderr
