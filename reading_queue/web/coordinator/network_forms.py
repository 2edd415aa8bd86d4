"""Forms of the network's pages: what a field holds, what a form says, and facts in the words of the reader. Pure.

Lists stand in one field, separated by commas; limits as `all=60, MR=10`; extra duty as lines `2026-10-02 08:00-12:00`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from reading_queue.domain.roles import Role, Title
from reading_queue.domain.routing import Service
from reading_queue.errors import HubError
from reading_queue.services.network.network_editing import AgreementOverlaps, FieldsInvalid
from reading_queue.services.network.network_parts import WEEKDAYS
from reading_queue.web.language import WORDS, translate, translate_or
from reading_queue.web.parsing import Form, field, fields
from reading_queue.web.problems import words_of
from storage.contract.lanes import Lane

_SEPARATORS: Final = re.compile(r"[,，;；、\s]+")
CODED: Final[Mapping[str, str]] = {
    "language": "network.language",
    "role": "network.role",
    "title": "network.title",
    "kind": "network.organisation_kind",
    "services": "network.service",
    "specialties": "specialty",
    "body_regions": "region",
}
WRONG: Final = "?"  # what cannot be read stands for itself, and is refused as a field


def organisation_given(form: Form) -> dict[str, Any]:
    """Return the facts of an organisation that the form says."""
    given: dict[str, Any] = {name: field(form, name).strip() for name in ("kind", "name", "name_en", "time_zone")}
    return given | {name: field(form, name).strip() or None for name in ("parent", "site")}


def agreement_given(form: Form) -> dict[str, Any]:
    """Return the terms of an agreement that the form says."""
    limits = {lane.value: field(form, f"limit_{lane}").strip() for lane in Lane}
    return {
        **{name: field(form, name).strip() for name in ("assisting", "stage", "valid_from", "valid_until")},
        **{name: _items(field(form, name)) for name in ("modalities", "body_regions")},
        "services": list(fields(form, "services")),
        "cases_per_day_max": dict(_pair(item) for item in _items(field(form, "cases_per_day_max"))),
        "single_physician": field(form, "single_physician") == "yes",
        "time_limits_min": {lane: minutes for lane, minutes in limits.items() if minutes},
    }


def physician_given(form: Form) -> dict[str, Any]:
    """Return the terms of a physician that the form says."""
    return {
        **{name: field(form, name).strip() for name in ("title", "licence_number", "licence_valid_until", "wip_max")},
        **{name: _items(field(form, name)) for name in ("modalities", "specialties", "also_at")},
        "weekly_rvu_max": field(form, "weekly_rvu_max").strip() or None,
    }


def person_given(form: Form, role: Role) -> dict[str, Any]:
    """Return what the form says of somebody new; what is left empty is as for anybody new."""
    given: dict[str, Any] = {name: field(form, name).strip() for name in ("name", "language")}
    given |= physician_given(form) if role is Role.PHYSICIAN else {}
    return {name: value for name, value in given.items() if value != "" or name in ("name", "licence_number")}


def duty_given(form: Form) -> Any:
    """Return the duty that the form says, as a network document writes it."""
    if field(form, "mode") == "always":
        return "always"
    lines = (line.split(maxsplit=1) for line in field(form, "extra").splitlines() if line.strip())
    return {
        "weekly": {day: _items(field(form, day)) for day in WEEKDAYS},
        "days_off": _items(field(form, "days_off")),
        "extra": {line[0].rstrip(":："): _items(line[1]) if len(line) > 1 else [WRONG] for line in lines},
    }


def organisation_values(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what the fields hold."""
    return {name: str(value or "") for name, value in facts.items()}


def agreement_values(terms: Mapping[str, Any]) -> dict[str, str]:
    """Return what the fields hold."""
    values = {name: str(terms.get(name, "")) for name in ("assisting", "stage", "valid_from", "valid_until")}
    values |= {name: ", ".join(terms.get(name, ())) for name in ("modalities", "body_regions", "services")}
    values["cases_per_day_max"] = ", ".join(f"{name}={most}" for name, most in terms["cases_per_day_max"].items())
    values["single_physician"] = "yes" if terms.get("single_physician") else ""
    return values | {f"limit_{lane}": str(terms["time_limits_min"].get(lane, "")) for lane in Lane}


