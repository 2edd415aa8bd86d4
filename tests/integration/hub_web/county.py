"""The demonstration's county on a real database, with studies that arrive and are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from argon2 import PasswordHasher
from sqlalchemy import select

from reading_queue.db.tables import Account, Organisation, Physician, ReadingTask
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import cases
from reading_queue.services.hub import Hub
from reading_queue.services.network import network
from reading_queue.services.reading import reading
from reading_queue.services.routing import routing
from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Patient, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.manifest import InstanceEntry, Manifest
from storage.ledger.tables import CustodyEvent, Gateway, OutboxMessage

DOCUMENT = Path(__file__).parents[3] / "deploy" / "demo" / "network.yaml"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "qinghe-demo"
FIRST_SITE, SECOND_SITE = "qinghe-t01", "qinghe-t02"
TECHNICIAN, OTHER_TECHNICIAN, COORDINATOR, ADMINISTRATOR = "tech.shuangqiao", "tech.baitan", "coordinator", "admin"
AUTHOR, VERIFIER = "zhou.wei", "lin.shu"
TEXT = ReportText(
    findings="双肺纹理清晰，右肺上叶见一枚磨玻璃结节，直径约 8 mm，边界清楚。\n纵隔未见肿大淋巴结，双侧胸腔未见积液。",
    impression="右肺上叶磨玻璃结节，建议随访。",
    recommendation="三个月后复查胸部 CT。",
)


def read_document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    return document


@dataclass
class County:
    """What the tests do to the county."""

    hub: Hub

    def build(self) -> County:
        """Load the network and let the gateways of two sites be seen."""
        network.load_network(self.hub, read_document(), hasher=CHEAP)
        now = self.hub.clock()
        with self.hub.transaction() as session:
            for site in (FIRST_SITE, SECOND_SITE):
                session.add(
                    Gateway(
                        gateway_id=f"gateway-{site}",
                        site_id=site,
                        public_key=b"k" * 32,
                        software_version="test",
                        enrolled_at=now,
                        last_seen_at=now,
                        clock_offset_ms=40,
                    )
                )
        return self

    def viewer(self, login: str) -> Viewer:
        """Return the viewer of an account, as of a login just now."""
        with self.hub.transaction() as session:
            account, site_id, physician_id = session.execute(
                select(Account, Organisation.site_id, Physician.physician_id)
                .join(Organisation, Organisation.organisation_id == Account.organisation_id)
                .outerjoin(Physician, Physician.account_id == Account.account_id)
                .where(Account.login == login)
            ).one()
        return Viewer(
            account_id=account.account_id,
            login=login,
            display_name=account.display_name,
            role=Role(account.role),
            organisation_id=account.organisation_id,
            site_id=site_id,
            physician_id=physician_id,
            language=account.language,
            authenticated_at=self.hub.clock(),
        )

    def arrive(
        self,
        study_uid: str,
        *,
        site: str = FIRST_SITE,
        lane: Lane = Lane.ROUTINE,
        modality: str = "CT",
        patient: str = "赵䶮",
        what: str = "胸部平扫",
        ago_s: float = 90,
    ) -> str:
        """Let a study arrive, be catalogued and offered; return its case."""
        arrived = self.hub.clock() - timedelta(seconds=ago_s)
        manifest = _manifest(study_uid, site, lane, arrived)
        with self.hub.transaction() as session:
            case_id = cases.declare_case(session, self.hub, self.hub.clock(), manifest=manifest)
            for number, hop in enumerate((Hop.RECEIVED, Hop.COMPLETED, Hop.UPLOADED)):
                at = arrived + timedelta(seconds=number * 1.7)
                session.add(_gateway_event(hop, site, study_uid, at))
            row = Patient(
                patient_id=new_id(),
                site_id=site,
                patient_number=f"P{study_uid[-4:]}",
                name=patient,
                sex="F",
                birth_date=date(1958, 4, 12),
            )
            study = _study(study_uid, site, row, modality, what, arrived)
            transfer = _transfer(study_uid, site, arrived)
            session.add_all([row, transfer])
            session.flush()
            session.add(study)
            session.flush()
            cases.study_catalogued(session, self.hub, self.hub.clock(), study=study, transfer=transfer)
        self.run_jobs()
        return case_id

    def complete(self, study_uid: str, detail: dict[str, Any], *, site: str = FIRST_SITE) -> None:
        """Let the site's gateway say that it judged the study complete once more, and why."""
        with self.hub.transaction() as session:
            event = _gateway_event(Hop.COMPLETED, site, study_uid, self.hub.clock())
            event.event_key, event.detail = new_id(), detail
            session.add(event)

    def declare(self, study_uid: str, *, site: str = FIRST_SITE) -> str:
        """Let the first word of a study arrive; its images are still on the way."""
        manifest = _manifest(study_uid, site, Lane.ROUTINE, self.hub.clock())
        with self.hub.transaction() as session:
            return cases.declare_case(session, self.hub, self.hub.clock(), manifest=manifest)

    def run_jobs(self) -> None:
        """Do what the outbox asks for, as relay and worker would; rendering is left out."""
        now = self.hub.clock()
        due = select(OutboxMessage).where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= now)
        while True:
            with self.hub.transaction() as session:
                message = session.scalars(due.order_by(OutboxMessage.message_id).limit(1)).one_or_none()
                if message is None:
                    return
                message.published_at = now
            if message.job == "cases.route":
                routing.route(self.hub, message.arguments["reading_task_id"])

    def task(self, case_id: str) -> str:
        """Return the id of the case's open reading task."""
        is_open = ReadingTask.state.in_(("scheduled", "in_progress"))
        with self.hub.transaction() as session:
            found = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == case_id, is_open)
            return session.scalars(found).one()

    def submit(self, case_id: str, login: str = AUTHOR) -> None:
        """Claim, write and submit."""
        task, author = self.task(case_id), self.viewer(login)
        reading.claim(self.hub, author, task)
        reading.submit(self.hub, author, task, TEXT)
        self.run_jobs()

    def sign(self, case_id: str, login: str = VERIFIER, *, confirm_identity: bool = False) -> None:
        """Claim the verification and sign."""
        task, verifier = self.task(case_id), self.viewer(login)
        reading.claim(self.hub, verifier, task)
        reading.sign(self.hub, verifier, task, None, confirm_identity=confirm_identity)
        self.run_jobs()


