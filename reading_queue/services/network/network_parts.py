"""The parts of a network's file as pydantic models, and what pydantic finds wrong with them as faults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from reading_queue.domain.network_changes import NO_LAST_DAY
from reading_queue.domain.network_faults import Fault, Path
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.roster import Period, Roster, Shift
from reading_queue.domain.routing import Service
from storage.contract.lanes import Lane
from storage.contract.manifest import SiteIdField

TIME_LIMIT_MIN_MAX: Final = 60 * 24 * 60
CASES_PER_DAY_MAX: Final = 100_000
WIP_MAX: Final = 50
WEEKLY_RVU_MAX: Final = 10_000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST_YEAR, LAST_YEAR = 1900, 9998
ZONE_DEFAULT: Final = "Asia/Shanghai"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_NO_CONTROL: Final = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]"


def _parse_day(value: Any) -> date:
    """Return the day that is written as 2026-12-31; a number or a moment is no day."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime) or not isinstance(value, date) or not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise PydanticCustomError("not_a_day", "is no day")
    return value


def _parse_moment(value: Any) -> datetime:
    """Return the moment, which must say its time zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None or not FIRST_YEAR < value.year < LAST_YEAR:
        raise PydanticCustomError("not_a_moment", "is no moment with its time zone")
    return value.astimezone(UTC)


def _parse_zone(value: Any) -> str:
    try:
        ZoneInfo(value)
    except Exception as exc:
        raise PydanticCustomError("not_a_time_zone", "no such zone", {"value": str(value)[:60]}) from exc
    return str(value)


def _parse_yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise PydanticCustomError("not_yes_or_no", "must be yes or no")
    return value


def _no_truth(value: Any) -> Any:
    """Refuse yes and no, which are numbers to Python alone."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number")
    return value


def _distinct(value: Any) -> Any:
    """Return a list that means a set sorted and without repetitions, so that the same set is the same."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return tuple(sorted({one.strip() for one in value}))
    return value


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Day = Annotated[date, BeforeValidator(_parse_day)]
LastDay = Annotated[
    date | Literal["never"], WrapValidator(lambda value, _: value if value == NO_LAST_DAY else _parse_day(value))
]
Moment = Annotated[datetime, BeforeValidator(_parse_moment)]
ShiftWords = Annotated[str, Field(pattern=rf"^{_CLOCK}-{_CLOCK}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$")]
Login = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,31}$")]
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=f"^{_NO_CONTROL}+$")
]
WordsOrNone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=120, pattern=f"^{_NO_CONTROL}*$")]
Item = Annotated[
    str, StringConstraints(max_length=60, pattern=r"^[^;；=\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]+$")
]
Modality = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")]
ModalityOrAll = Annotated[str, Field(pattern=r"^(?:all|[A-Z]{2,16})$")]
Zone = Annotated[str, BeforeValidator(_parse_zone)]
Whole = Annotated[int, BeforeValidator(_no_truth)]
YesOrNo = Annotated[bool, BeforeValidator(_parse_yes)]
Modalities = Annotated[tuple[Modality, ...], BeforeValidator(_distinct)]
Items = Annotated[tuple[Item, ...], BeforeValidator(_distinct)]
Codes = Annotated[tuple[Code, ...], BeforeValidator(_distinct)]
Services = Annotated[tuple[Service, ...], BeforeValidator(_distinct)]


class Part(BaseModel):
    """A part of the document: unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OrganisationPart(Part):
    """A hospital or clinic; `site` is the id under which its gateway sends studies."""

    id: Code
    kind: Literal["township", "county", "municipal", "provincial"]
    name: Words
    name_en: WordsOrNone = ""
    parent: Code | None = None
    site: SiteIdField | None = None
    time_zone: Zone = ZONE_DEFAULT


class AgreementPart(Part):
    """Who reads for whom; one agreement is recorded for each requesting organisation.

    The same id may stand in several parts for different requesting organisations, where their terms differ.
    """

    id: Code
    requesting: Codes = Field(min_length=1)
    assisting: Code
    stage: Whole = Field(ge=1, le=9)
    modalities: Modalities = ()
    body_regions: Items = ()
    services: Services = Field(default=(Service.INTERPRETATION, Service.VERIFICATION), min_length=1)
    cases_per_day_max: dict[ModalityOrAll, Annotated[Whole, Field(ge=1, le=CASES_PER_DAY_MAX)]] = {}
    single_physician: YesOrNo = False  # an attending physician may sign a plain film alone
    time_limits_min: dict[Lane, Annotated[Whole, Field(ge=1, le=TIME_LIMIT_MIN_MAX)]] = {}
    valid_from: Day
    valid_until: Day


