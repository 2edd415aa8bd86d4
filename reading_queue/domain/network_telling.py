"""What an import of the network does, told in words before it is done. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reading_queue.domain.network_changes import PEOPLE_KINDS, Action, Change, Kind
from reading_queue.domain.network_words import FIELDS_ZH, KINDS, PLAN
from reading_queue.domain.roles import Role, Title

Group = tuple[str, str, list[Change]]  # kind, subject, all that changes of them


def tell_changes(
    changes: Sequence[Change], unchanged: int, language: str = "en", lines_max: int | None = None
) -> Iterator[str]:
    """Yield the changes line by line: what is added, changed, ended; at most so many of each, and how many stay."""
    say = PLAN[language]
    if not changes:
        yield say["nothing"]
    groups = _by_subject(changes)
    for action in Action:
        own = [group for group in groups if _action_of(group[2]) is action]
        if not own:
            continue
        yield say[action.value].format(count=len(own))
        for kind, subject, of_subject in own[:lines_max]:
            yield _line(kind, subject, of_subject, action, language)
        if lines_max is not None and len(own) > lines_max:
            yield "  " + say["more"].format(count=len(own) - lines_max)
    yield say["unchanged"].format(count=unchanged)


def _by_subject(changes: Iterable[Change]) -> list[Group]:
    """Return what is one thing for who reads it together: a physician with account, terms and duty."""
    groups: dict[tuple[bool, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind in PEOPLE_KINDS, change.subject), []).append(change)
    return [(_kind_of(own), subject, own) for (_, subject), own in groups.items()]


def _kind_of(own: Sequence[Change]) -> str:
    kinds = {change.kind for change in own}
    physician = kinds & {Kind.PHYSICIAN, Kind.DUTY} or any(one.facts.get("role") == Role.PHYSICIAN for one in own)
    return Kind.PHYSICIAN.value if physician else own[0].kind.value


def _action_of(own: Sequence[Change]) -> Action:
    actions = {change.action for change in own}
    return Action.END if Action.END in actions else own[0].action


def _line(kind: str, subject: str, own: Sequence[Change], action: Action, language: str) -> str:
    say = PLAN[language]
    line = say["subject"].format(kind=KINDS[language][kind], subject=subject)
    if action is Action.ADD:
        told = _added(own[0], language)
        return f"{line}{say['colon']}{told}" if told else line
    differing = [
        say["differing"].format(
            name=_name(name, language), old=_value(name, old, language), new=_value(name, new, language)
        )
        for change in own
        for name, old, new in change.differing
    ]
    return line + say["colon"] + say["between"].join(differing)


def _added(change: Change, language: str) -> str:
    """Return what tells somebody who or what it is."""
    facts = change.facts
    if change.kind is Kind.AGREEMENT:
        days = f"{facts['valid_from']} – {facts['valid_until']}"
        stage = f"{_name('stage', language)} {facts['stage']}"
        return PLAN[language]["between"].join((f"{facts['requesting']} → {facts['assisting']}", stage, days))
    if change.kind in (Kind.DUTY, Kind.DIRECTOR):
        return f"{_name('duty', language)} {_value('duty', facts['duty'], language)}"
    return str(facts.get("name", ""))


def _name(name: str, language: str) -> str:
    return FIELDS_ZH.get(name, name) if language == "zh" else name


def _value(name: str, value: Any, language: str) -> str:
    say = PLAN[language]
    if value is None or value in ("", [], {}):
        return say["none"]
    if isinstance(value, bool):
        return say["yes" if value else "no"]
    if name == "title" and language == "zh":
        return Title(value).zh
    if name == "duty" and isinstance(value, list):
        return ", ".join(f"{period['starts_at']} – {period['ends_at']}" for period in value)
    if isinstance(value, Mapping):
        return _pairs(value, language)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pairs(value: Mapping[str, Any], language: str) -> str:
    """Return limits or a roster in one line."""
    flat: list[str] = []
    for name, one in sorted(value.items()):
        if isinstance(one, Mapping):
            flat += [f"{key} {', '.join(words)}" for key, words in one.items()]
        elif one not in ([], {}):
            flat.append(f"{name} {', '.join(map(str, one)) if isinstance(one, list) else one}")
    return "(" + PLAN[language]["between"].join(flat) + ")"
