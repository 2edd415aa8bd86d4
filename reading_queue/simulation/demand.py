"""What comes and what people do: the keys of `simulation:` in a network's file, and synthetic studies drawn from them.

Pure; the defaults stand for an ordinary county and say where they come from. What has no source is ours: measure your
own and write it into the file.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reading_queue.domain.roles import Title
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Minutes = Annotated[float, Field(gt=0, le=24 * 60)]
Seconds = Annotated[float, Field(ge=0, le=24 * 3600)]
Hours = Annotated[tuple[Weight, ...], Field(min_length=24, max_length=24)]

# A county of 21 township centres sends over 2,000 studies a month (紧密型县域医共体): 3.2 a day each.
# The others are ours.
PER_SITE_AND_DAY: Final = {"township": 3.2, "county": 40.0, "municipal": 80.0, "provincial": 120.0}
# Ours: an outpatient day with a morning peak and a lunch break; emergencies by day and less by night.
ELECTIVE: Final = (0, 0, 0, 0, 0, 0, 0, 1, 8, 12, 12, 8, 3, 4, 9, 9, 7, 4, 1, 0, 0, 0, 0, 0)
EMERGENCY: Final = (2, 1.5, 1.5, 1, 1, 1.5, 2, 3, 5, 6, 6, 5, 4, 5, 5, 5, 5, 5, 6, 6, 6, 5, 4, 3)
# CT: 16 to 18 min for head, chest and abdomen (Sexauer et al. 2022, J Imaging 8:208). MR: 11 min for brains by
# attendings (Al Yassin et al., Academic Radiology). The others are ours.
READING_MIN: Final = {"CT": 14.0, "MR": 11.0, "PT": 20.0, "MG": 4.0, "US": 4.0, "XA": 15.0, "RF": 6.0, "DX": 3.0}
MODALITIES: Final = {"DX": 0.60, "US": 0.23, "CT": 0.15, "MR": 0.02}  # ours
# Ours: of the stat studies, those whose order names a pathway.
GREEN_CHANNELS: Final = {
    GreenChannel.STROKE: 0.10,
    GreenChannel.CHEST_PAIN: 0.06,
    GreenChannel.TRAUMA: 0.10,
    GreenChannel.MATERNAL: 0.01,
    GreenChannel.NEONATAL: 0.01,
}
WEEKEND: Final = 5  # Saturday, counted from Monday


class DemandInvalid(ValueError):
    """The demand model has mistakes: `mistakes` are the path of each below `simulation` and what is wrong."""

    def __init__(self, mistakes: Iterable[tuple[tuple[str | int, ...], str]]) -> None:
        self.mistakes = tuple(mistakes)
        said = (f"simulation.{'.'.join(str(step) for step in path)}: {words}" for path, words in self.mistakes)
        super().__init__("\n".join(said))


class Demand(BaseModel):
    """The keys of `simulation:`; each has a default. Shares and rates are between 0 and 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies_per_site_per_day: dict[str, Weight] = Field(default_factory=lambda: dict(PER_SITE_AND_DAY))
    sites: dict[str, Weight] = {}  # studies on a working day by organisation, where it is not as usual for its kind
    weekend_share: Weight = 0.5  # of a working day's routine studies; emergencies come every day alike
    modalities: dict[str, Weight] = Field(default_factory=lambda: dict(MODALITIES))
    lanes: dict[Lane, Weight] = Field(
        default_factory=lambda: {Lane.STAT: 0.03, Lane.URGENT: 0.12, Lane.ROUTINE: 0.80, Lane.BACKGROUND: 0.05}
    )
    green_channels: dict[GreenChannel, Share] = Field(default_factory=lambda: dict(GREEN_CHANNELS))  # of stat studies
    elective_hours: Hours = ELECTIVE  # when routine and background studies come, by local hour
    emergency_hours: Hours = EMERGENCY  # when stat and urgent ones do
    transfer_min: dict[Lane, Minutes] = (
        Field(  # median, from the start of the examination until all images are verified
            default_factory=lambda: {Lane.STAT: 4.0, Lane.URGENT: 8.0, Lane.ROUTINE: 15.0, Lane.BACKGROUND: 60.0}
        )
    )
    reading_min: dict[str, Minutes] = Field(default_factory=lambda: dict(READING_MIN))  # median, of an attending
    reading_spread: Annotated[float, Field(ge=0, le=2)] = 0.45  # sigma of the lognormal distribution
    title_factor: dict[Title, Annotated[float, Field(gt=0, le=10)]] = Field(
        default_factory=lambda: {
            Title.RESIDENT: 1.3,
            Title.ATTENDING: 1.0,
            Title.ASSOCIATE_CHIEF: 0.9,
            Title.CHIEF: 0.9,
        }
    )
    verification_share: Annotated[float, Field(gt=0, le=2)] = 0.35  # of the time of a reading
    reaction_s: dict[Lane, Seconds] = Field(  # mean, until an idle physician looks at what is offered
        default_factory=lambda: {Lane.STAT: 40.0, Lane.URGENT: 90.0, Lane.ROUTINE: 120.0, Lane.BACKGROUND: 180.0}
    )
    between_s: Seconds = 20  # from one reading to the next
    decline_rate: Share = 0.02  # of the offers that a physician opens
    absence_rate: Share = 0.02  # of the periods of duty to which nobody comes
    forgotten_rate: Share = 0.05  # of what is held when duty ends: not given back, so that its lease runs out
    return_to_site_rate: Share = 0.01  # of first readings: images that cannot be read
    site_answer_min: Minutes = 90  # median, until a site has sent them again
    ask_site_rate: Share = 0.01  # of first readings: the reader asks the site for what is missing, and waits
    site_reply_min: Minutes = 45  # median, until it answers
    return_to_author_rate: Share = 0.03  # of verifications
    consult_share: Share = (
        0.01  # of first readings: the reader asks a hospital up the line, where an agreement lets them
    )
    consult_min: Minutes = 10  # median, of an attending's opinion
    same_patient_rate: Share = 0.10  # of studies: the patient was here in this run before

    @field_validator("modalities", "lanes", "elective_hours", "emergency_hours")
    @classmethod
    def _something(cls, value: Any) -> Any:
        weights = value.values() if isinstance(value, Mapping) else value
        if not sum(weights) > 0:
            raise ValueError("at least one weight must be above 0")
        return value

    @field_validator("transfer_min", "reaction_s")
    @classmethod
    def _every_lane(cls, value: dict[Lane, float]) -> dict[Lane, float]:
        if missing := [lane.value for lane in Lane if lane not in value]:
            raise ValueError(f"is missing for {', '.join(missing)}")
        return value

    @field_validator("green_channels")
    @classmethod
    def _no_more_than_all(cls, value: dict[GreenChannel, float]) -> dict[GreenChannel, float]:
        if sum(value.values()) > 1 + 1e-9:
            raise ValueError("the shares add up to more than 1")
        return value

    def of_site(self, organisation_id: str, kind: str) -> float:
        """Return how many studies the organisation sends on a working day, in the mean."""
        return self.sites.get(organisation_id, self.studies_per_site_per_day.get(kind, 0.0))

    def minutes(self, modality: str, title: Title) -> float:
        """Return the median minutes of one reading."""
        usual = self.reading_min.get(modality, self.reading_min.get("DX", READING_MIN["DX"]))
        return usual * self.title_factor.get(title, 1.0)


