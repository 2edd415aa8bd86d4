"""Patients who came to two sites of the county, and what followed from it."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import select, update

from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.orders import orders
from reading_queue.services.patients import linking
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import Patient, Study
from storage.contract.national_id import check_character
from storage.contract.orders import Order
from storage.contract.wire import OrderBatch
from tests.integration.hub_web.county import FIRST_SITE, SECOND_SITE, County

BORN = date(1958, 4, 12)  # of every patient of the county


def resident_id(serial: int = 17) -> str:
    """Return a number that a woman of this birth date can have."""
    body = f"430105{BORN:%Y%m%d}{serial:02}2"
    return body + check_character(body)


def order(county: County, site: str, study_uid: str, number: str, **said: Any) -> None:
    """Let an order arrive that gives the patient of a study a national ID."""
    now = county.hub.clock()
    fields = {
        "order_id": f"{site.replace('-', '')}{study_uid.replace('.', '')}",
        "version": 1,
        "site_id": site,
        "accession_number": f"N-{study_uid}",
        "study_uid": study_uid,
        "origin": "console",
        "patient_number": f"P{study_uid[-4:]}",
        "patient_name": "赵䶮",
        "identity_kind": "resident",
        "identity_number": number,
        "modality": "CT",
        "procedure_name": "胸部平扫",
        "scheduled_at": now,
        "entered_by": "t1",
        "entered_at": now,
        "changed_at": now,
    }
    batch = OrderBatch(orders=(Order.model_validate(fields | said),))
    assert orders.accept_orders(county.hub, GatewayIdentity(f"gateway-{site}", site), batch).refused == ()


def come_twice(
    county: County, first: str = "1.2.3.1001", second: str = "1.2.3.2002", *, name: str = "赵䶮", **second_said: Any
) -> tuple[str, str]:
    """Let one patient's studies arrive from two sites and have the links looked for; return both cases."""
    said = {"patient": name} | second_said
    cases = (county.arrive(first, patient=name), county.arrive(second, site=SECOND_SITE, **said))
    look(county)
    return cases


def look(county: County) -> None:
    """Have the links of all patients looked for."""
    with county.hub.transaction() as session:
        found = session.scalars(select(Patient.patient_id)).all()
    for patient_id in found:
        linking.link(county.hub, patient_id)


def born(county: County, study_uid: str, birth_date: date) -> None:
    """Let the patient of a study have another birth date."""
    with county.hub.transaction() as session:
        patient_id = session.scalars(select(Study.patient_id).where(Study.study_uid == study_uid)).one()
        session.execute(update(Patient).where(Patient.patient_id == patient_id).values(birth_date=birth_date))
        session.execute(update(Study).where(Study.study_uid == study_uid).values(patient_birth_date=birth_date))


def only_link(county: County) -> PatientLink:
    with county.hub.transaction() as session:
        return session.scalars(select(PatientLink)).one()


__all__ = ["FIRST_SITE", "SECOND_SITE", "born", "come_twice", "look", "only_link", "order", "resident_id"]
