"""Earlier studies come from the clinic's PACS (a real dcmqrscp) when the hub asks, and only the right person's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from gateway.bootstrap import Gateway, open_journal
from gateway.clock import utc_now
from gateway.forwarder.forwarder import IDLE_MAX_S
from gateway.journal.actions import record_action
from gateway.journal.priors import list_problems
from gateway.settings import GatewaySettings
from reading_queue.db.tables import Case, CaseStudy, PriorRequest
from reading_queue.services.cases.casework import find_case_of
from reading_queue.services.reading.priors import list_priors
from storage.catalogue.tables import Patient, Study, Transfer
from storage.contract.identifiers import Uid
from storage.ledger.tables import Gateway as EnrolledGateway
from tests.integration.gateway_link.conftest import make_settings
from tests.integration.gateway_link.test_real_hub import PATIENCE_S, SITE, RealHub, enrol_at, running_hub
from tests.integration.hub_intake.studies import make_instance
from tests.support.archive import AE_TITLE, Archive
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

NOW, EARLIER, OTHER = (Uid(f"1.2.826.0.1.3680043.8.498.{number}") for number in (1, 2, 3))
LAST_YEAR = (utc_now() - timedelta(days=365)).strftime("%Y%m%d")
TODAY = utc_now().strftime("%Y%m%d")


@dataclass
class Clinic:
    """A gateway with its hub and its PACS."""

    real: RealHub
    settings: GatewaySettings
    archive: Archive
    folder: Path
    files: int = 0
    gateways: list[Gateway] = field(default_factory=list)
    port: int = 0

    def start(self) -> None:
        gateway = Gateway(self.settings)
        self.port = gateway.start()
        self.gateways.append(gateway)

    def file(self, study: Uid, number: int = 1, date: str = LAST_YEAR, **attributes: object) -> Path:
        self.files += 1
        path = self.folder / f"{self.files}.dcm"
        instance = make_instance(number, utc_now(), study=study, StudyDate=date, StudyDescription="CHEST", **attributes)
        path.write_bytes(instance.file)
        return path

    def examine(self) -> None:
        """Let the scanner send today's study, once the hub knows that this gateway fetches priors."""

        def hub_knows() -> None:
            with self.real.hub.transaction() as session:
                assert session.scalar(select(EnrolledGateway.asked_for_priors_at)) is not None

        eventually(hub_knows, PATIENCE_S)
        sent = str(self.file(NOW, date=TODAY))
        words = ["storescu", "-aet", "CT1", "-aec", "COUNTERPART", "127.0.0.1", str(self.port), sent]
        subprocess.run(words, check=True, capture_output=True)

    def request(self, check: Callable[[PriorRequest], bool]) -> PriorRequest:
        """Return the case's request once it is so."""

        def is_so() -> PriorRequest:
            self.real.verify()
            self.hurry()
            with self.real.hub.transaction() as session:
                request = session.scalars(select(PriorRequest)).one_or_none()
                assert request is not None, "no request"
                assert check(request), (request.state, request.code, request.reason)
            return request

        return eventually(is_so, PATIENCE_S, every_s=0.3)

    def hurry(self) -> None:
        """Have every loop look now, as an action of a person does."""
        with open_journal(self.settings).transaction() as connection:
            record_action(connection, utc_now(), "test", "look", "")

    def catalogued(self, study: Uid) -> Study:
        def is_there() -> Study:
            self.real.verify()
            with self.real.hub.transaction() as session:
                found = session.scalars(select(Study).where(Study.study_uid == study)).one_or_none()
                assert found is not None
                assert found.revision > 0
            return found

        return eventually(is_there, PATIENCE_S, every_s=0.2)


@pytest.fixture
def clinic(database: sa.Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Clinic]:
    """A clinic whose PACS is not started; a parameter is further settings of its `priors`."""
    archive = Archive(tmp_path / "pacs")
    peer = {
        "name": "archive",
        "ae_title": AE_TITLE,
        "may": ["store"],
        "host": "127.0.0.1",
        "port": archive.port,
        "timeout_s": 30,
        "character_set": "GB18030",
    }
    with running_hub(database, tmp_path) as real:
        settings = make_settings(
            tmp_path / "clinic",
            real.url,
            dicom={
                "port": 0,
                "host": "127.0.0.1",
                "allowed_calling_ae_titles": ["CT1"],
                "disk_floor_bytes": 0,
                "peers": [peer],
            },
            priors={"source": "archive"} | getattr(request, "param", {}),
            console={"enabled": False},
        )
        clinic = Clinic(real, enrol_at(real, settings), archive, tmp_path)
        clinic.start()
        yield clinic
        for gateway in clinic.gateways:
            gateway.stop()
        archive.stop()


