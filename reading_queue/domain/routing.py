"""Who is offered a reading task, in which order, and why: a pure function of the facts.

Hard conditions exclude, with every reason kept: an agreement in force for the organisation (or one above it), the
modality, the body region and the phase; a licence valid on the day; the physician's own modalities; on duty now and
not away; below the limit of work in progress; and for verification a second physician of sufficient title. What an
agreement takes in a day and a physician in a week is a limit too, but never for a stat case: those are balance, and
safety comes before it.

The order of those who remain: who was not asked yet, then the agreement's stage, then
- stat: the least work in progress, the patient's own physician, the specialty, the least cumulative workload;
- otherwise: the patient's own physician, the specialty, the least cumulative workload, the least work in progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from reading_queue.domain.modality import covers_regions
from reading_queue.domain.roles import VERIFIER_TITLE_MIN, Title
from storage.contract.lanes import Lane


class Service(StrEnum):
    """What an agreement is about: reads, second signatures, and opinions on what others read (会诊)."""

    INTERPRETATION = "interpretation"
    VERIFICATION = "verification"
    CONSULTATION = "consultation"


class Phase(StrEnum):
    """What a reading task asks for (CID 9231: 110005, 110007, 128001)."""

    INTERPRETATION = "interpretation"
    VERIFICATION = "verification"
    ADDENDUM = "addendum"

    @property
    def service(self) -> str:
        """Return the service of an agreement under which it is done: who may interpret may add to a report."""
        return (Service.VERIFICATION if self is Phase.VERIFICATION else Service.INTERPRETATION).value


class Reason(StrEnum):
    """Why a physician is not a candidate."""

    NO_AGREEMENT = "no_agreement"
    AGREEMENT_NOT_IN_FORCE = "agreement_not_in_force"
    AGREEMENT_OTHER_SERVICE = "agreement_other_service"
    AGREEMENT_OTHER_MODALITY = "agreement_other_modality"
    AGREEMENT_OTHER_REGION = "agreement_other_region"
    AGREEMENT_DAY_FULL = "agreement_day_full"
    LICENCE_EXPIRED = "licence_expired"
    OTHER_MODALITY = "other_modality"
    OFF_DUTY = "off_duty"
    AWAY = "away"
    WORK_IN_PROGRESS_FULL = "work_in_progress_full"
    WEEKLY_WORKLOAD_FULL = "weekly_workload_full"
    IS_AUTHOR = "is_author"
    TITLE_TOO_LOW = "title_too_low"
    DECLINED = "declined"


# With these nobody goes on reading what was offered to them; the others who cannot take it now may be able to soon.
ENDS_AN_OFFER: Final = frozenset(
    {
        Reason.NO_AGREEMENT,
        Reason.AGREEMENT_NOT_IN_FORCE,
        Reason.AGREEMENT_OTHER_SERVICE,
        Reason.AGREEMENT_OTHER_MODALITY,
        Reason.AGREEMENT_OTHER_REGION,
        Reason.LICENCE_EXPIRED,
        Reason.OTHER_MODALITY,
        Reason.AWAY,
        Reason.TITLE_TOO_LOW,
    }
)

# In words, by language: as they stand after the number of physicians to whom they apply.
REASONS: Final[Mapping[str, Mapping[Reason, str]]] = {
    "zh": {
        Reason.NO_AGREEMENT: "与申请机构没有结对协议",
        Reason.AGREEMENT_NOT_IN_FORCE: "协议不在有效期内",
        Reason.AGREEMENT_OTHER_SERVICE: "协议不含此项服务",
        Reason.AGREEMENT_OTHER_MODALITY: "协议不含此检查类型",
        Reason.AGREEMENT_OTHER_REGION: "协议不含此检查部位",
        Reason.AGREEMENT_DAY_FULL: "协议今日例数已满",
        Reason.LICENCE_EXPIRED: "执业证书已过期",
        Reason.OTHER_MODALITY: "不阅读此检查类型",
        Reason.OFF_DUTY: "不在班",
        Reason.AWAY: "暂时离岗",
        Reason.WORK_IN_PROGRESS_FULL: "在办任务已满",
        Reason.WEEKLY_WORKLOAD_FULL: "七日工作量已满",
        Reason.IS_AUTHOR: "报告作者不能审核",
        Reason.TITLE_TOO_LOW: "职称低于主治医师",
        Reason.DECLINED: "已拒绝",
    },
    "en": {
        Reason.NO_AGREEMENT: "without an agreement with this site",
        Reason.AGREEMENT_NOT_IN_FORCE: "whose agreement is not in force",
        Reason.AGREEMENT_OTHER_SERVICE: "whose agreement has not this service",
        Reason.AGREEMENT_OTHER_MODALITY: "whose agreement has not this modality",
        Reason.AGREEMENT_OTHER_REGION: "whose agreement has not this body region",
        Reason.AGREEMENT_DAY_FULL: "whose agreement has had its cases for today",
        Reason.LICENCE_EXPIRED: "with an expired licence",
        Reason.OTHER_MODALITY: "not reading this modality",
        Reason.OFF_DUTY: "off duty",
        Reason.AWAY: "away for a while",
        Reason.WORK_IN_PROGRESS_FULL: "with as much work as they may hold",
        Reason.WEEKLY_WORKLOAD_FULL: "with as much work done as seven days allow",
        Reason.IS_AUTHOR: "the author, who may not verify",
        Reason.TITLE_TOO_LOW: "below attending physician",
        Reason.DECLINED: "who declined",
    },
}
NOBODY_BY_AGREEMENT: Final[Mapping[str, str]] = {
    "zh": "无人可派：没有覆盖本机构的结对协议",
    "en": "Nobody can be asked: no agreement covers this site",
}
NOBODY_BY_FAILURE: Final[Mapping[str, str]] = {
    "zh": "派单程序出错，尚未派给任何医生；系统会再试",
    "en": "Routing failed, and nobody is asked yet; it is tried again",
}

WHOLE_POOL: Final = 2  # widened so often, every stage is asked

# Relative reading effort (RVU), in hundredths of one CT. Ours, for balance between physicians; no tariff.
WORKLOAD_POINTS: Final[Mapping[str, int]] = {"CT": 100, "MR": 140, "PT": 160, "MG": 70, "US": 50, "XA": 120, "RF": 60}
WORKLOAD_POINTS_DEFAULT: Final = 30  # plain films and everything unnamed
UNNAMED: Final = "other"  # the weight of every modality that the configuration does not name
POINTS_OF_ONE_RVU: Final = 100
ALL_MODALITIES: Final = "all"  # a limit of an agreement on everything together


def workload_points(weights: Mapping[str, int], modality: str) -> int:
    """Return what reading one study of the modality counts, in hundredths of one CT."""
    return weights.get(modality, weights.get(UNNAMED, WORKLOAD_POINTS_DEFAULT))


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What the ranking needs of a case."""

    case_id: str
    phase: Phase
    lane: Lane
    modality: str
    body_region: str  # empty when unknown
    organisation_ids: tuple[str, ...]  # the requesting organisation and those above it, nearest first
    local_date: date  # today, at the site
    author_id: str | None = None  # of the submission that waits for verification
    specialties: tuple[str, ...] = ()  # preferred, the most telling first (domain.specialties)


