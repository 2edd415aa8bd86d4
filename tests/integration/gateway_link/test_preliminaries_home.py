"""A whole gateway, connected to a real hub: a preliminary report is at the clinic a moment after it is signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway, open_journal
from gateway.clock import utc_now
from gateway.journal.preliminaries import find_preliminary
from gateway.settings import GatewaySettings
from reading_queue.db.tables import Account, Case, CaseStudy, Physician, ReadingTask, Submission
from reading_queue.domain.report import PatientIdentity, Signatory, SubmissionContent
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import CaseState
from reading_queue.services.arrival import custody
from reading_queue.services.reports.site_preliminaries import tell_site
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, new_id
from storage.contract.lanes import Lane
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_process import send_study
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, enrol_at, running_hub
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


@pytest.fixture
def real(database: sa.Engine, tmp_path: Path) -> Iterator[RealHub]:
    with running_hub(database, tmp_path) as real:
        yield real


@pytest.fixture
def enrolled(real: RealHub, tmp_path: Path) -> GatewaySettings:
    return enrol_at(real, make_settings(tmp_path / "clinic", real.url))


def sign_preliminary(real: RealHub, study_uid: Uid) -> str:
    """Have an author's signature on the study's case, as of an emergency; the reading before it is left out."""
    now, submission_id = utc_now(), new_id()
    with real.hub.transaction() as session:
        found = select(Case).join(CaseStudy, CaseStudy.case_id == Case.case_id).where(CaseStudy.study_uid == study_uid)
        case = session.scalars(found).one()
        task = session.scalars(select(ReadingTask).where(ReadingTask.case_id == case.case_id)).one()
        named = {"account_id": "wang", "organisation_id": SITE}
        session.add(
            Account(login="wang", display_name="王", password_hash="-", role=Role.PHYSICIAN, created_at=now, **named)
        )
        session.flush()
        licence = {"licence_number": "1", "licence_valid_until": date(2099, 1, 1)}
        session.add(
            Physician(
                physician_id="p", title=Title.ATTENDING, modalities=[], specialties=[], wip_max=1, **named, **licence
            )
        )
        session.flush()
        content = SubmissionContent(
            submission_id=submission_id,
            case_id=case.case_id,
            reading_task_id=task.reading_task_id,
            site_id=SITE,
            patient=PatientIdentity(patient_number="P1", name="Zhang^San", sex="", birth_date=None),
            studies=(),
            author=Signatory(
                physician_id="p",
                name="王",
                title=Title.ATTENDING,
                licence_number="1",
                organisation_id=SITE,
                organisation_name="清河镇卫生院",
            ),
            findings="右侧基底节区高密度影。",
            impression="脑出血。",
            recommendation="",
            submitted_at=now,
        )
        case.lane, case.state = Lane.STAT, CaseState.PENDING_REVIEW
        session.add(
            Submission(
                submission_id=submission_id,
                case_id=case.case_id,
                reading_task_id=task.reading_task_id,
                author_id="p",
                content=content.canonical(),
                content_sha256="0" * 64,
                signature={},
                submitted_at=now,
            )
        )
        session.flush()
        tell_site(session, case)
    return submission_id


@contextmanager
def running_gateway(settings: GatewaySettings) -> Iterator[int]:
    """Run the gateway of these settings; yield its DICOM port."""
    gateway = Gateway(settings)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


def test_preliminary_report_is_at_the_clinic_and_stays_over_a_restart(real: RealHub, enrolled: GatewaySettings) -> None:
    with running_gateway(enrolled) as port:
        study = send_study(port)
        eventually(real.holds(study), within_s=PATIENCE_S)
        submission_id = sign_preliminary(real, study)

        def is_here() -> None:
            row = find_preliminary(open_journal(enrolled), study)
            assert row is not None
            assert (row.report.submission_id, row.report.impression) == (submission_id, "脑出血。")

        def is_in_the_ledger() -> None:
            hops = [line.hop for line in custody.ledger_of(real.hub, study, SITE)]
            assert hops.count(Hop.PRELIMINARY_FETCHED) == 1

        eventually(is_here, within_s=PATIENCE_S)
        eventually(is_in_the_ledger, within_s=PATIENCE_S)
    real.stop()
    with running_gateway(enrolled):
        is_here()
    real.start()
