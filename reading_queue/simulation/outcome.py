"""What a run gave, counted: by lane, county, agreement, organisation and physician, and what gaps in the roster cost.

Everything here is plain data that JSON can hold; words and tables are the command's. A case is judged when it was
signed or its limit has passed; what is still open within its limit at the end of the run is neither met nor missed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reading_queue.domain.consults import CONSULT_ENDS
from reading_queue.domain.information import Outcome as HoldOutcome
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import CaseState
from reading_queue.simulation.consulting import Consults
from reading_queue.simulation.gaps import Gap, find_gaps
from reading_queue.simulation.holding import SimulatedHold
from reading_queue.simulation.life import Reader, SimulatedCase, Wait
from reading_queue.simulation.network import Network
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel

DAY_S = 86400.0
READ, VERIFY = Phase.INTERPRETATION, Phase.VERIFICATION


@dataclass(frozen=True)
class Outcome:
    """The cases, physicians and waits of a run, as they were at its end."""

    network: Network
    begin: datetime
    days: int
    cases: Sequence[SimulatedCase]
    readers: Mapping[str, Reader]
    waits: Sequence[Wait]
    rankings: int
    consults: Consults
    holds: Sequence[SimulatedHold] = ()

    @property
    def end_s(self) -> float:
        """How long the run was."""
        return self.days * DAY_S

    def summary(self) -> dict[str, Any]:
        """Return everything that is told of the run; the same run gives the same."""
        county = {one: self.network.county_of(one) for one, at in self.network.hospitals.items() if at.sends}
        return {
            "begin": self.begin.isoformat(),
            "days": self.days,
            "sites": len(county),
            "physicians": len(self.readers),
            "always_on_duty": sum(reader.rostered.always for reader in self.readers.values()),
            "rankings": self.rankings,
            "all": self._served(self.cases),
            "lanes": self._by(lambda case: case.study.lane.value, [lane.value for lane in Lane]),
            "green_channels": self._green_channels(),
            "counties": self._by(lambda case: county[case.study.organisation_id]),
            "by_site": self._by(lambda case: case.study.organisation_id),
            "agreements": self._by(lambda case: (case.agreement_id or "").partition(":")[0] or "-"),
            "escalations": self._escalations(),
            "unroutable": self._unroutable(),
            "late_because": self._late_because(),
            "signed_alone": sum(case.signed_alone for case in self.cases),
            "consults": self._consults(),
            "site_questions": self._site_questions(),
            "gaps": self._gaps(county),
            "organisations": self._organisations(),
            "people": [self._person(reader) for reader in self.readers.values()],
        }

    def _by(self, key: Callable[[SimulatedCase], str], order: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
        groups: dict[str, list[SimulatedCase]] = {one: [] for one in order}
        for case in self.cases:
            groups.setdefault(key(case), []).append(case)
        return {name: self._served(group) for name, group in groups.items() if group}

    def _green_channels(self) -> dict[str, dict[str, Any]]:
        of_channels = [case for case in self.cases if case.study.green_channel is not None]
        groups = {
            channel.value: [one for one in of_channels if one.study.green_channel is channel]
            for channel in GreenChannel
        }
        return {channel: self._served(group) for channel, group in groups.items() if group}

    def _served(self, cases: Sequence[SimulatedCase]) -> dict[str, Any]:
        """Return how these cases were served; waits are in minutes from the start of the examination."""
        signed = [case for case in cases if case.signed_s is not None]
        met = sum(self.is_met(case) for case in cases)
        late = sum(self.is_late(case) for case in cases)
        return {
            "cases": len(cases),
            "signed": len(signed),
            "open": len(cases) - len(signed),
            "met": met,
            "late": late,
            "share_met": round(met / (met + late), 4) if met + late else None,
            "to_claim_min": _percentiles([case.claimed_s - case.study.exam_s for case in cases if case.claimed_s]),
            "to_signature_min": _percentiles([case.signed_s - case.study.exam_s for case in signed if case.signed_s]),
        }

    def is_met(self, case: SimulatedCase) -> bool:
        """Return whether the report was signed within its limit."""
        return case.signed_s is not None and case.signed_s <= case.due_s

    def is_late(self, case: SimulatedCase) -> bool:
        """Return whether the limit passed without a signed report."""
        return not self.is_met(case) and case.due_s < self.end_s

    def states(self) -> dict[CaseState, int]:
        """Return how many cases ended in each state."""
        return dict(Counter(case.state for case in self.cases))

    def _escalations(self) -> dict[str, dict[str, int]]:
        """Return by lane how many cases were offered up to each stage, asked wider, and told the duty director.

        The hub tells at once of a green channel and when nobody can be asked, and when the limit has passed.
        """
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        unroutable = {wait.case.number for wait in self.waits}
        for case in self.cases:
            of_lane = counted[case.study.lane.value]
            if case.stage_reached:
                of_lane[str(case.stage_reached)] += 1
            of_lane.update(step.value for step in case.steps_reached)
            late, nobody = self.is_late(case), case.number in unroutable
            of_lane["breached"] += late
            of_lane["unroutable"] += nobody
            of_lane["director"] += late or nobody or case.study.green_channel is not None
        return {lane.value: dict(sorted(counted[lane.value].items())) for lane in Lane if lane.value in counted}

    def _late_because(self) -> dict[str, int]:
        """Return of the late cases what took the longest part of their way."""
        waited: dict[tuple[int, Phase], float] = defaultdict(float)
        for wait in self.waits:
            waited[wait.case.number, wait.phase] += self._length_s(wait)
        longest = Counter(self._longest_part(case, waited) for case in self.cases if self.is_late(case))
        return dict(longest.most_common())

    def _longest_part(self, case: SimulatedCase, waited: Mapping[tuple[int, Phase], float]) -> str:
        study, end_s = case.study, self.end_s
        claimed_s = end_s if case.claimed_s is None else case.claimed_s
        submitted_s = end_s if case.submitted_s is None else case.submitted_s
        signed_s = end_s if case.signed_s is None else case.signed_s
        ready_s = min(study.exam_s + study.ready_after_s, claimed_s)
        nobody_s, no_verifier_s = (waited.get((case.number, one), 0.0) for one in (READ, VERIFY))
        again_s = study.site_answers_after_s if case.came_back else 0.0
        parts = {
            "images": ready_s - study.exam_s + again_s,
            "nobody_to_read": nobody_s,
            "not_taken": claimed_s - ready_s - nobody_s,
            "reading": submitted_s - claimed_s - again_s,
            "nobody_to_verify": no_verifier_s,
            "not_verified": signed_s - submitted_s - no_verifier_s,
        }
        return max(parts, key=lambda part: parts[part])

    def _unroutable(self) -> dict[str, Any]:
        """Return how often nobody could be asked, and how often each reason stood among why."""
        reasons: dict[str, Counter[str]] = {phase.value: Counter() for phase in Phase}
        for wait in self.waits:
            reasons[wait.phase.value].update(wait.reasons)
        return {
            "cases": len({wait.case.number for wait in self.waits}),
            "waits": len(self.waits),
            "still_waiting": sum(wait.end_s is None for wait in self.waits),
            "hours": round(sum(self._length_s(wait) for wait in self.waits) / 3600, 1),
            "without_agreement": len({wait.case.number for wait in self.waits if not wait.reasons}),
            "exclusions": {phase: dict(counts.most_common()) for phase, counts in reasons.items() if counts},
        }

    def _consults(self) -> dict[str, Any]:
        """Return how many opinions were asked up the line, how they ended, and how long their readers waited."""
        ended = Counter(consult.state.value for consult in self.consults.all)
        waited = [one.ended_s - one.asked_s for one in self.consults.all if one.ended_s is not None]
        return {
            "asked": len(self.consults.all),
            **{state.value: ended[state] for state in sorted(CONSULT_ENDS)},
            "open": sum(consult.ended_s is None for consult in self.consults.all),
            "without_hospital": self.consults.without_hospital,
            "wait_min": _percentiles(waited),
        }

    def _site_questions(self) -> dict[str, Any]:
        """Return how many questions readers asked sites, how they ended, and how long their cases were on hold."""
        ended = Counter(hold.outcome for hold in self.holds)
        return {
            "asked": len(self.holds),
            "answered": ended[HoldOutcome.ANSWERED],
            "left": ended[HoldOutcome.LEFT],
            "open": ended[None],
            "wait_min": _percentiles([one.ended_s - one.asked_s for one in self.holds if one.ended_s is not None]),
        }

    def _length_s(self, wait: Wait) -> float:
        return (self.end_s if wait.end_s is None else wait.end_s) - wait.begin_s

    def _gaps(self, county: Mapping[str, str]) -> list[dict[str, Any]]:
        waits: dict[str, list[Wait]] = defaultdict(list)
        for wait in self.waits:
            waits[county[wait.case.study.organisation_id]].append(wait)
        return [self._cost(gap, waits[gap.county_id]) for gap in find_gaps(self.network, self.begin, self.days)]

    def _cost(self, gap: Gap, waits: Sequence[Wait]) -> dict[str, Any]:
        """Return the gap with what waited in it: cases, their waiting in hours, and how many of them came too late."""
        touched: dict[int, SimulatedCase] = {}
        waited_s = 0.0
        for wait in waits:
            if wait.phase is not gap.phase or not gap.holds(wait.begin_s):
                continue
            touched[wait.case.number] = wait.case
            waited_s += self._length_s(wait)
        return {
            "county": gap.county_id,
            "sites": gap.sites,
            "phase": gap.phase.value,
            "from": gap.from_local,
            "until": gap.until_local,
            "times": len(gap.spans_s),
            "hours": round(sum(end - begin for begin, end in gap.spans_s) / 3600, 1),
            "cases": len(touched),
            "waited_h": round(waited_s / 3600, 1),
            "late": sum(self.is_late(case) for case in touched.values()),
        }

    def _organisations(self) -> dict[str, dict[str, Any]]:
        groups: dict[str, list[Reader]] = defaultdict(list)
        for reader in self.readers.values():
            groups[reader.facts.organisation_id].append(reader)
        return {organisation: {"physicians": len(group)} | _worked(group) for organisation, group in groups.items()}

    def _person(self, reader: Reader) -> dict[str, Any]:
        facts = reader.facts
        return {
            "physician": facts.physician_id,
            "name": reader.rostered.name,
            "organisation": facts.organisation_id,
            "title": facts.title.value,
        } | _worked([reader])


def _worked(readers: Sequence[Reader]) -> dict[str, Any]:
    duty_s = sum(reader.duty_s for reader in readers)
    busy_s = sum(reader.busy_s for reader in readers)
    return {
        "interpreted": sum(reader.interpreted for reader in readers),
        "verified": sum(reader.verified for reader in readers),
        "consulted": sum(reader.consulted for reader in readers),
        "declined": sum(reader.declined for reader in readers),
        "given_back": sum(reader.given_back for reader in readers),
        "lapsed": sum(reader.lapsed for reader in readers),
        "rvu": round(sum(reader.facts.workload_points for reader in readers) / 100, 1),
        "duty_h": round(duty_s / 3600, 1),
        "busy_h": round(busy_s / 3600, 1),
        "idle_h": round((duty_s - busy_s) / 3600, 1),
        "utilisation": round(busy_s / duty_s, 4) if duty_s else None,
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return p50, p90 and p99 in minutes, by the nearest rank."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        f"p{percent}": round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 60, 1)
        for percent in (50, 90, 99)
    }