@dataclass(frozen=True, slots=True)
class PhysicianFacts:
    """What the ranking needs of a physician, as of now."""

    physician_id: str
    organisation_id: str
    title: Title
    licence_valid_until: date
    modalities: frozenset[str]  # empty means all
    duty: tuple[tuple[datetime, datetime], ...]  # periods, the end excluded
    work_in_progress: int
    work_in_progress_max: int
    workload_points: int  # cumulative, over the window the caller counts
    read_this_patient: bool = False
    declined: bool = False  # this reading task, or one it replaces
    let_pass: bool = False  # an offer of this reading task ran out unanswered
    also_at: tuple[str, ...] = ()  # other hospitals for which they read
    away: bool = False  # on duty perhaps, but not there
    weekly_points_max: int | None = None  # how much of `workload_points` is enough
    specialties: frozenset[str] = frozenset()

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Return the organisations for which the physician reads, their own first."""
        return (self.organisation_id, *self.also_at)

    def has_done_enough(self) -> bool:
        """Return whether the work of the window that the caller counts has reached the physician's own limit."""
        return self.weekly_points_max is not None and self.workload_points >= self.weekly_points_max

    def on_duty(self, now: datetime) -> bool:
        """Return whether `now` lies in a period of duty."""
        return any(start <= now < end for start, end in self.duty)