def parse_demand(document: Mapping[str, Any]) -> Demand:
    """Return the demand model of what stands under `simulation:`. Raises DemandInvalid with every mistake."""
    try:
        return Demand.model_validate(document)
    except ValidationError as exc:
        raise DemandInvalid((mistake["loc"], mistake["msg"]) for mistake in exc.errors()) from None


@dataclass(slots=True)
class Study:
    """One synthetic study, with all that chance decides about it: two networks are given the very same ones."""

    exam_s: float  # from the beginning of the run
    organisation_id: str
    modality: str
    lane: Lane
    patient: int
    ready_after_s: float
    difficulty: float  # factor of a reading's time
    verifying_difficulty: float
    returns_to_site: bool
    returns_to_author: bool
    site_answers_after_s: float
    green_channel: GreenChannel | None = None
    asks_site: bool = False
    site_replies_after_s: float = 0.0
    asks_opinion: bool = False
    opinion_difficulty: float = 1.0


def draw_studies(
    demand: Demand, sites: Iterable[tuple[str, str]], days: int, weekday: int, seed: int
) -> Iterator[Study]:
    """Yield the studies of `days` days, the first on this `weekday`, unsorted. `sites` are ids with their kind.

    Each site and day has its own chance: a site more in the network changes nothing for the others.
    """
    for organisation_id, kind in sites:
        patients = 0
        for day in range(days):
            chance = random.Random(f"{seed}/{organisation_id}/{day}")  # noqa: S311 -- no secret
            channels = random.Random(f"{seed}/{organisation_id}/{day}/channels")  # noqa: S311 -- no secret
            opinions = random.Random(f"{seed}/{organisation_id}/{day}/opinions")  # noqa: S311 -- no secret
            questions = random.Random(f"{seed}/{organisation_id}/{day}/questions")  # noqa: S311 -- no secret
            weekend = (weekday + day) % 7 >= WEEKEND
            for lane, mean in _means(demand, demand.of_site(organisation_id, kind), weekend=weekend):
                for _ in range(_poisson(chance, mean)):
                    again = patients > 0 and chance.random() < demand.same_patient_rate
                    patient = chance.randrange(patients) if again else patients
                    patients = max(patients, patient + 1)
                    study = _draw_study(demand, chance, organisation_id, lane, day, patient)
                    study.asks_site = questions.random() < demand.ask_site_rate
                    if study.asks_site:
                        study.site_replies_after_s = demand.site_reply_min * 60 * questions.lognormvariate(0, 1.0)
                    study.asks_opinion = opinions.random() < demand.consult_share
                    if study.asks_opinion:
                        study.opinion_difficulty = opinions.lognormvariate(0, demand.reading_spread)
                    if lane is Lane.STAT:
                        study.green_channel = _draw_channel(demand, channels)
                    yield study


