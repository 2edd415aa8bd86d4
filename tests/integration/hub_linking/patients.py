"""What clinics say of their patients, the jobs that follow done at once, and the links that came of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import select

from reading_queue.domain.roles import Role
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.orders import orders
from reading_queue.services.patients import linking
from reading_queue.services.patients.link_asking import LINK_JOB
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import Patient
from storage.contract.identifiers import Uid
from storage.contract.manifest import Purpose
from storage.contract.national_id import check_character
from storage.contract.orders import Order
from storage.contract.wire import OrderBatch
from storage.ledger.tables import OutboxMessage
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import make_instance
from tests.integration.hub_keeping.keeping import Sender

_numbers = itertools.count(1)


def resident_id(birth_date: date = date(1980, 2, 29), sex: str = "F", serial: int = 17) -> str:
    """Return a number that can be right (GB 11643-1999)."""
    body = f"430105{birth_date:%Y%m%d}{serial:02}{1 if sex == 'M' else 2}"
    return body + check_character(body)


@dataclass
class Clinic:
    """One site: its scanner sends, its console orders. The patient is 王^芳, born 1980-02-29, unless said otherwise."""

    gateway: GatewayStandIn
    hub: Hub
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = Sender(self.gateway, self.hub)

    def study(self, *, link: bool = True, purpose: Purpose = "read", **header: Any) -> Uid:
        """Let a study of one image arrive; return its UID."""
        study = Uid(f"1.2.826.0.1.3680043.8.498.5.{next(_numbers)}")
        header = {"AccessionNumber": ""} | header
        self.sender.send([make_instance(1, self.hub.clock(), study=study, **header)], study=study, purpose=purpose)
        if link:
            run_links(self.hub)
        return study

    def order(self, *, link: bool = True, **said: Any) -> str:
        """Let an order arrive that says this; return its id."""
        number, now = next(_numbers), self.hub.clock()
        order_id = f"{self.gateway.site_id}{number:08}"
        fields = {
            "order_id": order_id,
            "version": 1,
            "site_id": self.gateway.site_id,
            "accession_number": f"N-{number}",
            "study_uid": f"2.25.{number}",
            "origin": "console",
            "patient_number": "P-0001",
            "patient_name": "王芳",
            "modality": "CT",
            "procedure_name": "胸部平扫",
            "scheduled_at": now,
            "entered_by": "t1",
            "entered_at": now,
            "changed_at": now,
        }
        order = Order.model_validate(fields | said)
        identity = GatewayIdentity(gateway_id=self.gateway.gateway_id, site_id=self.gateway.site_id)
        assert orders.accept_orders(self.hub, identity, OrderBatch(orders=(order,))).refused == ()
        if link:
            run_links(self.hub)
        return order_id

    def coordinator(self) -> Viewer:
        """Return a coordinator of this site alone."""
        return person(self.hub, f"{self.gateway.site_id}-01")


def person(hub: Hub, organisation_id: str, role: Role = Role.COORDINATOR, name: str = "li") -> Viewer:
    """Return somebody of an organisation."""
    return Viewer(name, name, name, role, organisation_id, None, None, "en", hub.clock())


def run_links(hub: Hub) -> int:
    """Do all linking that the outbox asks for; return how many jobs that were."""
    count = 0
    waiting = select(OutboxMessage).where(OutboxMessage.job == LINK_JOB, OutboxMessage.published_at.is_(None))
    while True:
        with hub.transaction() as session:
            jobs = session.scalars(waiting).all()
            for job in jobs:
                job.published_at = hub.clock()
        for job in jobs:
            linking.link(hub, job.arguments["patient_id"])
        if not jobs:
            return count
        count += len(jobs)


def links_of(hub: Hub) -> list[PatientLink]:
    with hub.transaction() as session:
        return list(session.scalars(select(PatientLink).order_by(PatientLink.site_a, PatientLink.link_id)))


def states_of(hub: Hub) -> list[str]:
    return sorted(link.state for link in links_of(hub))


def record_of(hub: Hub, site_id: str, number: str = "P-0001") -> Patient:
    with hub.transaction() as session:
        of_number = (Patient.site_id == site_id) & (Patient.patient_number == number)
        return session.scalars(select(Patient).where(of_number)).one()
