"""Second opinions up the line: who is asked about which case, by the table of `domain.consults`. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from reading_queue.domain.consults import (
    CONSULT_ENDS,
    CONSULTANT_TITLES,
    ConsultActor,
    ConsultEvent,
    apply_to_consult,
    covers,
)
from reading_queue.simulation.life import Reader, SimulatedConsult, SimulatedTask
from reading_queue.simulation.network import Network
from reading_queue.simulation.rules import Rules
from reading_queue.simulation.timeline import Timeline


class Consults:
    """The consultations of a run; a case has one at most, as long as its reader holds it."""

    def __init__(self, network: Network, timeline: Timeline, rules: Rules) -> None:
        self.all: list[SimulatedConsult] = []
        self.without_hospital = 0  # of the readers who wanted to ask, those whom no agreement lets
        self._network, self._timeline, self._rules = network, timeline, rules
        self._asked: dict[str, dict[SimulatedConsult, None]] = defaultdict(dict)

    def ask(self, reader: Reader, task: SimulatedTask) -> SimulatedConsult | None:
        """Ask the first hospital that may be asked, as `services.reading.consults` offers it; None without one."""
        case = task.case
        case.consulted = True
        hospital = self._hospital(reader, task, self._timeline.today())
        if hospital is None:
            self.without_hospital += 1
            return None
        due_s = self._timeline.now_s + self._rules.consult_limit_min[case.study.lane] * 60
        consult = SimulatedConsult(task, reader, hospital, self._timeline.now_s, due_s)
        self.all.append(consult)
        self._asked[hospital][consult] = None
        reader.asking[consult] = None
        return consult

    def first_for(self, reader: Reader) -> SimulatedConsult | None:
        """Return the most urgent question that this physician may take, if they may take any."""
        if reader.facts.title not in CONSULTANT_TITLES:
            return None
        asked = [
            consult
            for hospital in reader.facts.hospitals
            for consult in self._asked.get(hospital, ())
            if consult.asker is not reader
        ]
        return min(asked, key=lambda one: one.task.case.urgency, default=None)

    def accept(self, consult: SimulatedConsult) -> None:
        """Let one physician of the hospital have taken it."""
        consult.state = apply_to_consult(consult.state, ConsultEvent.ACCEPT, ConsultActor.CONSULTANT)
        del self._asked[consult.hospital_id][consult]

    def end(self, consult: SimulatedConsult, event: ConsultEvent, actor: ConsultActor) -> bool:
        """End it; return whether it was open until now."""
        if consult.state in CONSULT_ENDS:
            return False
        consult.state = apply_to_consult(consult.state, event, actor)
        consult.ended_s = self._timeline.now_s
        self._asked[consult.hospital_id].pop(consult, None)
        del consult.asker.asking[consult]
        return True

    def _hospital(self, reader: Reader, task: SimulatedTask, today: date) -> str | None:
        own = reader.facts.organisation_id
        asking: Iterable[str] = dict.fromkeys(
            (*self._network.lineage(own), *self._network.lineage(task.case.study.organisation_id))
        )
        agreed = [
            one
            for organisation_id in asking
            for one in self._network.requested_by(organisation_id)
            if one.assisting_organisation_id != own
            and one.valid_from <= today <= one.valid_until
            and covers(one, task.case.study.modality, "")
        ]
        first = min(agreed, key=lambda one: (one.stage, one.agreement_id), default=None)
        return None if first is None else first.assisting_organisation_id
