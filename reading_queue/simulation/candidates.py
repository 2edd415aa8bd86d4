"""Who is asked: the pure ranking, given as few physicians as can decide it.

A later stage is looked at only when the stages before it cannot settle the choice, and who is off duty only when
nobody is left, for the reasons. The choice is the one that ranking everybody at once gives; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from reading_queue.domain.routing import AgreementFacts, CaseFacts, PhysicianFacts, Ranking, rank
from storage.contract.lanes import Lane

FindPhysicians = Callable[[Iterable[str]], Sequence[PhysicianFacts]]


def rank_by_stages(
    case: CaseFacts,
    stages: Sequence[Sequence[AgreementFacts]],
    find_present: FindPhysicians,
    find_everybody: FindPhysicians,
    now: datetime,
    width: int,
) -> Ranking:
    """Return a ranking from which `domain.routing.choose` takes the same `width` as from that of everybody.

    `stages` are the agreements of the first stage, of the first two, and so on. The two callables return the
    physicians of some organisations: those on duty, and all.
    """
    enough = width if case.lane is Lane.STAT else 1
    ranking = Ranking()
    for agreements in stages:
        ranking = rank(case, find_present(_assisting(agreements)), agreements, now)
        if sum(not candidate.let_pass for candidate in ranking.candidates) >= enough:
            return ranking
    if ranking.candidates or not stages:
        return ranking
    return rank(case, find_everybody(_assisting(stages[-1])), stages[-1], now)


def _assisting(agreements: Iterable[AgreementFacts]) -> list[str]:
    return list(dict.fromkeys(agreement.assisting_organisation_id for agreement in agreements))
