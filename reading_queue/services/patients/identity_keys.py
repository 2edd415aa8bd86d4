"""By which keys patient records of different sites are found: HMACs of national IDs and of name, birth date and sex.

The numbers themselves are read where they stand already (orders, headers in object storage) and are kept nowhere else.
The HMAC's key comes from the hub's key file: with another key file every key is another one (`forget_keys`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, delete, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.services.patients.link_asking import ask_for_all
from storage.catalogue.amendment_tables import Refiling
from storage.catalogue.header_facts import patient_ids_of
from storage.catalogue.link_tables import StudyIdentity
from storage.catalogue.tables import UNKNOWN_SEXES, Pack, Patient, Study
from storage.contract.national_id import (
    IdentityKind,
    NationalIdProblem,
    ResidentId,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import Order, OrderState
from storage.objects.protocol import ObjectMissing

PURPOSE: Final = "patient links"
HEAD_BYTES: Final = 256 * 1024  # of the prepared headers of a pack: the first instance's are shorter, nearly always
STUDIES_AT_ONCE: Final = 20  # whose headers one job reads
ORDERS_MAX: Final = 200  # of one patient record
_PARSERS: Final = {
    IdentityKind.RESIDENT: parse_resident_id,
    IdentityKind.OLD_RESIDENT: parse_old_resident_id,
}


@dataclass(frozen=True, slots=True)
class Unread:
    """A study whose headers were not looked at yet, and where they lie; who it says the patient is."""

    study_id: str
    headers_key: str
    birth_date: date | None
    sex: str


def load_unread(session: Session, patient: Patient) -> Sequence[Unread]:
    """Return studies of the record whose headers were not read for national IDs, at most STUDIES_AT_ONCE."""
    first_pack = select(Pack.headers_key).where(Pack.study_id == Study.study_id).order_by(Pack.number).limit(1)
    unread = (
        select(Study, first_pack.correlate(Study).scalar_subquery().label("headers_key"))
        .outerjoin(StudyIdentity, StudyIdentity.study_id == Study.study_id)
        .where(Study.patient_id == patient.patient_id, StudyIdentity.study_id.is_(None))
        .order_by(Study.study_id)
        .limit(STUDIES_AT_ONCE)
    )
    return [
        Unread(
            study.study_id,
            headers_key or "",
            study.patient_birth_date or patient.birth_date,
            patient.sex if study.patient_sex in UNKNOWN_SEXES else study.patient_sex,
        )
        for study, headers_key in session.execute(unread)
    ]


def read_identity(hub: Hub, study: Unread) -> dict[str, bool]:
    """Return the keys of the national IDs in a study's headers, and whether each number fits the study.

    Raises:
        StoreUnavailable: try again later.
    """
    today = hub.clock().date() + timedelta(days=1)  # birth dates have no time zone
    found = {}
    for text in patient_ids_of(_first_header(hub, study.headers_key)):
        try:
            number = parse_resident_id(text, today=today)
        except NationalIdProblem:
            continue
        found[national_id_key(hub, number)] = _fits(number, study.birth_date, study.sex)
    return found


def note_identities(session: Session, found: Mapping[str, Mapping[str, bool]]) -> None:
    """Keep what was read, by study; a study that is gone meanwhile is left out."""
    rows = [{"study_id": study_id, "id_keys": dict(keys)} for study_id, keys in sorted(found.items())]
    there = set(session.scalars(select(Study.study_id).where(Study.study_id.in_(found))))
    rows = [row for row in rows if row["study_id"] in there]
    if rows:
        session.execute(insert(StudyIdentity).values(rows).on_conflict_do_nothing())


def load_identity(session: Session, hub: Hub, patient: Patient) -> dict[str, bool]:
    """Return the keys of all national IDs of a record, from its studies and orders, and whether each is proved."""
    known: dict[str, bool] = {}
    of_studies = (
        select(StudyIdentity.id_keys)
        .join(Study, Study.study_id == StudyIdentity.study_id)
        .outerjoin(Refiling, Refiling.study_id == Study.study_id)  # headers of a moved study are another person's
        .where(Study.patient_id == patient.patient_id, Refiling.filed_under_id.is_(None))
    )
    for keys in session.scalars(of_studies):
        for key, fits in keys.items():
            known[key] = known.get(key, True) and bool(fits)
    for number in _numbers_of_orders(session, patient):
        key = national_id_key(hub, number)
        known[key] = known.get(key, True) and _fits(number, patient.birth_date, patient.sex)
    return known


def national_id_key(hub: Hub, number: ResidentId) -> str:
    """Return the key of a national ID: 64 hexadecimal digits."""
    return _key(hub, f"national_id:{number.number}")


def person_key(hub: Hub, text: str) -> str:
    """Return the key of a text of `storage.catalogue.linking.person_keys`."""
    return _key(hub, f"person:{text}")


def forget_keys(session: Session, now: datetime) -> int:
    """Have the keys of all records computed anew, from headers and orders; return of how many records."""
    session.execute(delete(StudyIdentity))
    return ask_for_all(session, now)


def _key(hub: Hub, text: str) -> str:
    return hmac.new(hub.keys.derive(PURPOSE), text.encode(), hashlib.sha256).hexdigest()


def _fits(number: ResidentId, birth_date: date | None, sex: str) -> bool:
    return (number.birth_date, number.sex) == (birth_date, sex)


def _first_header(hub: Hub, headers_key: str) -> dict[str, Any]:
    """Return the headers of the first instance of a pack (DICOM JSON); nothing when they are not there."""
    if not headers_key:
        return {}
    try:
        size_bytes = hub.objects.stat(headers_key).size_bytes
        data = hub.objects.read(headers_key, offset=0, length=min(size_bytes, HEAD_BYTES))
        try:
            first, _ = json.JSONDecoder().raw_decode(data.decode(errors="ignore"), 1)
        except ValueError:  # longer than that
            first = json.loads(hub.objects.read(headers_key))[0]
    except (ObjectMissing, ValueError, LookupError):
        return {}
    return first if isinstance(first, dict) else {}


def _numbers_of_orders(session: Session, patient: Patient) -> Iterable[ResidentId]:
    """Yield the national IDs on the record's orders; a newborn's is the mother's and is none of its own."""
    its_orders = (
        select(ClinicOrder.content)
        .where(
            ClinicOrder.site_id == patient.site_id,
            _number_of_order() == patient.patient_number,
            ClinicOrder.state != OrderState.CANCELLED,
        )
        .order_by(ClinicOrder.change_number.desc())
        .limit(ORDERS_MAX)
    )
    for content in session.scalars(its_orders):
        order = Order.model_validate(content)
        parse = _PARSERS.get(order.identity_kind)
        if parse is not None:
            yield parse(order.identity_number, today=order.entered_at.date() + timedelta(days=1))


def _number_of_order() -> ColumnElement[str]:
    """Return the patient's number of a row's order, written as its index has it."""
    return ClinicOrder.content.op("->>", return_type=Text())(literal_column("'patient_number'"))
