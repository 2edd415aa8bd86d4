"""What is wrong with a network as it would be after an import, told where the file says it. Pure.

Only what an import changes is refused: an expired licence that the hub already knows of keeps nobody from exporting a
network and importing it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from reading_queue.domain.agreement_terms import share
from reading_queue.domain.network_changes import Change, Facts, Kind, State, Today
from reading_queue.domain.network_faults import Fault, Path
from reading_queue.domain.roles import Role

DEPTH_MAX: Final = 8  # as many organisations routing looks at on the way up


@dataclass(frozen=True, slots=True)
class Proposal:
    """A network before and after an import, and where the file says what."""

    before: State
    after: State
    changes: Collection[Change]
    today: Today
    where: Mapping[tuple[Kind, str], Path] = field(default_factory=dict)
    unreadable: Collection[str] = ()  # codes of organisations that the file names, but with a fault

    def changed(self, kind: Kind) -> list[Change]:
        """Return the changes of one kind."""
        return [change for change in self.changes if change.kind is kind]

    def path(self, kind: Kind, subject: str, *steps: str | int) -> Path:
        """Return where the file says it."""
        return (*self.where.get((kind, subject), (subject,)), *steps)

    def knows(self, organisation: str) -> bool:
        """Return whether there is, or would be, such an organisation."""
        return organisation in self.after[Kind.ORGANISATION] or organisation in self.unreadable


def check(proposal: Proposal) -> list[Fault]:
    """Return everything that is wrong, warnings among it."""
    return [
        *_organisations(proposal),
        *_agreements(proposal),
        *_overlapping(proposal),
        *_people(proposal),
        *_physicians(proposal),
        *_duty(proposal),
        *_directors(proposal),
    ]


def _organisations(proposal: Proposal) -> Iterator[Fault]:
    organisations = proposal.after[Kind.ORGANISATION]
    sites: dict[str, str] = {}
    changed = {change.subject for change in proposal.changed(Kind.ORGANISATION)}
    for code in sorted(organisations, key=lambda one: one in changed):  # those that stay are first
        site = organisations[code]["site"]
        if site is not None and sites.setdefault(site, code) != code:
            path = proposal.path(Kind.ORGANISATION, code, "site")
            yield Fault("site_twice", path, {"site": site, "other": sites[site]})
    for change in proposal.changed(Kind.ORGANISATION):
        lost = proposal.before[Kind.ORGANISATION].get(change.subject, {"site": None})["site"]
        if lost is not None and lost not in sites:
            path = proposal.path(Kind.ORGANISATION, change.subject, "site")
            yield Fault("site_stays", path, {"organisation": change.subject, "site": lost})
        path = proposal.path(Kind.ORGANISATION, change.subject, "parent")
        parent = change.facts["parent"]
        if parent is not None and not proposal.knows(parent):
            yield Fault("unknown_organisation", path, {"organisation": parent})
            continue
        above, circular = _above(change.subject, organisations)
        if circular:
            circle = " → ".join((*above, change.subject))
            yield Fault("own_ancestor", path, {"organisation": change.subject, "circle": circle})
        elif len(above) > DEPTH_MAX:
            yield Fault("too_deep", path, {"organisation": change.subject, "limit": DEPTH_MAX - 1})
    for code in organisations.keys() - changed if changed else ():
        above, circular = _above(code, organisations)
        moved = next((one for one in above if one in changed), None)
        if moved is not None and not circular and len(above) > DEPTH_MAX:
            path = proposal.path(Kind.ORGANISATION, moved, "parent")
            yield Fault("too_deep", path, {"organisation": code, "limit": DEPTH_MAX - 1})


def _above(code: str, organisations: Mapping[str, Facts]) -> tuple[list[str], bool]:
    """Return the organisation and those above it, and whether it stands among them."""
    above = [code]
    parent = organisations[code]["parent"]
    while parent in organisations and parent not in above:
        above.append(parent)
        parent = organisations[parent]["parent"]
    return above, parent == code


def _agreements(proposal: Proposal) -> Iterator[Fault]:
    for change in proposal.changed(Kind.AGREEMENT):
        facts = change.facts
        for name in ("requesting", "assisting"):
            if not proposal.knows(facts[name]):
                path = proposal.path(Kind.AGREEMENT, change.subject, name)
                yield Fault("unknown_organisation", path, {"organisation": facts[name]})
        named = (Kind.AGREEMENT, change.subject) in proposal.where
        if named and facts["valid_until"] < facts["valid_from"]:
            path = proposal.path(Kind.AGREEMENT, change.subject, "valid_until")
            yield Fault("ends_before", path, {"begins": facts["valid_from"]})


def _overlapping(proposal: Proposal) -> Iterator[Fault]:
    """Yield each two agreements between which nothing could choose: same pair, stage, work and days."""
    changed = {change.subject for change in proposal.changed(Kind.AGREEMENT)}
    alike: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for subject, facts in proposal.after[Kind.AGREEMENT].items():
        alike[facts["assisting"], facts["stage"], facts["requesting"]].append(subject)
    told: set[tuple[str, str]] = set()
    for (assisting, stage, requesting), subjects in alike.items():
        for subject in (one for one in reversed(subjects) if one in changed):
            facts = proposal.after[Kind.AGREEMENT][subject]
            for other in subjects:
                pair = _names(subject, other)
                beside = proposal.after[Kind.AGREEMENT][other]
                if other == subject or pair in told or not _overlap(facts, beside, proposal.today(requesting)):
                    continue
                told |= {pair, pair[::-1]}
                params = {"requesting": requesting, "assisting": assisting, "stage": stage}
                path = proposal.path(Kind.AGREEMENT, subject, "valid_from")
                yield Fault("overlapping", path, {"one": pair[0], "other": pair[1], **params})


def _names(one: str, other: str) -> tuple[str, str]:
    """Return the codes under which both were agreed."""
    return one.partition(":")[0], other.partition(":")[0]


def _overlap(one: Facts, other: Facts, today: date) -> bool:
    begins = max(one["valid_from"], other["valid_from"], today.isoformat())  # what was cannot be chosen any more
    days = begins <= min(one["valid_until"], other["valid_until"])
    return days and all(share(one[name], other[name]) for name in ("modalities", "body_regions", "services"))


def _people(proposal: Proposal) -> Iterator[Fault]:
    for change in proposal.changed(Kind.PERSON):
        organisation, role = change.facts["organisation"], change.facts["role"]
        path = proposal.path(Kind.PERSON, change.subject, "organisation")
        if not proposal.knows(organisation):
            yield Fault("unknown_organisation", path, {"organisation": organisation})
        elif (
            role == Role.TECHNICIAN
            and proposal.after[Kind.ORGANISATION].get(organisation, {"site": ""})["site"] is None
        ):
            yield Fault("no_site", path, {"organisation": organisation})
        last_day = change.facts["last_day"]
        today = proposal.today(organisation)
        if last_day is not None and not change.facts["disabled"] and last_day < today.isoformat():
            path = proposal.path(Kind.PERSON, change.subject, "last_day")
            yield Fault("last_day_over", path, {"login": change.subject, "day": last_day})
        if change.subject in proposal.before[Kind.PHYSICIAN] and role != Role.PHYSICIAN:
            yield Fault(
                "stays_physician", proposal.path(Kind.PERSON, change.subject, "login"), {"login": change.subject}
            )
    open_before, open_after = (_administrators(state) for state in (proposal.before, proposal.after))
    if open_before and not open_after:
        yield Fault("no_administrator", ("administrators",))


def _administrators(state: State) -> bool:
    return any(one["role"] == Role.ADMINISTRATOR and not one["disabled"] for one in state[Kind.PERSON].values())


def _physicians(proposal: Proposal) -> Iterator[Fault]:
    changed = {change.subject for kind in (Kind.PHYSICIAN, Kind.PERSON) for change in proposal.changed(kind)}
    yield from _licences_twice(proposal, changed)
    for login, facts in proposal.after[Kind.PHYSICIAN].items():
        named = (Kind.PERSON, login) in proposal.where
        before = proposal.before[Kind.PHYSICIAN].get(login, {})
        organisation = proposal.after[Kind.PERSON][login]["organisation"]
        if named and date.fromisoformat(facts["licence_valid_until"]) < proposal.today(organisation):
            known = before.get("licence_valid_until") == facts["licence_valid_until"]
            path = proposal.path(Kind.PERSON, login, "licence_valid_until")
            yield Fault("licence_expired", path, {"login": login, "day": facts["licence_valid_until"]}, warning=known)
        for other in facts["also_at"] if login in changed else ():
            path = proposal.path(Kind.PERSON, login, "also_at")
            if not proposal.knows(other):
                yield Fault("unknown_organisation", path, {"organisation": other})
            elif other == proposal.after[Kind.PERSON][login]["organisation"]:
                yield Fault("own_hospital", path, {"organisation": other})


def _licences_twice(proposal: Proposal, changed: Collection[str]) -> Iterator[Fault]:
    """Yield who would have the licence of somebody else: one person under two names could sign for two physicians."""
    having: dict[str, str] = {}
    physicians = proposal.after[Kind.PHYSICIAN]
    for login in sorted(physicians, key=lambda one: one in changed):  # those that stay are first
        number = physicians[login]["licence_number"]
        if proposal.after[Kind.PERSON][login]["disabled"]:
            continue
        if having.setdefault(number, login) != login and login in changed:
            path = proposal.path(Kind.PERSON, login, "licence_number")
            yield Fault("licence_twice", path, {"number": number, "other": having[number]})


def _duty(proposal: Proposal) -> Iterator[Fault]:
    for change in proposal.changed(Kind.DUTY):
        if change.subject not in proposal.after[Kind.PHYSICIAN]:
            path = proposal.path(Kind.DUTY, change.subject, "login")
            yield Fault("unknown_physician", path, {"login": change.subject})


def _directors(proposal: Proposal) -> Iterator[Fault]:
    for change in proposal.changed(Kind.DIRECTOR):
        organisation, _, login = change.subject.partition(":")
        if not proposal.knows(organisation):
            path = proposal.path(Kind.DIRECTOR, change.subject, "organisation")
            yield Fault("unknown_organisation", path, {"organisation": organisation})
        person = proposal.after[Kind.PERSON].get(login)
        path = proposal.path(Kind.DIRECTOR, change.subject, "login")
        if person is None:
            yield Fault("unknown_person", path, {"login": login})
        elif change.facts["duty"] != [] and (person["disabled"] or person["role"] == Role.TECHNICIAN):
            yield Fault("no_director", path, {"login": login})