def _manifest(study_uid: str, site: str, lane: Lane, arrived: Any) -> Manifest:
    entry = InstanceEntry(
        sop_instance_uid=f"{study_uid}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_uid=f"{study_uid}.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        received_sha256="0" * 64,
        stored_sha256="0" * 64,
        size_bytes=1024,
        received_at=arrived,
    )
    return Manifest(
        site_id=site,
        study_uid=study_uid,
        revision=1,
        lane=lane,
        calling_ae_title="CT",
        complete_because="test",
        completed_at=arrived,
        instances=(entry,),
    )


def _gateway_event(hop: Hop, site: str, study_uid: str, at: Any) -> CustodyEvent:
    return CustodyEvent(
        event_key=f"gateway-{site}:{hop}:{study_uid}",
        hop=hop,
        site_id=site,
        study_uid=study_uid,
        place=f"gateway:gateway-{site}",
        at=at,
        received_at=at,
        detail={},
    )


def _study(study_uid: str, site: str, patient: Patient, modality: str, what: str, arrived: Any) -> Study:
    return Study(
        study_id=new_id(),
        site_id=site,
        study_uid=study_uid,
        patient_id=patient.patient_id,
        patient_name=patient.name,
        name_keys=keys_of_name(patient.name, readings),
        patient_birth_date=patient.birth_date,
        patient_sex=patient.sex,
        accession_number="A1",
        description=what,
        body_part="CHEST",
        study_date=arrived.date(),
        study_time="090000",
        exam_started_at=None,
        modalities=[modality],
        series_count=1,
        instance_count=40,
        size_bytes=1024,
        revision=1,
        first_received_at=arrived,
        catalogued_at=arrived,
    )


def _transfer(study_uid: str, site: str, arrived: Any) -> Transfer:
    return Transfer(
        transfer_id=new_id(),
        site_id=site,
        gateway_id=f"gateway-{site}",
        study_uid=study_uid,
        revision=1,
        lane=Lane.ROUTINE,
        manifest_sha256=new_id(),
        manifest={},
        state="verified",
        declared_at=arrived,
    )