def _means(demand: Demand, per_day: float, *, weekend: bool) -> Iterator[tuple[Lane, float]]:
    whole = sum(demand.lanes.values())
    for lane, weight in demand.lanes.items():
        elective = lane in (Lane.ROUTINE, Lane.BACKGROUND)
        yield lane, per_day * weight / whole * (demand.weekend_share if weekend and elective else 1.0)


def _draw_study(
    demand: Demand, chance: random.Random, organisation_id: str, lane: Lane, day: int, patient: int
) -> Study:
    hours = demand.emergency_hours if lane in (Lane.STAT, Lane.URGENT) else demand.elective_hours
    (hour,) = chance.choices(range(24), hours)
    (modality,) = chance.choices(tuple(demand.modalities), tuple(demand.modalities.values()))
    spread = demand.reading_spread
    return Study(
        exam_s=(day * 24 + hour + chance.random()) * 3600,
        organisation_id=organisation_id,
        modality=modality,
        lane=lane,
        patient=patient,
        ready_after_s=demand.transfer_min[lane] * 60 * chance.lognormvariate(0, 0.5),
        difficulty=chance.lognormvariate(0, spread),
        verifying_difficulty=chance.lognormvariate(0, spread),
        returns_to_site=chance.random() < demand.return_to_site_rate,
        returns_to_author=chance.random() < demand.return_to_author_rate,
        site_answers_after_s=demand.site_answer_min * 60 * chance.lognormvariate(0, 0.5),
    )


def _draw_channel(demand: Demand, chance: random.Random) -> GreenChannel | None:
    """Return the pathway that the order of a stat study names, None for most."""
    reached, drawn = 0.0, chance.random()
    for channel, share in demand.green_channels.items():
        reached += share
        if drawn < reached:
            return channel
    return None


def _poisson(chance: random.Random, mean: float) -> int:
    """Return a number of arrivals (Knuth's product of uniforms, in steps that do not underflow)."""
    number, rest = 0, mean
    while rest > 0:
        part = min(rest, 50.0)
        rest -= part
        floor, product = math.exp(-part), chance.random()
        while product > floor:
            number += 1
            product *= chance.random()
    return number
