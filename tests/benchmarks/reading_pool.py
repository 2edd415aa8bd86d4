"""A hub over RabbitMQ whose cases are made by its own services, and a pool of reading tasks made by the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
import yaml

from gateway.clock import utc_now
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.roles import Role, Title
from reading_queue.embedded.postgres import find_postgres_url
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import cases
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Patient, Study, Transfer
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.manifest import InstanceEntry, Manifest
from storage.ledger.tables import Gateway
from storage.objects.protocol import ObjectStore
from tests.support.broker import rabbitmq
from tests.support.hub import make_hub
from tests.support.network import ASSETS, COUNTY, SITE, TOOLS, hub_command, password_in, stop_process
from tests.support.processes import RunningProcess

GATEWAY_ID = "bench-gateway"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One case that waits for its commit."""

    case_id: str
    study_id: str
    transfer_id: str


@dataclass
class ReadingHub:
    """A running hub and this process's own way into its database."""

    hub: Hub
    process: RunningProcess
    folder: Path

    @property
    def url(self) -> str:
        """The address of its pages and interfaces."""
        return f"http://127.0.0.1:{(self.folder / 'hub' / 'run' / 'web.port').read_text().strip()}"

    def password_of(self, login: str) -> str:
        """Return the password of a person of the county."""
        return password_in(yaml.safe_load(COUNTY.read_text(encoding="utf-8")), login)

    def declare(self, number: int, lane: Lane = Lane.ROUTINE) -> Arrival:
        """Bring one case so far that its images are here, and nobody has been told."""
        now, uid = self.hub.clock(), f"2.25.8{number:09}"
        with self.hub.transaction() as session:
            case_id = cases.declare_case(session, self.hub, now, manifest=manifest_of(uid, now, lane))
            patient = Patient(
                patient_id=new_id(), site_id=SITE, patient_number=f"B{number}", name="张^三", sex="M",
                birth_date=date(1960, 5, 1),
            )  # fmt: skip
            session.add(patient)
            session.flush()
            study, transfer = study_of(uid, patient.patient_id, now), transfer_of(uid, now)
            session.add_all([study, transfer])
        return Arrival(case_id, study.study_id, transfer.transfer_id)

    def commit(self, arrival: Arrival) -> None:
        """Let the case know that the catalogue holds its study: its routing is launched with this commit."""
        with self.hub.transaction() as session:
            study = session.get_one(Study, arrival.study_id)
            transfer = session.get_one(Transfer, arrival.transfer_id)
            cases.study_catalogued(session, self.hub, self.hub.clock(), study=study, transfer=transfer)


@contextmanager
def running_reading_hub(folder: Path) -> Iterator[ReadingHub]:
    """Run the whole program with its embedded PostgreSQL and a RabbitMQ of our own; the demonstration's network."""
    folder.mkdir(parents=True, exist_ok=True)
    with rabbitmq(folder / "rabbitmq") as broker:
        (folder / "hub.toml").write_text(
            f'data_dir = "{folder / "hub"}"\nassets_dir = "{ASSETS}"\n\n[web]\nhost = "127.0.0.1"\nport = 0\n\n'
            f'[network]\nname = "Bench"\naudience = "bench"\n\n[broker]\nurl = "{broker}"\n',
            encoding="utf-8",
        )
        command = [TOOLS / "counterpart-hub", "--config", folder / "hub.toml", "serve"]
        process = RunningProcess(command, log_path=folder / "log" / "hub.log", name="hub")
        try:
            process.wait_until((folder / "hub" / "run" / "ready").exists, within_s=60)
            hub_command(folder, "network", "load", str(COUNTY))
            url = find_postgres_url(folder / "hub")
            assert url is not None
            engine = sa.create_engine(url, pool_size=32, max_overflow=0, pool_timeout=600)
            hub = make_hub(engine, cast(ObjectStore, None), folder / "bench.key", utc_now)
            with hub.transaction() as session:
                session.add(
                    Gateway(
                        gateway_id=GATEWAY_ID, site_id=SITE, public_key=b"k" * 32, software_version="bench",
                        enrolled_at=hub.clock(),
                    )
                )  # fmt: skip
            yield ReadingHub(hub, process, folder)
            engine.dispose()
        finally:
            stop_process(process)