@dataclass(frozen=True, slots=True)
class AgreementFacts:
    """What the ranking needs of an agreement."""

    agreement_id: str
    requesting_organisation_id: str
    assisting_organisation_id: str
    modalities: frozenset[str]  # empty means all
    body_regions: frozenset[str]  # empty means all
    services: frozenset[str]
    stage: int
    valid_from: date
    valid_until: date
    cases_per_day_max: Mapping[str, int] = field(default_factory=dict)  # by modality, and for ALL_MODALITIES
    cases_today: Mapping[str, int] = field(default_factory=dict)  # other cases under it today, by modality
    has_this_case: bool = False  # this case is one of today's already

    def has_room(self, modality: str) -> bool:
        """Return whether the agreement takes one more case of the modality today."""
        of_all = self.cases_per_day_max.get(ALL_MODALITIES)
        of_modality = self.cases_per_day_max.get(modality)
        return (of_all is None or sum(self.cases_today.values()) < of_all) and (
            of_modality is None or self.cases_today.get(modality, 0) < of_modality
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A physician who may be offered the task, with all that decided the place in the order."""

    physician_id: str
    agreement_id: str
    stage: int
    let_pass: bool
    work_in_progress: int
    workload_points: int
    read_this_patient: bool
    lacks_specialty: tuple[bool, ...] = ()  # of each specialty that is preferred for the case, in their order
    specialty: str = ""  # the first of them that they have

    def under(self, agreement: AgreementFacts, *, let_pass: bool) -> Candidate:
        """Return the same physician as a candidate under another agreement, asked already or not."""
        return Candidate(
            self.physician_id,
            agreement.agreement_id,
            agreement.stage,
            let_pass,
            self.work_in_progress,
            self.workload_points,
            self.read_this_patient,
            self.lacks_specialty,
            self.specialty,
        )

    def why(self) -> dict[str, int | bool | str]:
        """Return the reasons in a form that is kept with the offer."""
        return {
            **({"specialty": self.specialty} if self.specialty else {}),
            "agreement_id": self.agreement_id,
            "stage": self.stage,
            "work_in_progress": self.work_in_progress,
            "workload_points": self.workload_points,
            "read_this_patient": self.read_this_patient,
            "asked_again": self.let_pass,
        }


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates, best first; and why everybody else is none."""

    candidates: list[Candidate] = field(default_factory=list)
    excluded: dict[str, list[Reason]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return how many physicians each reason excludes, most frequent first."""
        counted = Counter(reason for reasons in self.excluded.values() for reason in reasons)
        return {reason.value: number for reason, number in counted.most_common()}


def rank(
    case: CaseFacts, physicians: Sequence[PhysicianFacts], agreements: Sequence[AgreementFacts], now: datetime
) -> Ranking:
    """Return who may be offered the reading task, best first, and why the others may not."""
    ranking = Ranking()
    by_assisting: dict[str, list[AgreementFacts]] = {}
    for each in agreements:
        by_assisting.setdefault(each.assisting_organisation_id, []).append(each)
    found: dict[tuple[str, ...], tuple[AgreementFacts | None, list[Reason]]] = {}  # the same for all of one hospital
    for physician in physicians:
        hospitals = physician.hospitals
        if hospitals not in found:
            own = [agreement for hospital in hospitals for agreement in by_assisting.get(hospital, [])]
            found[hospitals] = find_agreement(case, hospitals, own)
        agreement, lacking = found[hospitals]
        reasons = _personal_reasons(case, physician, now)
        if agreement is None or reasons:
            ranking.excluded[physician.physician_id] = [*lacking, *reasons]
            continue
        ranking.candidates.append(
            Candidate(
                physician_id=physician.physician_id,
                agreement_id=agreement.agreement_id,
                stage=agreement.stage,
                let_pass=physician.let_pass,
                work_in_progress=physician.work_in_progress,
                workload_points=physician.workload_points,
                read_this_patient=physician.read_this_patient,
                lacks_specialty=tuple(one not in physician.specialties for one in case.specialties),
                specialty=next((one for one in case.specialties if one in physician.specialties), ""),
            )
        )
    ranking.candidates.sort(key=lambda candidate: _order(case.lane, candidate))
    return ranking


def describe_nobody(excluded: Mapping[str, int], language: str = "zh") -> str:
    """Return in words why there is no candidate, from the number of physicians by reason, the most frequent first."""
    if not excluded:
        return NOBODY_BY_AGREEMENT[language]
    counted = sorted((-number, list(Reason).index(Reason(reason))) for reason, number in excluded.items())
    words = [(-negative, REASONS[language][list(Reason)[place]]) for negative, place in counted]
    if language == "zh":
        return "无人可派：" + "；".join(f"{reason} {number} 人" for number, reason in words)
    return "Nobody can be asked: " + "; ".join(f"{number} {reason}" for number, reason in words)


def choose(ranking: Ranking, lane: Lane, width: int, widened: int = 0) -> list[Candidate]:
    """Return to whom the task is offered now: at most `width`, and as many again for each time that it `widened`.

    Stat goes to the best of all stages at once. Other lanes ask one stage at a time, the next one beside it as the
    clock runs (`domain.escalation`), and the next when all offers of a stage have run out or were declined. Where no
    further stage is left, as many more of those there are. The same facts choose the same physicians.
    """
    widened = min(widened, WHOLE_POOL)
    if lane is Lane.STAT or not ranking.candidates:
        return ranking.candidates[: width * (1 + widened)]
    let_pass = ranking.candidates[0].let_pass
    candidates = [one for one in ranking.candidates if one.let_pass == let_pass]
    stages = sorted({one.stage for one in candidates})
    further = max(0, widened + 1 - len(stages)) * width
    chosen: list[Candidate] = []
    for stage in stages if widened == WHOLE_POOL else stages[: widened + 1]:
        chosen += [one for one in candidates if one.stage == stage][:width]
    return chosen + [one for one in candidates if one not in chosen][:further] if further else chosen


def still_to_ask(chosen: Sequence[Candidate], asked: Collection[str], width: int) -> list[Candidate]:
    """Return who of the chosen is asked now, so that `width` who can take it are asked at once; `asked` already are.

    It is more where more are chosen: the whole pool may have more stages than the circle has grown steps.
    Where nobody of them has read the patient before, the first of the chosen who has is asked beside them.
    """
    fresh = [candidate for candidate in chosen if candidate.physician_id not in asked]
    is_known = any(one.read_this_patient and one.physician_id in asked for one in chosen)
    own = [] if is_known else [candidate for candidate in fresh if candidate.read_this_patient][:1]
    return fresh[: max(0, max(width, len(chosen)) - len(asked))] or own


def limit_of(limits_min: Iterable[Mapping[str, int]], lane: Lane) -> int | None:
    """Return the shortest limit in minutes that these agreements set for the lane, or None when none has one."""
    return min((int(limits[lane]) for limits in limits_min if lane in limits), default=None)


def find_agreement(
    case: CaseFacts, hospitals: Collection[str], agreements: Sequence[AgreementFacts]
) -> tuple[AgreementFacts | None, list[Reason]]:
    """Return the agreement under which these hospitals' physicians may read the case, or None and what each one lacks.

    An agreement of an organisation above the requesting one (a county for its townships) covers it too. Among
    several the lowest stage wins, then the nearest organisation.
    """
    concerning = [
        agreement
        for agreement in agreements
        if agreement.assisting_organisation_id in hospitals
        and agreement.requesting_organisation_id in case.organisation_ids
    ]
    if not concerning:
        return None, [Reason.NO_AGREEMENT]
    lacking = {agreement.agreement_id: _lacks(case, agreement) for agreement in concerning}
    usable = [agreement for agreement in concerning if lacking[agreement.agreement_id] is None]
    if not usable:
        return None, sorted({reason for reason in lacking.values() if reason is not None})
    nearness = {organisation: place for place, organisation in enumerate(case.organisation_ids)}
    best = min(usable, key=lambda one: (one.stage, nearness[one.requesting_organisation_id], one.agreement_id))
    return best, []


def _lacks(case: CaseFacts, agreement: AgreementFacts) -> Reason | None:
    if not agreement.valid_from <= case.local_date <= agreement.valid_until:
        return Reason.AGREEMENT_NOT_IN_FORCE
    if case.phase.service not in agreement.services:
        return Reason.AGREEMENT_OTHER_SERVICE
    if agreement.modalities and case.modality not in agreement.modalities:
        return Reason.AGREEMENT_OTHER_MODALITY
    if not covers_regions(agreement.body_regions, case.body_region):
        return Reason.AGREEMENT_OTHER_REGION
    if case.lane is not Lane.STAT and not agreement.has_this_case and not agreement.has_room(case.modality):
        return Reason.AGREEMENT_DAY_FULL
    return None


def _personal_reasons(case: CaseFacts, physician: PhysicianFacts, now: datetime) -> list[Reason]:
    reasons: list[Reason] = []
    if physician.licence_valid_until < case.local_date:
        reasons.append(Reason.LICENCE_EXPIRED)
    if physician.modalities and case.modality not in physician.modalities:
        reasons.append(Reason.OTHER_MODALITY)
    if not physician.on_duty(now):
        reasons.append(Reason.OFF_DUTY)
    if physician.away:
        reasons.append(Reason.AWAY)
    if physician.work_in_progress >= physician.work_in_progress_max:
        reasons.append(Reason.WORK_IN_PROGRESS_FULL)
    if physician.has_done_enough() and case.lane is not Lane.STAT:
        reasons.append(Reason.WEEKLY_WORKLOAD_FULL)
    if case.phase is Phase.VERIFICATION:
        reasons += _reasons_against_verifying(case, physician)
    if physician.declined:
        reasons.append(Reason.DECLINED)
    return reasons


def _reasons_against_verifying(case: CaseFacts, physician: PhysicianFacts) -> list[Reason]:
    reasons: list[Reason] = []
    if physician.physician_id == case.author_id:
        reasons.append(Reason.IS_AUTHOR)
    if physician.title.rank < VERIFIER_TITLE_MIN.rank:
        reasons.append(Reason.TITLE_TOO_LOW)
    return reasons


def _order(lane: Lane, candidate: Candidate) -> tuple[Any, ...]:
    return (candidate.let_pass, candidate.stage, merit(lane, candidate))


def merit(lane: Lane, candidate: Candidate) -> tuple[bool | int | str, ...]:
    """Return what orders those of one stage who have, or have not, been asked yet: the least comes first."""
    known = (not candidate.read_this_patient, *candidate.lacks_specialty)
    load, workload = candidate.work_in_progress, candidate.workload_points
    by_lane = (load, *known, workload) if lane is Lane.STAT else (*known, workload, load)
    return (*by_lane, candidate.physician_id)
