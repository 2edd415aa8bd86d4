"""What an import of the network would do: the facts of the file beside those of the hub. Pure.

Facts are plain values of JSON, named as in the network's file; dates are ISO texts, lists that mean sets are sorted.
What a file does not say of a subject (None for one of `MAY_BE_LEFT_OUT`) is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

Facts = Mapping[str, Any]
Today = Callable[[str], date]  # today's date where the organisation with this code is


class Kind(StrEnum):
    """What a network consists of, in the order in which it is recorded."""

    ORGANISATION = "organisation"
    AGREEMENT = "agreement"
    PERSON = "person"
    PHYSICIAN = "physician"
    DUTY = "duty"
    DIRECTOR = "director"


PEOPLE_KINDS: Final = frozenset({Kind.PERSON, Kind.PHYSICIAN, Kind.DUTY})  # of one login

State = Mapping[Kind, Mapping[str, Facts]]  # by code, by `agreement:requesting`, by login, by `organisation:login`


class Action(StrEnum):
    """What becomes of a subject."""

    ADD = "add"
    CHANGE = "change"
    END = "end"


DEFAULTS: Final[Facts] = {"language": "zh", "disabled": False, "last_day": None, "duty": []}  # of somebody new
MAY_BE_LEFT_OUT: Final = frozenset(DEFAULTS)
NO_LAST_DAY: Final = "never"  # a file's word for taking back a last day, where nothing leaves it as it is


@dataclass(frozen=True, slots=True)
class Change:
    """One subject that would not stay as it is, with all its facts afterwards and those that differ."""

    kind: Kind
    subject: str
    action: Action
    facts: Facts
    differing: tuple[tuple[str, Any, Any], ...] = ()  # name, old, new


def todays(organisations: Mapping[str, Facts], now: datetime) -> Today:
    """Return today's date by organisation; of one that is not among them, in UTC."""

    def today(code: str) -> date:
        return now.astimezone(ZoneInfo(organisations[code]["time_zone"]) if code in organisations else UTC).date()

    return today


def compare(present: State, wanted: State, today: Today) -> list[Change]:
    """Return what the wanted facts would change, kind by kind in the order of the file."""
    changes = (
        _compare_one(kind, subject, present[kind].get(subject), facts, today)
        for kind in Kind
        for subject, facts in wanted[kind].items()
    )
    return [change for change in changes if change is not None]


def _compare_one(kind: Kind, subject: str, before: Facts | None, wanted: Facts, today: Today) -> Change | None:
    as_it_is = DEFAULTS if before is None else before
    left = [name for name, value in wanted.items() if value is None and name in MAY_BE_LEFT_OUT]
    after = {**wanted, **{name: as_it_is[name] for name in left}}
    if after.get("last_day") == NO_LAST_DAY:
        after["last_day"] = None
    if before is None:
        return Change(kind, subject, Action.ADD, after)
    differing = tuple((name, before.get(name), value) for name, value in after.items() if before.get(name) != value)
    if not differing:
        return None
    ends = is_over(kind, after, today) and not is_over(kind, before, today)
    return Change(kind, subject, Action.END if ends else Action.CHANGE, after, differing)


def is_over(kind: Kind, facts: Facts, today: Today) -> bool:
    """Return whether the subject takes no more part: the agreement has ended, the account is closed, the duty is."""
    if kind is Kind.AGREEMENT:
        ends = date.fromisoformat(facts["valid_until"])
        return ends < today(facts["requesting"]) or ends < date.fromisoformat(facts["valid_from"])
    if kind is Kind.DIRECTOR:
        return not facts["duty"]
    return kind is Kind.PERSON and bool(facts.get("disabled"))


def ends_of_unnamed(kind: Kind, present: State, named: Iterable[str], today: Today) -> Iterator[Change]:
    """Yield the end of each agreement, account or director's duty that a whole network no longer names.

    An agreement ends yesterday, where who asks for reads is; one that has not begun never comes in force: it ends
    before its first day.
    """
    named = set(named)
    for subject, facts in present[kind].items():
        if subject in named or is_over(kind, facts, today):
            continue
        if kind is Kind.PERSON:
            yield Change(kind, subject, Action.END, {**facts, "disabled": True}, (("disabled", False, True),))
            continue
        if kind is Kind.DIRECTOR:
            yield Change(kind, subject, Action.END, {"duty": []}, (("duty", facts["duty"], []),))
            continue
        last = max(today(facts["requesting"]), date.fromisoformat(facts["valid_from"])) - timedelta(days=1)
        differing = (("valid_until", facts["valid_until"], last.isoformat()),)
        yield Change(kind, subject, Action.END, {**facts, "valid_until": last.isoformat()}, differing)


def merged(present: State, changes: Iterable[Change]) -> State:
    """Return the network as it would be after the changes."""
    after: dict[Kind, dict[str, Facts]] = {kind: dict(present[kind]) for kind in Kind}
    for change in changes:
        after[change.kind][change.subject] = change.facts
    return after