def test_earlier_study_comes_from_the_pacs_without_a_case_and_is_listed_beside_the_case(clinic: Clinic) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(clinic.file(EARLIER, 1), clinic.file(EARLIER, 2))
    clinic.examine()
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.fetched, request.left_out) == (1, 1, 0)
    assert clinic.catalogued(EARLIER).instance_count == 2
    with clinic.real.hub.transaction() as session:
        assert find_case_of(session, SITE, EARLIER) is None
        assert session.scalars(select(CaseStudy.study_uid)).all() == [NOW]
        transfer = session.scalars(select(Transfer).where(Transfer.study_uid == EARLIER)).one()
        assert (transfer.lane, transfer.manifest["purpose"]) == ("background", "prior")
        listed = list_priors(session, request.case_id)
    assert [(one.study_uid, one.description, one.instance_count) for one in listed.studies] == [(EARLIER, "CHEST", 2)]


@pytest.mark.parametrize("other", [{"PatientBirthDate": "19550101"}, {"PatientSex": "M"}, {"PatientName": "李^娜"}])
def test_somebody_else_under_the_same_number_is_left_where_they_are(clinic: Clinic, other: dict[str, str]) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(clinic.file(OTHER, **other))
    clinic.examine()
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.fetched, request.left_out) == (0, 0, 1)
    with clinic.real.hub.transaction() as session:
        assert session.scalars(select(Study.study_uid)).all() == [NOW]
        assert session.scalars(select(Patient.name)).all() == ["王^芳"]


def test_patient_without_an_earlier_study_is_a_fine_outcome(clinic: Clinic) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.examine()
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.code) == (0, "")


def test_pacs_that_is_down_or_does_not_know_us_is_told_in_words_and_tried_until_it_does(clinic: Clinic) -> None:
    clinic.examine()

    def told(words: str) -> Callable[[], None]:
        def is_told() -> None:
            clinic.real.verify()
            clinic.hurry()
            problems = list_problems(open_journal(clinic.settings), timedelta(0), utc_now(), 5)
            assert [one for one in problems if words in str(one["problem"])], problems

        return is_told

    eventually(told("cannot be reached"), PATIENCE_S, every_s=0.3)
    clinic.archive.start(destinations={"SOMEBODY": 1})
    clinic.archive.store(clinic.file(EARLIER))
    eventually(told("Enter COUNTERPART with this gateway's address and port in the PACS"), PATIENCE_S, every_s=0.3)
    clinic.archive.stop()
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    request = clinic.request(lambda one: one.state == "done")
    assert (request.found, request.fetched) == (1, 1)
    clinic.catalogued(EARLIER)


def test_scanners_own_study_is_read_even_if_the_pacs_was_asked_for_it(clinic: Clinic) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    clinic.archive.store(clinic.file(EARLIER))
    sent = str(clinic.file(EARLIER, 2))
    clinic.examine()
    clinic.request(lambda one: one.state == "done")
    clinic.catalogued(EARLIER)
    words = ["storescu", "-aet", "CT1", "-aec", "COUNTERPART", "127.0.0.1", str(clinic.port), sent]
    subprocess.run(words, check=True, capture_output=True)

    def has_a_case() -> None:
        clinic.real.verify()
        with clinic.real.hub.transaction() as session:
            assert find_case_of(session, SITE, EARLIER) is not None

    eventually(has_a_case, PATIENCE_S, every_s=0.3)


def test_an_earlier_study_that_is_sent_again_to_be_read_gets_its_case(clinic: Clinic) -> None:
    clinic.archive.start(destinations={"COUNTERPART": clinic.port})
    earlier = clinic.file(EARLIER)
    clinic.archive.store(earlier)
    clinic.examine()
    clinic.request(lambda one: one.state == "done")
    clinic.catalogued(EARLIER)

    def is_safe_at_the_hub() -> None:
        clinic.real.verify()
        (row,) = open_journal(clinic.settings).read("SELECT state FROM transfers WHERE study_uid = ?", (EARLIER,))
        assert row["state"] == "confirmed"

    eventually(is_safe_at_the_hub, PATIENCE_S, every_s=0.3)
    words = ["storescu", "-aet", "CT1", "-aec", "COUNTERPART", "127.0.0.1", str(clinic.port), str(earlier)]
    subprocess.run(words, check=True, capture_output=True)

    def has_a_case_that_is_ready() -> None:
        clinic.real.verify()
        with clinic.real.hub.transaction() as session:
            case_id = find_case_of(session, SITE, EARLIER)
            assert case_id is not None
            assert session.get_one(Case, case_id).ready_at is not None

    eventually(has_a_case_that_is_ready, IDLE_MAX_S - 5, every_s=0.3)  # the forwarder was told, and need not look
    eventually(is_safe_at_the_hub, PATIENCE_S, every_s=0.3)
