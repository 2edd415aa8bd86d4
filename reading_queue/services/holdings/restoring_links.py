"""Links that persons decided, on their way from object storage into a new catalogue; repeating it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.services.hub import Hub
from reading_queue.services.patients.link_asking import ask_for_all
from storage.catalogue.link_records import LINKS, LinkRecord, RecordName, parse_link
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.pack_records import RecordUnreadable
from storage.catalogue.tables import Patient


def restore_links(hub: Hub) -> Iterator[tuple[str, str]]:
    """Take in every decided link, and ask for those that follow from facts; yield key and reason of what cannot be.

    What follows from facts is looked for once the hub's roles run.
    """
    for key in hub.objects.list_keys(LINKS):
        try:
            record = parse_link(key, hub.objects.read(key))
        except RecordUnreadable:
            yield key, "this is no link, or it belongs elsewhere"
            continue
        with hub.transaction() as session:
            if not _restore(session, record):
                yield key, "the catalogue does not have both of the patient records that it is about"
    with hub.transaction() as session:
        ask_for_all(session, hub.clock())


def _restore(session: Session, record: LinkRecord) -> bool:
    one, other = _find(session, record.patient_a), _find(session, record.patient_b)
    if one is None or other is None:
        return False
    row = {
        "link_id": record.link_id,
        "patient_a": one,
        "patient_b": other,
        "site_a": record.patient_a.site_id,
        "site_b": record.patient_b.site_id,
        "state": record.state,
        "is_by_person": True,
        "comparison": {},
        "decisions": [decision.model_dump(mode="json") for decision in record.decisions],
        "changed_at": record.changed_at,
        "is_recorded": True,
        "version": 1,
    }
    known = insert(PatientLink).values(row)
    decided = {name: value for name, value in row.items() if name not in ("patient_a", "patient_b", "comparison")}
    session.execute(known.on_conflict_do_update(index_elements=["patient_a", "patient_b"], set_=decided))
    return True


def _find(session: Session, name: RecordName) -> str | None:
    of_name = (Patient.site_id == name.site_id) & (Patient.patient_number == name.patient_number)
    return session.scalar(select(Patient.patient_id).where(of_name))