def physician_values(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what the fields hold."""
    values = {name: str(facts[name]) for name in ("title", "licence_number", "licence_valid_until", "wip_max")}
    values |= {name: ", ".join(facts.get(name, ())) for name in ("modalities", "specialties", "also_at")}
    weekly = facts.get("weekly_rvu_max")
    return values | {"weekly_rvu_max": "" if weekly is None else str(weekly)}


def duty_values(duty: Any) -> dict[str, str]:
    """Return what the fields hold; single periods have no fields."""
    written = duty if isinstance(duty, Mapping) else {}
    weekly, extra = written.get("weekly", {}), written.get("extra", {})
    return {
        "mode": "always" if duty == "always" else "weekly",
        **{day: ", ".join(weekly.get(day, ())) for day in WEEKDAYS},
        "days_off": ", ".join(written.get("days_off", ())),
        "extra": "\n".join(f"{day} {', '.join(shifts)}" for day, shifts in extra.items()),
    }


def typed(form: Form) -> dict[str, str]:
    """Return what was typed, to be shown again."""
    values = {name: field(form, name) for name in form}
    return values | {"services": ", ".join(fields(form, "services"))}


def say(name: str, value: Any) -> str:
    """Return a fact in the reader's words."""
    if isinstance(value, bool):
        return translate("network.yes" if value else "network.no")
    if value is None or (not value and not isinstance(value, int)):
        return translate(f"network.none.{name}") if name in ("modalities", "body_regions") else "—"
    if name == "duty":
        return _say_duty(value)
    if isinstance(value, Mapping):
        return _join(f"{_say_key(key)} {_say_most(name, most)}" for key, most in value.items())
    if isinstance(value, list | tuple):
        return _join(_say_code(name, one) for one in value)
    return _say_code(name, value)


def refusal_words(refused: HubError | None) -> str:
    """Return what a person reads of a refusal: which fields to look at, or with which agreement this overlaps."""
    match refused:
        case None:
            return ""
        case FieldsInvalid():
            return translate("network.check_fields", fields=_join(_hinted(name) for name in refused.fields))
        case AgreementOverlaps():
            return translate("network.overlaps", other=refused.other)
        case _:
            return words_of(refused)


def _hinted(name: str) -> str:
    hint = translate_or(f"network.hint.{name}", translate("network.hint.any"))
    return translate("network.field_hint", field=translate(f"network.field.{name}"), hint=hint)


def _say_duty(duty: Any) -> str:
    if duty == "always":
        return translate("network.duty.always")
    if not isinstance(duty, Mapping):
        return translate("network.duty.periods", count=len(duty))
    days = (f"{translate(f'network.day.{day}')} {'+'.join(shifts)}" for day, shifts in duty.get("weekly", {}).items())
    counts = [
        translate(f"network.duty.{name}", count=len(duty[name])) for name in ("days_off", "extra") if duty.get(name)
    ]
    return _join([*days, *counts])


def _say_code(name: str, value: Any) -> str:
    return translate_or(f"{CODED[name]}.{value}", str(value)) if name in CODED else str(value)


def _say_key(key: str) -> str:
    return translate("network.all") if key == "all" else translate_or(f"lane.{key}", key)


def _say_most(name: str, most: Any) -> str:
    return WORDS.whole_span(most) if name == "time_limits_min" else str(most)


def _join(words: Iterable[str]) -> str:
    return translate("network.comma").join(words)


def _items(text: str) -> list[str]:
    return [item for item in _SEPARATORS.split(text.strip()) if item]


def _pair(item: str) -> tuple[str, str]:
    name, _, most = re.sub("[＝:：]", "=", item).partition("=")
    return name, most or WRONG


NEWCOMER: Final[Mapping[str, str]] = {"language": "zh", "title": "attending", "wip_max": "5", "role": "technician"}
CHOICES: Final = {
    "titles": tuple(Title),
    "kinds": ("township", "county", "municipal", "provincial"),
    "services": tuple(Service),
    "lanes": tuple(Lane),
    "weekdays": WEEKDAYS,
    "languages": ("zh", "en"),
}