class PersonPart(Part):
    """A named person with an account. A password in the document is for demonstrations only."""

    login: Login
    name: Words
    organisation: Code
    password: str | None = Field(default=None, min_length=8)
    language: Literal["zh", "en"] | None = None  # None: as the person has chosen it; Chinese for somebody new
    disabled: YesOrNo | None = None  # None: as it is
    last_day: LastDay | None = None  # the account is closed after it, where the organisation is; None: as it is


class DutyPart(Part):
    """One period on duty."""

    starts_at: Moment
    ends_at: Moment

    @model_validator(mode="after")
    def _ends_later(self) -> DutyPart:
        if self.ends_at <= self.starts_at:
            raise PydanticCustomError("period_ends_before", "a period must end after it begins")
        return self


class RosterPart(Part):
    """Weekly shifts in the hospital's own time; a night is "20:00-08:00". A day off counts by where a shift begins."""

    weekly: dict[Weekday, tuple[ShiftWords, ...]] = {}
    days_off: tuple[Day, ...] = ()
    extra: dict[Day, tuple[ShiftWords, ...]] = {}

    def roster(self) -> Roster:
        """Return the roster that the words mean."""
        return Roster(
            weekly=tuple(
                (WEEKDAYS.index(day), _shift(words)) for day, shifts in self.weekly.items() for words in shifts
            ),
            days_off=frozenset(self.days_off),
            extra=tuple((day, _shift(words)) for day, shifts in self.extra.items() for words in shifts),
        )

    def periods(self, time_zone: str, now: datetime, days: int) -> list[Period]:
        """Return the duty that is not over, for so many days from `now`."""
        zone = ZoneInfo(time_zone)
        yesterday = now.astimezone(zone).date() - timedelta(days=1)  # its night may still go on
        return [period for period in self.roster().periods(zone, yesterday, days + 2) if period[1] > now]


def _duty_form(value: Any) -> str | None:
    if isinstance(value, str):
        return "always"
    if isinstance(value, Mapping | RosterPart):
        return "roster"
    return "periods" if isinstance(value, list | tuple) else None


Duty = Annotated[
    Annotated[Literal["always"], Tag("always")]
    | Annotated[RosterPart, Tag("roster")]
    | Annotated[tuple[DutyPart, ...], Tag("periods")],
    Discriminator(_duty_form),
]


def written_duty(duty: Any) -> Any:
    """Return the duty as values of JSON, alike for the same duty in other words: sorted, in UTC, nothing for nobody."""
    if duty == "always":
        return "always"
    if not isinstance(duty, RosterPart):
        periods = sorted((one.starts_at, one.ends_at) for one in duty)
        return [{"starts_at": start.isoformat(), "ends_at": end.isoformat()} for start, end in periods]
    weekly = {day: sorted(set(shifts)) for day, shifts in duty.weekly.items() if shifts}
    extra = {day.isoformat(): sorted(set(shifts)) for day, shifts in duty.extra.items() if shifts}
    days_off = sorted({day.isoformat() for day in duty.days_off})
    return {"weekly": weekly, "days_off": days_off, "extra": extra} if weekly or days_off or extra else []


def _shift(words: str) -> Shift:
    starts, ends = words.split("-")
    return Shift(time.fromisoformat(starts), time.fromisoformat(ends))


class PhysicianPart(PersonPart):
    """A person who may read."""

    title: Title
    licence_number: Words
    licence_valid_until: Day
    modalities: Modalities = ()
    specialties: Items = ()
    also_at: Codes = ()  # other hospitals for which they read
    wip_max: Whole = Field(default=5, ge=1, le=WIP_MAX)
    weekly_rvu_max: Whole | None = Field(default=None, ge=1, le=WEEKLY_RVU_MAX)  # of seven days; one CT is one RVU
    duty: Duty | None = None  # None: as it is, nothing for somebody new


class RosterOfPart(Part):
    """The duty of one physician of the document or of the hub."""

    login: Login
    duty: Duty


class DirectorPart(Part):
    """When a person is duty director (总值班) of an organisation, in its own time; [] is not any more."""

    organisation: Code
    login: Login
    duty: Duty


class NetworkDocument(Part):
    """The whole document."""

    organisations: tuple[OrganisationPart, ...] = ()
    agreements: tuple[AgreementPart, ...] = ()
    physicians: tuple[PhysicianPart, ...] = ()
    technicians: tuple[PersonPart, ...] = ()
    coordinators: tuple[PersonPart, ...] = ()
    administrators: tuple[PersonPart, ...] = ()
    rosters: tuple[RosterOfPart, ...] = ()  # of physicians whom the document does not name
    duty_directors: tuple[DirectorPart, ...] = ()

    def people(self) -> Iterator[tuple[Role, PersonPart]]:
        """Yield each person with their role."""
        groups: tuple[tuple[Role, tuple[PersonPart, ...]], ...] = (
            (Role.PHYSICIAN, self.physicians),
            (Role.TECHNICIAN, self.technicians),
            (Role.COORDINATOR, self.coordinators),
            (Role.ADMINISTRATOR, self.administrators),
        )
        for role, group in groups:
            for person in group:
                yield role, person


# What pydantic calls a mistake, and what it is here.
_CODES: Final[Mapping[str, str]] = {
    "missing": "missing",
    "extra_forbidden": "unknown_key",
    "literal_error": "not_one_of",
    "enum": "not_one_of",
    "string_type": "not_text",
    "string_unicode": "not_text",
    "int_type": "not_a_number",
    "int_parsing": "not_a_number",
    "int_from_float": "not_a_number",
    "int_parsing_size": "not_a_number",
    "bool_type": "not_yes_or_no",
    "greater_than_equal": "too_small",
    "less_than_equal": "too_large",
    "too_short": "too_short",
    "string_too_short": "too_few_characters",
    "finite_number": "not_a_number",
    "string_too_long": "too_long",
    "tuple_type": "not_a_list",
    "list_type": "not_a_list",
    "dict_type": "not_a_mapping",
    "model_type": "not_a_mapping",
    "model_attributes_type": "not_a_mapping",
    "union_tag_not_found": "not_a_duty",
    "value_error": "not_a_site",
}
_PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    (r"^[a-z0-9](?:", "not_a_code"),
    (r"^[a-z0-9][a-z0-9._-]", "not_a_login"),
    (rf"^{_CLOCK}", "not_a_shift"),
    (r"^[A-Z0-9]", "not_a_modality"),
    (r"^(?:all|", "not_a_modality"),
    (r"^[^;", "not_an_item"),
    ("^", "bad_words"),
)
_NO_STEPS: Final = frozenset({"always", "roster", "periods", "[key]"})  # pydantic's own, not the document's


def faults_of(invalid: ValidationError, path: Path) -> Iterator[Fault]:
    """Yield what pydantic found wrong with the part at the path; what is left empty is missing, whatever it should be.

    That a list is too short says nothing where its items are told to be wrong.
    """
    mistakes = invalid.errors(include_url=False)
    items = {mistake["loc"][:-1] for mistake in mistakes}
    for mistake in mistakes:
        if mistake["type"] == "too_short" and mistake["loc"] in items:
            continue
        steps = tuple(step for step in mistake["loc"] if step not in _NO_STEPS)
        context = mistake.get("ctx", {})
        limits = (context[name] for name in ("ge", "le", "min_length", "max_length") if name in context)
        params = {
            "words": mistake["msg"],
            "expected": str(context.get("expected", "")).replace("'", "").replace(" or ", ", "),
            "limit": next(limits, ""),
            "value": context.get("value", ""),
        }
        empty = mistake["input"] is None or (mistake["type"] == "string_too_short" and not mistake["input"])
        code = "missing" if empty else _code_of(mistake["type"], str(context.get("pattern", "")))
        yield Fault("not_a_duty" if params["expected"] == "always" else code, (*path, *steps), params)


def _code_of(mistake: str, pattern: str) -> str:
    if mistake == "string_pattern_mismatch":
        return next(code for begins, code in _PATTERNS if pattern.startswith(begins))
    return _CODES.get(mistake, mistake)
