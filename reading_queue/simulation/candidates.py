"""Who is asked: the pure ranking, given as few physicians as can decide it.

A later stage is looked at only when the stages before it cannot settle the choice, and who is off duty only when
nobody is left, for the reasons. The choice is the one that ranking everybody at once gives; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from reading_queue.domain.routing import WHOLE_POOL, AgreementFacts, CaseFacts, PhysicianFacts, Ranking, join, rank
from storage.contract.lanes import Lane

FindPhysicians = Callable[[Iterable[str]], Sequence[PhysicianFacts]]


def rank_by_stages(
    case: CaseFacts,
    stages: Sequence[Sequence[AgreementFacts]],
    find_present: FindPhysicians,
    find_everybody: FindPhysicians,
    now: datetime,
    width: int,
    widened: int = 0,
) -> Ranking:
    """Return a ranking from which `domain.routing.choose` takes the same as from that of everybody.

    `stages` are the agreements of the first stage, of the first two, and so on. The two callables return the
    physicians of some organisations: those on duty who may be chosen (`Staff.foremost`), and all.
    """
    ranking, reached = Ranking(), -1
    for agreements in stages:
        known = {candidate.physician_id for candidate in ranking.candidates}  # their stage is the lower one
        present = find_present(_assisting(one for one in agreements if one.stage > reached))
        newcomers = [one for one in present if one.physician_id not in known] if known else present
        ranking = join(case.lane, ranking, rank(case, newcomers, agreements, now))
        if _settles(ranking, case.lane, width, widened):
            return ranking
        reached = max(one.stage for one in agreements)
    if ranking.candidates or not stages:
        return ranking
    return rank(case, find_everybody(_assisting(stages[-1])), stages[-1], now)


def _settles(ranking: Ranking, lane: Lane, width: int, widened: int) -> bool:
    """Return whether no later stage can change the choice."""
    fresh = [candidate.stage for candidate in ranking.candidates if not candidate.let_pass]
    if lane is Lane.STAT:
        return len(fresh) >= width
    return widened < WHOLE_POOL and len(set(fresh)) > widened


def _assisting(agreements: Iterable[AgreementFacts]) -> list[str]:
    return list(dict.fromkeys(agreement.assisting_organisation_id for agreement in agreements))
