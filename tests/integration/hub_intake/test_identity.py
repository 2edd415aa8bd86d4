"""One patient number, two birth dates: nothing is overwritten, each study keeps its own, and a person is told."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.attention import Stuck, StuckKind, stuck
from reading_queue.services.cases.casework import find_case_of
from reading_queue.services.hub import Hub
from reading_queue.services.reading.priors import list_priors
from reading_queue.services.reports.signed_facts import load_subject
from storage.catalogue.tables import Patient, Study
from storage.contract.identifiers import Uid
from storage.contract.manifest import Purpose
from storage.contract.wire import ManifestAnswer
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import make_instance, make_manifest, make_pack

pytestmark = pytest.mark.postgres

FIRST, SECOND, THIRD = (Uid(f"1.2.826.0.1.3680043.8.498.7.{number}") for number in (1, 2, 3))
BORN, BORN_ELSE = {"PatientBirthDate": "19800229"}, {"PatientBirthDate": "19810301", "PatientName": "李^娜"}


class Sender:
    """Sends studies of one instance, all under one patient number."""

    def __init__(self, gateway: GatewayStandIn, hub: Hub) -> None:
        self.gateway, self.hub, self.instances = gateway, hub, 0

    def send(self, study: Uid, purpose: Purpose = "read", **header: Any) -> None:
        self.instances += 1
        made = make_instance(self.instances, self.hub.clock(), study=study, **header)
        manifest = make_manifest(SITE, [made], study=study, revision=self.instances)
        manifest = manifest.model_copy(update={"purpose": purpose})
        transfer_id = self.gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
        self.gateway.upload_and_commit(transfer_id, [make_pack(SITE, [made], study=study)])
        run_jobs(self.hub)

    def record(self) -> Patient:
        with self.hub.transaction() as session:
            return session.scalars(select(Patient)).one()

    def told(self, site_id: str = SITE) -> list[Stuck]:
        organisation = f"{site_id}-01"
        coordinator = Viewer("c", "c", "c", Role.COORDINATOR, organisation, site_id, None, "en", self.hub.clock())
        return [one for one in stuck(self.hub, coordinator) if one.kind is StuckKind.IDENTITY]


@pytest.fixture
def sender(gateway: GatewayStandIn, network: Hub) -> Sender:
    return Sender(gateway, network)


@pytest.mark.parametrize("purpose", ["read", "prior"])
@pytest.mark.parametrize("contradicting", [BORN_ELSE, {"PatientSex": "M", "PatientName": "李^娜"}])
def test_contradiction_overwrites_nothing_and_is_told_to_the_coordinator(
    sender: Sender, purpose: Purpose, contradicting: dict[str, str]
) -> None:
    sender.send(FIRST, **BORN)
    assert sender.told() == []
    sender.send(SECOND, purpose, **contradicting)
    record = sender.record()
    assert (record.name, record.birth_date, record.sex) == ("王^芳", date(1980, 2, 29), "F")
    (line,) = sender.told()
    assert line.study_uid == SECOND
    assert sender.told(OTHER_SITE) == []
    sender.send(THIRD, **BORN)  # what agrees with one of them contradicts the other
    assert [one.study_uid for one in sender.told()] == [THIRD]


def test_each_study_is_signed_under_the_name_and_birth_date_of_its_own_images(sender: Sender, network: Hub) -> None:
    sender.send(FIRST, **BORN)
    sender.send(SECOND, **BORN_ELSE)
    said = []
    with network.transaction() as session:
        for study in (FIRST, SECOND):
            case = session.get_one(Case, find_case_of(session, SITE, study))
            identity, _ = load_subject(session, case)
            said.append((identity.name, identity.birth_date))
            assert list_priors(session, case.case_id).studies == ()
            assert list_priors(session, case.case_id).disputed
    assert said == [("王^芳", date(1980, 2, 29)), ("李^娜", date(1981, 3, 1))]


def test_what_images_leave_out_is_filled_in_and_contradicts_nothing(sender: Sender, network: Hub) -> None:
    sender.send(FIRST, PatientBirthDate="", PatientSex="")
    sender.send(SECOND, **BORN)
    sender.send(THIRD, PatientBirthDate="", PatientSex="O")
    record = sender.record()
    assert (record.birth_date, record.sex, record.contradicted_at) == (date(1980, 2, 29), "F", None)
    assert sender.told() == []
    with network.transaction() as session:
        own = session.scalars(select(Study.patient_birth_date).order_by(Study.study_uid)).all()
        case = session.get_one(Case, find_case_of(session, SITE, THIRD))
        identity, _ = load_subject(session, case)
        assert [one.study_uid for one in list_priors(session, case.case_id).studies] == [FIRST, SECOND]
    assert own == [None, date(1980, 2, 29), None]
    assert (identity.birth_date, identity.sex) == (date(1980, 2, 29), "F")


def test_late_instance_of_somebody_else_in_a_study_marks_the_record(sender: Sender) -> None:
    sender.send(FIRST, **BORN)
    sender.send(FIRST, **BORN_ELSE)
    assert [one.study_uid for one in sender.told()] == [FIRST]
    assert sender.record().birth_date == date(1980, 2, 29)
