"""How long images must be kept, and whether they may be deleted. Pure.

The legal minimum counts from the patient's last visit (医疗机构病历管理规定 section 29: outpatient and emergency
records 15 years, inpatient records 30). What is not known to be an outpatient's is kept as long as an inpatient's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final


class RetentionClass(StrEnum):
    """How the patient came, as far as it decides how long images are kept."""

    OUTPATIENT = "outpatient"
    EMERGENCY = "emergency"
    INPATIENT = "inpatient"
    UNKNOWN = "unknown"


LEGAL_MINIMUM_YEARS: Final = {
    RetentionClass.OUTPATIENT: 15,
    RetentionClass.EMERGENCY: 15,
    RetentionClass.INPATIENT: 30,
    RetentionClass.UNKNOWN: 30,
}
_OF_VISIT: Final = {
    "O": RetentionClass.OUTPATIENT,
    "E": RetentionClass.EMERGENCY,
    "I": RetentionClass.INPATIENT,
}


class WhyKept(StrEnum):
    """Why a study may not be deleted."""

    HELD = "held"
    BEING_READ = "being_read"
    NOT_DUE = "not_due"


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides about one study: how the patient came, by its orders; when they last came; who needs it still."""

    visit_kinds: frozenset[str]  # HL7 table 0004
    last_visit: date
    is_held: bool
    is_being_read: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """For how many years images are kept; never shorter than the law demands. Raises ValueError when they are."""

    outpatient_years: int = LEGAL_MINIMUM_YEARS[RetentionClass.OUTPATIENT]  # emergencies too
    inpatient_years: int = LEGAL_MINIMUM_YEARS[RetentionClass.INPATIENT]  # and whatever is not known

    def __post_init__(self) -> None:
        for one in RetentionClass:
            if self.years_of(one) < LEGAL_MINIMUM_YEARS[one]:
                raise ValueError(f"{one} records must be kept for {LEGAL_MINIMUM_YEARS[one]} years at least")

    def years_of(self, one: RetentionClass) -> int:
        """Return for how many years after the last visit images of this class are kept."""
        is_short = one in (RetentionClass.OUTPATIENT, RetentionClass.EMERGENCY)
        return self.outpatient_years if is_short else self.inpatient_years


def class_of(visit_kinds: Collection[str]) -> RetentionClass:
    """Return the class that is kept longest of those that a study's orders name."""
    classes = [_OF_VISIT.get(kind, RetentionClass.UNKNOWN) for kind in visit_kinds] or [RetentionClass.UNKNOWN]
    return max(classes, key=lambda one: (LEGAL_MINIMUM_YEARS[one], one))


def keep_until(facts: Facts, rules: Rules) -> date:
    """Return the first day on which a study may be deleted."""
    years = rules.years_of(class_of(facts.visit_kinds))
    day = facts.last_visit
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # the 29th of February
        return day.replace(year=day.year + years, month=3, day=1)


def find_obstacle(facts: Facts, today: date, rules: Rules) -> WhyKept | None:
    """Return why the study may not be deleted today, None when it may."""
    if facts.is_held:
        return WhyKept.HELD
    if facts.is_being_read:
        return WhyKept.BEING_READ
    return WhyKept.NOT_DUE if today < keep_until(facts, rules) else None
