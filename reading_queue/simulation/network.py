"""The network that is tried out, and how the few who may read a case are found without looking at everybody. Pure.

The way to them: the requesting organisation and those above it, their agreements, the assisting organisations, the
physicians there. `services.routing.routing_facts` goes the same way in the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from reading_queue.domain.routing import AgreementFacts, PhysicianFacts
from reading_queue.domain.single_physician import AgreedTerms

DEPTH_MAX: Final = 8  # organisations above one another


@dataclass(frozen=True, slots=True)
class Hospital:
    """An organisation; `sends` when it has a site."""

    organisation_id: str
    kind: str
    name: str
    parent_id: str | None
    sends: bool
    name_en: str = ""


@dataclass(frozen=True, slots=True)
class RosteredPhysician:
    """A physician with the whole roster: `facts.duty` holds every period, sorted or not."""

    facts: PhysicianFacts
    name: str
    always: bool = False  # on duty around the clock, as a demonstration has it


@dataclass(frozen=True, slots=True)
class TimedAgreement:
    """An agreement with its limits in minutes by lane."""

    facts: AgreementFacts
    time_limits_min: Mapping[str, int]
    single_physician: bool = False  # a plain film may be signed by one


@dataclass(frozen=True)
class Network:
    """Who sends, who reads, and under which agreement."""

    hospitals: Mapping[str, Hospital]
    physicians: Sequence[RosteredPhysician]
    agreements: Sequence[TimedAgreement]
    _requested: dict[str, list[AgreementFacts]] = field(init=False, default_factory=lambda: defaultdict(list))
    _concerning: dict[str, list[AgreementFacts]] = field(init=False, default_factory=dict)
    _assisting: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    _lineages: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    _askers: dict[str, str] = field(init=False, default_factory=dict)
    limits: dict[str, Mapping[str, int]] = field(init=False, default_factory=dict)
    terms: dict[str, AgreedTerms] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for agreement in self.agreements:
            self._requested[agreement.facts.requesting_organisation_id].append(agreement.facts)
            self.limits[agreement.facts.agreement_id] = agreement.time_limits_min
            self.terms[agreement.facts.agreement_id] = AgreedTerms(
                agreement.single_physician, agreement.facts.valid_from, agreement.facts.valid_until
            )

    def lineage(self, organisation_id: str) -> tuple[str, ...]:
        """Return the organisation and those above it, nearest first."""
        if organisation_id not in self._lineages:
            self._lineages[organisation_id] = self._climb(organisation_id)
        return self._lineages[organisation_id]

    def _climb(self, organisation_id: str) -> tuple[str, ...]:
        lineage: list[str] = []
        above: str | None = organisation_id
        while above is not None and above not in lineage and len(lineage) < DEPTH_MAX:
            lineage.append(above)
            above = self.hospitals[above].parent_id
        return tuple(lineage)

    def county_of(self, organisation_id: str) -> str:
        """Return the county hospital above the organisation, or itself when there is none."""
        for one in self.lineage(organisation_id):
            if self.hospitals[one].kind == "county":
                return one
        return organisation_id

    def agreements_of(self, organisation_id: str) -> Sequence[AgreementFacts]:
        """Return the agreements that concern the organisation: its own, and those of the organisations above it."""
        if organisation_id not in self._concerning:
            lineage = self.lineage(organisation_id)
            self._concerning[organisation_id] = [one for above in lineage for one in self._requested.get(above, ())]
        return self._concerning[organisation_id]

    def asking_for(self, organisation_id: str) -> str:
        """Return the nearest of the organisation and those above it that has agreements: whose are the first it has."""
        if organisation_id not in self._askers:
            lineage = self.lineage(organisation_id)
            own = next((one for one in lineage if one in self._requested), organisation_id)
            self._askers[organisation_id] = own
        return self._askers[organisation_id]

    def requested_by(self, organisation_id: str) -> Sequence[AgreementFacts]:
        """Return the agreements that the organisation itself has made as the one who asks."""
        return self._requested.get(organisation_id, ())

    def assisting(self, organisation_id: str) -> tuple[str, ...]:
        """Return the organisations whose physicians may read for this one, at any stage."""
        if organisation_id not in self._assisting:
            concerning = self.agreements_of(organisation_id)
            self._assisting[organisation_id] = tuple(dict.fromkeys(one.assisting_organisation_id for one in concerning))
        return self._assisting[organisation_id]


def periods_within(physician: RosteredPhysician, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return the physician's duty between two moments, sorted, overlapping or adjoining periods made one."""
    joined: list[tuple[datetime, datetime]] = []
    for start, stop in sorted((max(start, begin), min(stop, end)) for start, stop in physician.facts.duty):
        if start >= stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined
