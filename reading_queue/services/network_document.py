"""What a network document may say: its parts, and every mistake in it with its path. Reads no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from reading_queue.domain.roles import Role, Title
from reading_queue.domain.roster import Roster, Shift
from reading_queue.domain.routing import Service
from reading_queue.errors import Invalid
from storage.contract.lanes import Lane
from storage.contract.manifest import SiteIdField

TIME_LIMIT_MIN_MAX: Final = 60 * 24 * 60
CASES_PER_DAY_MAX: Final = 100_000
WIP_MAX: Final = 50
WEEKLY_RVU_MAX: Final = 10_000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
ModalityOrAll = Annotated[str, Field(pattern=r"^(?:all|[A-Z]{2,16})$")]
ShiftWords = Annotated[str, Field(pattern=rf"^{_CLOCK}-{_CLOCK}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$")]
Login = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,31}$")]
Words = Annotated[str, Field(min_length=1, max_length=120)]


class NetworkInvalid(Invalid):
    """The network document has mistakes; nothing was changed."""

    code = "network_invalid"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Part(BaseModel):
    """A part of the document: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OrganisationPart(Part):
    """A hospital or clinic; `site` is the id under which its gateway sends studies."""

    id: Code
    kind: Literal["township", "county", "municipal", "provincial"]
    name: Words
    name_en: str = ""
    parent: Code | None = None
    site: SiteIdField | None = None
    time_zone: str = "Asia/Shanghai"


class AgreementPart(Part):
    """Who reads for whom; one agreement is recorded for each requesting organisation."""

    id: Code
    requesting: tuple[Code, ...] = Field(min_length=1)
    assisting: Code
    stage: int = Field(ge=1, le=9)
    modalities: tuple[str, ...] = ()
    body_regions: tuple[str, ...] = ()
    services: tuple[Service, ...] = (Service.INTERPRETATION, Service.VERIFICATION)
    cases_per_day_max: dict[ModalityOrAll, Annotated[int, Field(ge=1, le=CASES_PER_DAY_MAX)]] = {}
    time_limits_min: dict[Lane, Annotated[int, Field(ge=1, le=TIME_LIMIT_MIN_MAX)]] = {}
    valid_from: date
    valid_until: date


class PersonPart(Part):
    """A named person with an account. A password in the document is for demonstrations only."""

    login: Login
    name: Words
    organisation: Code
    password: str | None = Field(default=None, min_length=8)
    language: Literal["zh", "en"] = "zh"


class DutyPart(Part):
    """One period on duty."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime


class RosterPart(Part):
    """Weekly shifts in the hospital's own time; a night is "20:00-08:00". A day off counts by where a shift begins."""

    weekly: dict[Weekday, tuple[ShiftWords, ...]] = {}
    days_off: tuple[date, ...] = ()
    extra: dict[date, tuple[ShiftWords, ...]] = {}

    def roster(self) -> Roster:
        """Return the roster that the words mean."""
        return Roster(
            weekly=tuple(
                (WEEKDAYS.index(day), _shift(words)) for day, shifts in self.weekly.items() for words in shifts
            ),
            days_off=frozenset(self.days_off),
            extra=tuple((day, _shift(words)) for day, shifts in self.extra.items() for words in shifts),
        )

    def periods(self, time_zone: str, now: datetime, days: int) -> list[tuple[datetime, datetime]]:
        """Return the duty that is not over, for so many days from `now`."""
        zone = ZoneInfo(time_zone)
        yesterday = now.astimezone(zone).date() - timedelta(days=1)  # its night may still go on
        return [period for period in self.roster().periods(zone, yesterday, days + 2) if period[1] > now]


Duty = Literal["always"] | RosterPart | tuple[DutyPart, ...]


def written_duty(duty: Duty) -> Any:
    """Return the duty as values of JSON, alike for the same duty in other words: sorted, in UTC, nothing for nobody."""
    if duty == "always":
        return "always"
    if not isinstance(duty, RosterPart):
        periods = sorted((one.starts_at.astimezone(UTC), one.ends_at.astimezone(UTC)) for one in duty)
        return [{"starts_at": start.isoformat(), "ends_at": end.isoformat()} for start, end in periods]
    weekly = {day: sorted(set(duty.weekly[day])) for day in WEEKDAYS if duty.weekly.get(day)}
    extra = {day.isoformat(): sorted(set(shifts)) for day, shifts in sorted(duty.extra.items()) if shifts}
    days_off = sorted({day.isoformat() for day in duty.days_off})
    return {"weekly": weekly, "days_off": days_off, "extra": extra} if weekly or days_off or extra else []


def _shift(words: str) -> Shift:
    starts, ends = words.split("-")
    return Shift(time.fromisoformat(starts), time.fromisoformat(ends))


class PhysicianPart(PersonPart):
    """A person who may read."""

    title: Title
    licence_number: Words
    licence_valid_until: date
    modalities: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    also_at: tuple[Code, ...] = ()  # other hospitals for which they read
    duty: Duty | None = None  # None: as it is, nothing for somebody new
    wip_max: int = Field(default=5, ge=1, le=WIP_MAX)
    weekly_rvu_max: int | None = Field(default=None, ge=1, le=WEEKLY_RVU_MAX)  # of seven days; one CT is one RVU


class NetworkDocument(Part):
    """The whole document."""

    organisations: tuple[OrganisationPart, ...] = ()
    agreements: tuple[AgreementPart, ...] = ()
    physicians: tuple[PhysicianPart, ...] = ()
    technicians: tuple[PersonPart, ...] = ()
    coordinators: tuple[PersonPart, ...] = ()
    administrators: tuple[PersonPart, ...] = ()
    simulation: dict[str, Any] = {}  # for `counterpart-hub simulate` alone: an import leaves it aside

    def people(self) -> Iterator[tuple[str, Role, PersonPart]]:
        """Yield each person with their path in the document and their role."""
        groups: tuple[tuple[str, Role, tuple[PersonPart, ...]], ...] = (
            ("physicians", Role.PHYSICIAN, self.physicians),
            ("technicians", Role.TECHNICIAN, self.technicians),
            ("coordinators", Role.COORDINATOR, self.coordinators),
            ("administrators", Role.ADMINISTRATOR, self.administrators),
        )
        for name, role, group in groups:
            for number, person in enumerate(group):
                yield f"{name}[{number}]", role, person


def parse_network(document: Mapping[str, Any]) -> NetworkDocument:
    """Return the document, checked. Raises NetworkInvalid with every mistake and its path."""
    try:
        network = NetworkDocument.model_validate(document)
    except ValidationError as exc:
        mistakes = exc.errors(include_url=False, include_input=False, include_context=False)
        raise NetworkInvalid(f"{_path(mistake['loc'])}: {mistake['msg']}" for mistake in mistakes) from None
    problems = [*_wrong_organisations(network), *_wrong_agreements(network), *_wrong_people(network)]
    if problems:
        raise NetworkInvalid(problems)
    return network


def _path(location: tuple[int | str, ...]) -> str:
    """Return `physicians[3].title` for a location in the document."""
    words = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(words).lstrip(".") or "document"


def _wrong_organisations(network: NetworkDocument) -> Iterator[str]:
    parents = {part.id: part.parent for part in network.organisations}
    yield from _repeated("organisations", "id", [part.id for part in network.organisations])
    sites = [part.site for part in network.organisations if part.site is not None]
    yield from _repeated("organisations", "site", sites)
    for number, part in enumerate(network.organisations):
        if part.parent is not None and part.parent not in parents:
            yield f"organisations[{number}].parent: no organisation has the id {part.parent}"
        elif _is_its_own_ancestor(part.id, parents):
            yield f"organisations[{number}].parent: {part.id} would stand below itself"


def _is_its_own_ancestor(organisation: str, parents: Mapping[str, str | None]) -> bool:
    ancestor, steps = parents.get(organisation), 0
    while ancestor is not None and ancestor != organisation and steps < len(parents):
        ancestor, steps = parents.get(ancestor), steps + 1
    return ancestor is not None


def _wrong_agreements(network: NetworkDocument) -> Iterator[str]:
    known = {part.id for part in network.organisations}
    yield from _repeated("agreements", "id", [part.id for part in network.agreements])
    for number, part in enumerate(network.agreements):
        for organisation in (part.assisting, *part.requesting):
            if organisation not in known:
                yield f"agreements[{number}]: no organisation has the id {organisation}"
        if part.valid_until < part.valid_from:
            yield f"agreements[{number}].valid_until: is before valid_from"
    yield from _overlapping_agreements(network.agreements)


def _overlapping_agreements(parts: tuple[AgreementPart, ...]) -> Iterator[str]:
    """Yield each two agreements between which nothing could choose: same pair, stage, work and days."""
    pairs: dict[tuple[str, int, str], list[int]] = defaultdict(list)
    for number, part in enumerate(parts):
        for requesting in sorted(set(part.requesting)):
            pairs[part.assisting, part.stage, requesting].append(number)
    told: set[tuple[int, int]] = set()
    for (_, _, requesting), numbers in pairs.items():
        for first, second in combinations(numbers, 2):
            if first != second and (first, second) not in told and _overlap(parts[first], parts[second]):
                told.add((first, second))
                yield (
                    f"agreements[{second}]: {parts[second].id} and {parts[first].id} cover the same work of "
                    f"{requesting} at {parts[second].assisting} in stage {parts[second].stage} on the same days; "
                    "end one before the other begins, or give it another stage"
                )


def _overlap(one: AgreementPart, other: AgreementPart) -> bool:
    return (
        one.valid_from <= other.valid_until
        and other.valid_from <= one.valid_until
        and _share(one.modalities, other.modalities)
        and _share(one.body_regions, other.body_regions)
        and not set(one.services).isdisjoint(other.services)
    )


def _share(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether both name the same thing; naming nothing means everything."""
    return not one or not other or not set(one).isdisjoint(other)


def _wrong_people(network: NetworkDocument) -> Iterator[str]:
    sites = {part.id: part.site for part in network.organisations}
    logins: set[str] = set()
    for path, role, person in network.people():
        if person.login in logins:
            yield f"{path}.login: {person.login} is named twice"
        logins.add(person.login)
        if person.organisation not in sites:
            yield f"{path}.organisation: no organisation has the id {person.organisation}"
        elif role is Role.TECHNICIAN and sites[person.organisation] is None:
            yield f"{path}.organisation: {person.organisation} has no site, so a technician would see nothing"
        for other in person.also_at if isinstance(person, PhysicianPart) else ():
            if other not in sites:
                yield f"{path}.also_at: no organisation has the id {other}"


def _repeated(group: str, key: str, values: list[Any]) -> Iterator[str]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{group}: the {key} {value} is given twice"
