"""Studies of several patients, the notes that reject them, and the people who correct."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import date

import pydicom
from sqlalchemy import select

from reading_queue.documents.rejection_note import build_rejection_note
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.corrections.amending import record_amendments
from reading_queue.services.holdings.rebuilding import Rebuilt, rebuild
from reading_queue.services.hub import Hub
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.snapshot import differences
from storage.catalogue.tables import Instance as InstanceRow
from storage.catalogue.tables import Patient, Series, Study
from storage.contract.identifiers import Uid
from storage.dicom.document_parts import EvidenceInstance
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import Instance, instance_of
from tests.integration.hub_keeping.keeping import Sender, lines_of, sweep
from tests.support.clock import SteerableClock

WHY = "wrong entry chosen at the console"
FANG = {"PatientID": "P-0001", "PatientName": "王^芳", "PatientBirthDate": "19800229", "PatientSex": "F"}
NA = {"PatientID": "P-0002", "PatientName": "李^娜", "PatientBirthDate": "19751103", "PatientSex": "F"}
QIANG = {"PatientID": "P-0003", "PatientName": "赵^强", "PatientBirthDate": "19630715", "PatientSex": "M"}


def study_uid(number: int) -> Uid:
    """Return the UID of a study."""
    return Uid(f"1.2.826.0.1.3680043.8.498.5.{number}")


@dataclass
class World:
    """A hub, its gateway and a coordinator."""

    hub: Hub
    gateway: GatewayStandIn
    clock: SteerableClock
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = Sender(self.gateway, self.hub)

    @property
    def coordinator(self) -> Viewer:
        """One who oversees the site and has just typed their password."""
        return person(self.hub)

    def arrive(self, number: int, patient: dict[str, str], slices: range = range(1, 4)) -> Uid:
        """Let slices of a study arrive whole, under their own headers."""
        study = study_uid(number)
        self.clock.advance(30)
        self.sender.send(self.sender.slices(slices, study, **patient), study=study)
        return study

    def note(self, study: Uid, code: str, uids: list[str], *, number: int = 1) -> Instance:
        """Return a rejection note as the site makes it, of these instances."""
        series = f"{study}.2"
        named = [EvidenceInstance(study, series, "1.2.840.10008.5.1.4.1.1.2", uid) for uid in uids]
        file = build_rejection_note(
            PatientFacts("P-0001", "王^芳", date(1980, 2, 29), "F"),
            named,
            rejection=code,
            reason="moved while scanned",
            sop_instance_uid=Uid(f"{study}.77.{number}"),
            series_uid=Uid(f"{study}.78"),
            created_at=self.hub.clock(),
        )
        return instance_of(file, pydicom.dcmread(io.BytesIO(file)), self.hub.clock())

    def send_note(self, study: Uid, code: str, uids: list[str], *, number: int = 1) -> str:
        """Let a rejection note arrive from the site's gateway; return its UID."""
        note = self.note(study, code, uids, number=number)
        self.sender.send([note], study=study)
        return note.entry.sop_instance_uid

    def study(self, study: str) -> Study:
        """Return a study's row."""
        with self.hub.transaction() as session:
            return session.scalars(select(Study).where(Study.study_uid == study, Study.site_id == SITE)).one()

    def shown(self, study: str) -> tuple[str, str, str, str]:
        """Return with whom a study is shown: number, name, birth date, sex."""
        with self.hub.transaction() as session:
            row, number = session.execute(
                select(Study, Patient.patient_number)
                .join(Patient, Patient.patient_id == Study.patient_id)
                .where(Study.study_uid == study, Study.site_id == SITE)
            ).one()
        return number, row.patient_name, f"{row.patient_birth_date:%Y%m%d}", row.patient_sex

    def patient(self, number: str) -> Patient:
        """Return a patient's record."""
        with self.hub.transaction() as session:
            return session.scalars(select(Patient).where(Patient.patient_number == number)).one()

    def rejections(self, study: str) -> dict[str, str]:
        """Return the codes of the rejected instances of a study by UID."""
        query = select(InstanceRow.sop_instance_uid, InstanceRow.rejection).join(
            Series, Series.series_id == InstanceRow.series_id
        )
        query = query.join(Study, Study.study_id == Series.study_id).where(Study.study_uid == study)
        with self.hub.transaction() as session:
            return dict(session.execute(query.where(InstanceRow.rejection.is_not(None))).all())

    def settle(self) -> None:
        """Write all that the scheduler writes into object storage."""
        sweep(self.hub)
        while record_amendments(self.hub):
            pass


def facts(patient: dict[str, str]) -> tuple[str, str, str, str]:
    """Return a patient as `World.shown` does."""
    return patient["PatientID"], patient["PatientName"], patient["PatientBirthDate"], patient["PatientSex"]


def person(hub: Hub, name: str = "one", role: Role = Role.COORDINATOR, site_id: str = SITE) -> Viewer:
    """Return somebody of the site's organisation."""
    return Viewer(name, name, name, role, f"{site_id}-01", site_id, None, "en", hub.clock())


def rebuilt_differs(hub: Hub, other: Hub) -> tuple[Rebuilt, list[tuple[str, tuple[str, ...]]]]:
    """Rebuild into the other, empty database; return how that went, and every line in which the two differ."""
    done = rebuild(other)
    return done, list(differences(iter(lines_of(hub)), iter(lines_of(other))))
