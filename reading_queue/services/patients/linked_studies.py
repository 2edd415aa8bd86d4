"""When a study of another site is of the same person, by a link: conditions for queries.

A link is asked at every look, and nothing is copied: one that is undone gives nothing any more from that moment on.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import ColumnElement, Subquery, and_, exists, or_, select, union_all
from sqlalchemy.orm import aliased

from reading_queue.domain.links import LinkState
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import UNKNOWN_SEXES, Patient, Study

# Made once: an alias costs more than all conditions that are built with it, and each search builds some.
_RECORD: Final = aliased(Patient, name="record")


@cache
def links_in_force() -> Subquery:
    """Return every link in force from both sides: `own_id`, `other_id`, `is_by_person`."""
    both = (
        select(own.label("own_id"), other.label("other_id"), PatientLink.is_by_person).where(
            PatientLink.state == LinkState.LINKED
        )
        for own, other in (
            (PatientLink.patient_a, PatientLink.patient_b),
            (PatientLink.patient_b, PatientLink.patient_a),
        )
    )
    return union_all(*both).subquery("links_in_force")


def is_linked(own: type[Study], other: type[Study], links: Subquery) -> ColumnElement[bool]:
    """Return the condition that a row of `links` makes two studies of different sites one person's.

    Each study must speak of its own record's person. A link that follows from facts holds for no disputed record.
    """
    return and_(
        links.c.own_id == own.patient_id,
        links.c.other_id == other.patient_id,
        _is_of_record(own, links.c.is_by_person),
        _is_of_record(other, links.c.is_by_person),
    )


def _is_of_record(study: type[Study], disputed_counts: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether the study is surely of its record's person.

    In a disputed record, it must say the record's birth date and sex; `disputed_counts`: whether that is enough.
    """
    record = _RECORD  # each EXISTS has its own
    says_the_same = and_(
        disputed_counts,
        study.patient_birth_date == record.birth_date,
        study.patient_sex == record.sex,
        record.sex.not_in(UNKNOWN_SEXES),
    )
    return exists().where(record.patient_id == study.patient_id, or_(record.contradicted_at.is_(None), says_the_same))