def manifest_of(uid: str, now: datetime, lane: Lane) -> Manifest:
    """Return what a gateway would declare of a study of one image."""
    entry: dict[str, Any] = {
        "sop_instance_uid": f"{uid}.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "series_uid": f"{uid}.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "received_sha256": "0" * 64,
        "stored_sha256": "0" * 64,
        "size_bytes": 1024,
        "received_at": now,
    }
    return Manifest(
        site_id=SITE, study_uid=uid, revision=1, lane=lane, calling_ae_title="CT", complete_because="bench",
        completed_at=now, instances=(InstanceEntry.model_validate(entry),),
    )  # fmt: skip


def study_of(uid: str, patient_id: str, now: datetime) -> Study:
    """Return the study as the catalogue holds it."""
    return Study(
        study_id=new_id(), site_id=SITE, study_uid=uid, patient_id=patient_id, accession_number=uid[-9:],
        description="胸部平扫", body_part="CHEST", study_date=now.astimezone(UTC).date(), study_time="090000",
        exam_started_at=now - timedelta(minutes=5), modalities=["CT"], series_count=1, instance_count=1,
        size_bytes=1024, revision=1, first_received_at=now, catalogued_at=now,
    )  # fmt: skip


def transfer_of(uid: str, now: datetime) -> Transfer:
    """Return the transfer that brought it."""
    return Transfer(
        transfer_id=new_id(), site_id=SITE, gateway_id=GATEWAY_ID, study_uid=uid, revision=1, lane=Lane.ROUTINE,
        manifest_sha256=new_id(), manifest={}, state="verified", declared_at=now,
    )  # fmt: skip


def add_physicians(hub: Hub, count: int) -> list[Viewer]:
    """Add so many physicians to the first county hospital, with room for all the work there is."""
    now = hub.clock()
    first = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))["physicians"][0]["organisation"]
    with hub.transaction() as session:
        organisation = session.get_one(Organisation, first).organisation_id
        for number in range(count):
            name = f"bench-{number}"
            session.add(
                Account(
                    account_id=name, login=name, display_name=name, password_hash="-", role=Role.PHYSICIAN,
                    organisation_id=organisation, created_at=now,
                )
            )  # fmt: skip
        session.flush()
        for number in range(count):
            name = f"bench-{number}"
            session.add(
                Physician(
                    physician_id=name, account_id=name, organisation_id=organisation, title=Title.ATTENDING,
                    licence_number=name, licence_valid_until=date(2099, 1, 1), modalities=[], specialties=[],
                    wip_max=100_000,
                )
            )  # fmt: skip
    return [
        Viewer(
            account_id=f"bench-{number}", login=f"bench-{number}", display_name="", role=Role.PHYSICIAN,
            organisation_id=first, site_id=None, physician_id=f"bench-{number}", language="zh", authenticated_at=now,
        )
        for number in range(count)
    ]  # fmt: skip


# Cases that wait, each offered to so many of the added physicians; task n is offered to n, n+1, … around the circle.
POOL = """
WITH numbers AS (SELECT n, 'pool-' || n AS id FROM generate_series(0, :tasks - 1) n),
made AS (
    INSERT INTO cases (case_id, site_id, organisation_id, state, lane, modality, first_instance_at, last_instance_at,
                       created_at, version)
    SELECT id, :site, :site, 'offered', 'routine', 'CT', now(), now(), now(), 1 FROM numbers
), tasks AS (
    INSERT INTO reading_tasks (reading_task_id, workitem_uid, case_id, phase, state, created_at, version)
    SELECT id, '2.25.9' || n, id, 'interpretation', 'scheduled', now(), 1 FROM numbers
)
INSERT INTO offers (offer_id, reading_task_id, physician_id, agreement_id, state, offered_at, expires_at, why)
SELECT id || '-' || k, id, 'bench-' || (n + k) % :physicians, (SELECT min(agreement_id) FROM agreements), 'open',
       now(), now() + interval '1 day', '{}'
FROM numbers, generate_series(0, :each - 1) k
"""


def fill_pool(hub: Hub, tasks: int, physicians: int, each: int) -> None:
    """Make the pool."""
    values = {"tasks": tasks, "physicians": physicians, "each": each, "site": SITE}
    with hub.engine.begin() as connection:
        connection.execute(sa.text(POOL), values)
    with hub.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
