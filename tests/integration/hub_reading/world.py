"""A small network on a real database: one township clinic, its county hospital, one assisting municipal hospital."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import delete, select

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.order_tables import OrderNews
from reading_queue.db.tables import (
    Account,
    Case,
    CaseStudy,
    Offer,
    Organisation,
    Physician,
    ReadingTask,
)
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role, Title
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import cases
from reading_queue.services.cases.images_seen import images_token
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import record_agreement
from reading_queue.services.reading import reading
from reading_queue.services.routing import routing
from storage.catalogue.tables import Grant, GrantedPack, Patient, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.manifest import InstanceEntry, Manifest
from storage.ledger.tables import CustodyEvent, Gateway, OutboxMessage, Site

SITE = "qinghe-01"
COUNTY = "qinghe"
CITY = "city-first"
PATIENT = "patient-1"
TEXT = ReportText(
    findings="右肺上叶见结节，直径约8mm左右。", impression="右肺上叶结节。", recommendation="三个月后复查。"
)


@dataclass
class World:
    """What the tests do to the network, and what they look at."""

    hub: Hub
    routed: list[str] = field(default_factory=list)

    def build(self) -> World:
        """Make the organisations, the gateway, one patient and an agreement of the county with the city."""
        now = self.hub.clock()
        with self.hub.transaction() as session:
            session.add(Site(site_id=SITE, name="清河镇卫生院", time_zone="Asia/Shanghai", created_at=now))
            session.flush()
            session.add(Organisation(organisation_id=COUNTY, kind="county", name="清河县人民医院"))
            session.add(Organisation(organisation_id=CITY, kind="municipal", name="市第一人民医院"))
            session.flush()
            session.add(
                Organisation(organisation_id=SITE, kind="township", parent_id=COUNTY, name="清河镇卫生院", site_id=SITE)
            )
            session.add(
                Gateway(
                    gateway_id="gateway-1",
                    site_id=SITE,
                    public_key=b"k" * 32,
                    software_version="test",
                    enrolled_at=now,
                )
            )
            session.add(
                Patient(
                    patient_id=PATIENT,
                    site_id=SITE,
                    patient_number="P1",
                    name="张伟",
                    sex="M",
                    birth_date=date(1960, 5, 1),
                )
            )
        self.add_agreement("agreement-city", requesting=COUNTY, assisting=CITY, stage=2)
        return self

    def add_agreement(self, agreement_id: str, *, requesting: str, assisting: str, stage: int) -> None:
        terms = {
            "requesting_organisation_id": requesting,
            "assisting_organisation_id": assisting,
            "modalities": [],
            "body_regions": [],
            "services": ["interpretation", "verification"],
            "stage": stage,
            "time_limits_min": {"routine": 600, "urgent": 90},
            "valid_from": date(2020, 1, 1),
            "valid_until": date(2030, 1, 1),
            "cases_per_day_max": {},
            "single_physician": False,
        }
        with self.hub.transaction() as session:
            record_agreement(session, agreement_id, terms, self.hub.clock())

    def add_physician(
        self,
        name: str,
        *,
        organisation: str = CITY,
        title: Title = Title.ATTENDING,
        wip_max: int = 10,
        duty_s: int = 7 * 24 * 3600,
    ) -> Viewer:
        """Make an account of this name and a physician `physician-<name>`, on duty from now for `duty_s`."""
        now = self.hub.clock()
        with self.hub.transaction() as session:
            session.add(
                Account(
                    account_id=name,
                    login=name,
                    display_name=name.title(),
                    password_hash="-",
                    role=Role.PHYSICIAN,
                    organisation_id=organisation,
                    created_at=now,
                )
            )
            session.flush()
            session.add(
                Physician(
                    physician_id=f"physician-{name}",
                    account_id=name,
                    organisation_id=organisation,
                    title=title,
                    licence_number=f"licence-{name}",
                    licence_valid_until=date(2030, 1, 1),
                    modalities=[],
                    specialties=[],
                    wip_max=wip_max,
                )
            )
            session.flush()
            session.add(
                DutyPeriod(
                    duty_period_id=new_id(),
                    physician_id=f"physician-{name}",
                    starts_at=now,
                    ends_at=now + timedelta(seconds=duty_s),
                )
            )
        return self.viewer(name, organisation=organisation)

    def viewer(self, name: str, *, organisation: str = CITY, authenticated_at: datetime | None = None) -> Viewer:
        return Viewer(
            account_id=name,
            login=name,
            display_name=name.title(),
            role=Role.PHYSICIAN,
            organisation_id=organisation,
            site_id=None,
            physician_id=f"physician-{name}",
            language="zh",
            authenticated_at=authenticated_at or self.hub.clock(),
        )

    def declare(self, study_uid: str, *, lane: Lane = Lane.ROUTINE, revision: int = 1) -> str:
        with self.hub.transaction() as session:
            manifest = make_manifest(study_uid, self.hub.clock(), lane=lane, revision=revision)
            return cases.declare_case(session, self.hub, self.hub.clock(), manifest=manifest)

    def catalogue(self, study_uid: str, *, revision: int = 1, more: int = 0) -> None:
        """Catalogue the study at this revision, with more instances, and tell its case, as a verified transfer does."""
        now = self.hub.clock()
        with self.hub.transaction() as session:
            study = session.scalars(select(Study).where(Study.study_uid == study_uid)).one_or_none()
            study = study or make_study(study_uid, now)
            study.revision = revision
            study.instance_count += more
            session.add(study)
            transfer = make_transfer(study_uid, now, revision=revision, state="verified")
            session.add(transfer)
            session.flush()
            cases.study_catalogued(session, self.hub, now, study=study, transfer=transfer)

    def told(self, case_id: str) -> list[tuple[str, int]]:
        """Return the versions of orders that a reader was told of."""
        with self.hub.transaction() as session:
            rows = session.scalars(select(OrderNews).where(OrderNews.case_id == case_id))
            return [(news.order_id, news.order_version) for news in rows]

    def shown(self, case_id: str) -> str:
        """Return the token of the images that the case shows now."""
        with self.hub.transaction() as session:
            studies = select(Study.instance_count).join(CaseStudy, CaseStudy.study_uid == Study.study_uid)
            counts = session.scalars(studies.where(CaseStudy.case_id == case_id)).all()
            return images_token(session.get_one(Case, case_id), counts)

    def arrive(self, study_uid: str = "1.2.3", *, lane: Lane = Lane.ROUTINE) -> str:
        """Let a whole study arrive and be routed; return its case."""
        case_id = self.declare(study_uid, lane=lane)
        self.catalogue(study_uid)
        self.run_jobs()
        return case_id

    def run_jobs(self) -> None:
        """Publish what is due and route what it asks for, as relay and worker do; other jobs are only published."""
        while (message := self.publish_one()) is not None:
            if message.job == "cases.route":
                self.routed.append(message.arguments["reading_task_id"])
                routing.route(self.hub, message.arguments["reading_task_id"])

    def publish_one(self) -> OutboxMessage | None:
        """Mark the first due message published, as if a broker had taken it."""
        now = self.hub.clock()
        due = select(OutboxMessage).where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= now)
        with self.hub.transaction() as session:
            message = session.scalars(due.order_by(OutboxMessage.message_id).limit(1)).one_or_none()
            if message is not None:
                message.published_at = now
            return message

    def slip_offer(self, reading_task_id: str, viewer: Viewer) -> None:
        """Make an open offer that the ranking would never make."""
        now = self.hub.clock()
        with self.hub.transaction() as session:
            session.add(
                Offer(
                    offer_id=new_id(),
                    reading_task_id=reading_task_id,
                    physician_id=viewer.physician_id,
                    agreement_id="agreement-city",
                    agreement_version=1,
                    state="open",
                    offered_at=now,
                    expires_at=now + timedelta(hours=1),
                    why={},
                )
            )

    def end_licence(self, viewer: Viewer) -> None:
        with self.hub.transaction() as session:
            physician = session.get_one(Physician, viewer.physician_id)
            physician.licence_valid_until = self.hub.clock().date() - timedelta(days=1)

    def waiting_jobs(self) -> list[str]:
        with self.hub.transaction() as session:
            return list(session.scalars(select(OutboxMessage.job).where(OutboxMessage.published_at.is_(None))))

    def wipe_outbox(self) -> None:
        with self.hub.transaction() as session:
            session.execute(delete(OutboxMessage))

    def commit_pack(self, study_uid: str) -> str:
        """Make a pack whose commit was accepted and whose verification nobody launched."""
        now = self.hub.clock()
        with self.hub.transaction() as session:
            transfer = make_transfer(study_uid, now, revision=1, state="receiving")
            session.add(transfer)
            session.flush()
            session.add(Grant(grant_id="g", transfer_id=transfer.transfer_id, created_at=now, expires_at=now))
            session.flush()
            session.add(
                GrantedPack(
                    granted_pack_id="granted-pack",
                    grant_id="g",
                    pack_sha256="0" * 64,
                    size_bytes=1024,
                    staging_key="incoming/g/0",
                    sop_instance_uids=[],
                    state="committed",
                    committed_at=now,
                )
            )
        return "granted-pack"

    def case(self, case_id: str) -> Case:
        with self.hub.transaction() as session:
            return session.get_one(Case, case_id)

    def open_task(self, case_id: str) -> ReadingTask:
        with self.hub.transaction() as session:
            is_open = ReadingTask.state.in_(("scheduled", "in_progress"))
            return session.scalars(select(ReadingTask).where(ReadingTask.case_id == case_id, is_open)).one()

    def offered_to(self, case_id: str, *viewers: Viewer) -> list[str]:
        """Return the accounts among `viewers` to whom the case is offered now."""
        return [
            viewer.account_id
            for viewer in viewers
            if case_id in {offer.case_id for offer in reading.offers_of(self.hub, viewer)}
        ]

    def hops(self, case_id: str) -> list[Hop]:
        events = select(CustodyEvent.hop).where(CustodyEvent.case_id == case_id).order_by(CustodyEvent.event_id)
        with self.hub.transaction() as session:
            return [Hop(hop) for hop in session.scalars(events)]

    def submit(self, author: Viewer, case_id: str) -> str:
        """Let the author claim the case and submit TEXT; route the verification."""
        task_id = self.open_task(case_id).reading_task_id
        reading.claim(self.hub, author, task_id)
        submission_id = reading.submit(self.hub, author, task_id, TEXT)
        self.run_jobs()
        return submission_id


def make_manifest(study_uid: str, now: datetime, *, lane: Lane, revision: int) -> Manifest:
    entry = InstanceEntry(
        sop_instance_uid=f"{study_uid}.1.{revision}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_uid=f"{study_uid}.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        received_sha256="0" * 64,
        stored_sha256="0" * 64,
        size_bytes=1024,
        received_at=now,
    )
    return Manifest(
        site_id=SITE,
        study_uid=study_uid,
        revision=revision,
        lane=lane,
        calling_ae_title="CT",
        complete_because="test",
        completed_at=now,
        instances=(entry,),
    )


def make_study(study_uid: str, now: datetime) -> Study:
    return Study(
        study_id=new_id(),
        site_id=SITE,
        study_uid=study_uid,
        patient_id=PATIENT,
        accession_number="A1",
        description="胸部平扫",
        body_part="CHEST",
        study_date=now.astimezone(UTC).date(),
        study_time="090000",
        exam_started_at=now - timedelta(minutes=30),
        modalities=["CT", "SR"],
        series_count=1,
        instance_count=1,
        size_bytes=1024,
        revision=1,
        first_received_at=now,
        catalogued_at=now,
    )


def make_transfer(study_uid: str, now: datetime, *, revision: int, state: str) -> Transfer:
    return Transfer(
        transfer_id=new_id(),
        site_id=SITE,
        gateway_id="gateway-1",
        study_uid=study_uid,
        revision=revision,
        lane=Lane.ROUTINE,
        manifest_sha256=new_id(),
        manifest={},
        state=state,
        declared_at=now,
    )
