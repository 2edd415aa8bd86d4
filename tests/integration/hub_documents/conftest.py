"""A case whose report two physicians have signed, with its images in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from reading_queue.db.tables import (
    Account,
    Case,
    CaseStudy,
    Organisation,
    Physician,
    ReadingTask,
    Report,
    Submission,
)
from reading_queue.domain.report import ReportContent
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.identifiers import new_id, new_uid
from storage.ledger.tables import Site
from tests.support.reports import find_fonts, report_content, reported_study

CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class SignedCase:
    """Ids of a case in FINAL and of its newest report."""

    case_id: str
    report_id: str
    site_id: str
    study_uid: str
    content: ReportContent


@pytest.fixture(scope="session")
def fonts_dir() -> Path:
    return find_fonts()


@pytest.fixture
def sign_case(hub: Hub) -> Callable[..., SignedCase]:
    """Signs a report: of a new case of the site, or the next version of a case given."""

    def sign(site_id: str = "qinghe-01", *, after: SignedCase | None = None) -> SignedCase:
        with hub.transaction() as session:
            if session.get(Site, site_id) is None:
                _add_site(session, hub, site_id)
            if session.get(Physician, "author") is None:
                _add_physicians(session, hub)
            study_uid = after.study_uid if after else str(new_uid())
            case_id = after.case_id if after else _add_case(session, hub, site_id, study_uid)
            return _sign(session, hub, case_id, site_id, study_uid, version=2 if after else 1)

    return sign


@pytest.fixture
def signed_case(sign_case: Callable[..., SignedCase]) -> SignedCase:
    return sign_case()


def add_image(session: Session, hub: Hub, site_id: str, series_id: str, study_id: str) -> str:
    """Add one image, verified now, to a series; return its UID."""
    pack = Pack(
        pack_id=new_id(),
        study_id=study_id,
        pack_sha256=new_id(),
        object_key="unread",
        headers_key="unread",
        size_bytes=1024,
        verified_at=hub.clock(),
    )
    image = Instance(
        instance_id=new_id(),
        site_id=site_id,
        series_id=series_id,
        pack_id=pack.pack_id,
        sop_instance_uid=str(new_uid()),
        sop_class_uid=CT,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        number=1,
        frame_count=1,
        offset_bytes=0,
        size_bytes=512,
        frame_spans=[],
        received_sha256="0" * 64,
        stored_sha256="0" * 64,
    )
    session.add(pack)
    session.flush()
    session.add(image)
    return image.sop_instance_uid


def _add_site(session: Session, hub: Hub, site_id: str) -> None:
    session.add(Site(site_id=site_id, name=site_id, time_zone="Asia/Shanghai", created_at=hub.clock()))
    session.flush()
    session.add(Organisation(organisation_id=site_id, kind="township", name=site_id, site_id=site_id))
    session.flush()


def _add_physicians(session: Session, hub: Hub) -> None:
    session.add(Organisation(organisation_id="hospital", kind="county", name="清河县人民医院"))
    session.flush()
    for name in ("author", "verifier"):
        session.add(
            Account(
                account_id=name,
                login=name,
                display_name=name,
                password_hash="-",
                role="physician",
                organisation_id="hospital",
                created_at=hub.clock(),
            )
        )
        session.flush()
        session.add(
            Physician(
                physician_id=name,
                account_id=name,
                organisation_id="hospital",
                title="chief",
                licence_number="1",
                licence_valid_until=hub.clock().date(),
                modalities=[],
                specialties=[],
                wip_max=5,
            )
        )
    session.flush()


def _add_case(session: Session, hub: Hub, site_id: str, study_uid: str) -> str:
    now = hub.clock()
    _add_study(session, hub, site_id, study_uid)
    case = Case(
        case_id=new_id(),
        site_id=site_id,
        organisation_id=site_id,
        state="final",
        lane="routine",
        modality="CT",
        first_instance_at=now,
        last_instance_at=now,
        created_at=now,
        signed_at=now,
    )
    session.add(case)
    session.flush()
    session.add(CaseStudy(case_id=case.case_id, site_id=site_id, study_uid=study_uid))
    return case.case_id


def _add_study(session: Session, hub: Hub, site_id: str, study_uid: str) -> None:
    now = hub.clock()
    patient = Patient(patient_id=new_id(), site_id=site_id, patient_number=new_id(), name="张^三䶮", sex="F")
    study = Study(
        study_id=new_id(),
        site_id=site_id,
        study_uid=study_uid,
        patient_id=patient.patient_id,
        modalities=["CT"],
        series_count=1,
        instance_count=2,
        size_bytes=1024,
        revision=1,
        first_received_at=now,
        catalogued_at=now,
    )
    series = Series(
        series_id=new_id(), study_id=study.study_id, series_uid=str(new_uid()), modality="CT", instance_count=2
    )
    for row in (patient, study, series):
        session.add(row)
        session.flush()
    for _ in range(2):
        add_image(session, hub, site_id, series.series_id, study.study_id)


def _sign(session: Session, hub: Hub, case_id: str, site_id: str, study_uid: str, *, version: int) -> SignedCase:
    now = hub.clock()
    task = ReadingTask(
        reading_task_id=new_id(),
        workitem_uid=str(new_uid()),
        case_id=case_id,
        phase="interpretation",
        state="completed",
        created_at=now,
    )
    session.add(task)
    session.flush()
    submission = Submission(
        submission_id=new_id(),
        case_id=case_id,
        reading_task_id=task.reading_task_id,
        author_id="author",
        content=b"{}",
        content_sha256="a" * 64,
        signature={},
        submitted_at=now,
    )
    session.add(submission)
    session.flush()
    content = report_content(
        report_id=new_id(),
        case_id=case_id,
        report_version=version,
        site_id=site_id,
        studies=(reported_study(study_uid=study_uid),),
        submitted_at=now - timedelta(minutes=10),
        signed_at=now,
    )
    signed = content.canonical()
    session.add(
        Report(
            report_id=content.report_id,
            case_id=case_id,
            report_version=version,
            submission_id=submission.submission_id,
            verifier_id="verifier",
            content=signed,
            content_sha256=hashlib.sha256(signed).hexdigest(),
            signatures=[{"role": "verifier", "alg": "Ed25519"}],
            signed_at=now,
        )
    )
    return SignedCase(case_id, content.report_id, site_id, study_uid, content)
