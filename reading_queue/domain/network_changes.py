"""What an import of the network would do: the facts of the file beside those of the hub. Pure.

Facts are plain values of JSON, named as in the network's file; dates are ISO texts. What a file does not say of a
subject (its value is None) is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

Facts = Mapping[str, Any]


class Kind(StrEnum):
    """What a network consists of, in the order in which it is recorded."""

    ORGANISATION = "organisation"
    AGREEMENT = "agreement"
    PERSON = "person"
    PHYSICIAN = "physician"
    DUTY = "duty"


class Action(StrEnum):
    """What becomes of a subject."""

    ADD = "add"
    CHANGE = "change"
    END = "end"


MAY_BE_LEFT_OUT: Final = frozenset({"language", "disabled", "duty"})  # None means: as it is


@dataclass(frozen=True, slots=True)
class Change:
    """One subject that would not stay as it is, with all its facts afterwards and those that differ."""

    kind: Kind
    subject: str
    action: Action
    facts: Facts
    differing: tuple[tuple[str, Any, Any], ...] = ()  # name, old, new


def compare(kind: Kind, present: Mapping[str, Facts], wanted: Mapping[str, Facts], today: date) -> list[Change]:
    """Return what the wanted facts would change, in their order."""
    changes = (_compare_one(kind, subject, present.get(subject), facts, today) for subject, facts in wanted.items())
    return [change for change in changes if change is not None]


def _compare_one(kind: Kind, subject: str, before: Facts | None, wanted: Facts, today: date) -> Change | None:
    if before is None:
        return Change(kind, subject, Action.ADD, wanted)
    after = {
        name: before.get(name) if value is None and name in MAY_BE_LEFT_OUT else value for name, value in wanted.items()
    }
    differing = tuple((name, before.get(name), value) for name, value in after.items() if before.get(name) != value)
    if not differing:
        return None
    ends = is_over(kind, after, today) and not is_over(kind, before, today)
    return Change(kind, subject, Action.END if ends else Action.CHANGE, after, differing)


def is_over(kind: Kind, facts: Facts, today: date) -> bool:
    """Return whether the subject takes no more part: the agreement has ended, the account is closed."""
    if kind is Kind.AGREEMENT:
        return bool(date.fromisoformat(facts["valid_until"]) < today)
    return kind is Kind.PERSON and bool(facts.get("disabled"))


def end_of(kind: Kind, facts: Facts, yesterday: date) -> Facts:
    """Return the facts of the subject when it ends today. An agreement that has not begun never comes in force."""
    if kind is Kind.PERSON:
        return {**facts, "disabled": True}
    begins = date.fromisoformat(facts["valid_from"])
    last_day = yesterday if begins <= yesterday else begins.fromordinal(begins.toordinal() - 1)
    return {**facts, "valid_until": last_day.isoformat()}


def left_out(kind: Kind, present: Mapping[str, Facts], named: Iterable[str], yesterday: date) -> list[Change]:
    """Return the end of each agreement or account that a whole network no longer names."""
    named = set(named)
    ends = []
    for subject, facts in present.items():
        if subject in named or is_over(kind, facts, yesterday.fromordinal(yesterday.toordinal() + 1)):
            continue
        after = end_of(kind, facts, yesterday)
        differing = tuple((name, facts[name], after[name]) for name in after if facts.get(name) != after[name])
        if differing:
            ends.append(Change(kind, subject, Action.END, after, differing))
    return ends
