"""What a network's file may say: its parts, each checked alone, and every fault in them with its path. No database.

The parts are read one by one, so that a fault in one keeps none of the others from being looked at. What concerns
several of them, or what the hub knows already, is checked by `domain.network_checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from pydantic import ValidationError

from reading_queue.domain.network_changes import Kind, State, compare, merged
from reading_queue.domain.network_checks import Proposal, check
from reading_queue.domain.network_faults import Fault, Path, Places, tell
from reading_queue.errors import Invalid
from reading_queue.services.network.network_facts import facts_of
from reading_queue.services.network.network_parts import (
    AgreementPart,
    DirectorPart,
    NetworkDocument,
    OrganisationPart,
    Part,
    PersonPart,
    PhysicianPart,
    RosterOfPart,
    faults_of,
)

NOTHING: Final[State] = {kind: {} for kind in Kind}
PARTS: Final[Mapping[str, type[Part]]] = {
    "organisations": OrganisationPart,
    "agreements": AgreementPart,
    "physicians": PhysicianPart,
    "technicians": PersonPart,
    "coordinators": PersonPart,
    "administrators": PersonPart,
    "rosters": RosterOfPart,
    "duty_directors": DirectorPart,
}


class NetworkInvalid(Invalid):
    """The network has faults; nothing was changed."""

    code = "network_invalid"

    def __init__(self, faults: Iterable[Fault], places: Places | None = None) -> None:
        self.faults = tuple(faults)
        self.places = places or {}
        super().__init__("\n".join(self.problems))

    @property
    def problems(self) -> tuple[str, ...]:
        """Return every fault as a sentence, in English."""
        return self.told("en")

    def told(self, language: str) -> tuple[str, ...]:
        """Return every fault as a sentence: file, line and field where they are known, and what is wrong."""
        return tuple(tell(fault, self.places, language) for fault in self.faults)


@dataclass(slots=True)
class ParsedNetwork:
    """A document's sound parts, where each subject stands in it, and the faults of the others."""

    network: NetworkDocument
    sections: tuple[str, ...]  # which the document has at all
    where: dict[tuple[Kind, str], Path] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # codes of organisations that have a fault of their own


def parse_network(document: Mapping[str, Any], places: Places | None = None) -> NetworkDocument:
    """Return the document, which must stand by itself. Raises NetworkInvalid with every fault and its place or path."""
    parsed = parse(document)
    wanted = facts_of(parsed.network)
    changes = compare(NOTHING, wanted, lambda _: date.min)
    proposal = Proposal(NOTHING, merged(NOTHING, changes), changes, lambda _: date.min, parsed.where, parsed.unreadable)
    faults = [*parsed.faults, *(fault for fault in check(proposal) if not fault.warning)]
    if faults:
        raise NetworkInvalid(faults, places)
    return parsed.network


def parse(document: Mapping[str, Any]) -> ParsedNetwork:
    """Return what can be understood of the document, and the faults of the rest."""
    groups: dict[str, list[Any]] = {}
    parsed = ParsedNetwork(NetworkDocument(), tuple(str(name) for name in document))
    for name, items in document.items():
        if name in PARTS:
            groups[name] = list(_sound_parts(parsed, name, items))
        elif name != "simulation":
            parsed.faults.append(Fault("unknown_key", (str(name),)))
    _place_rosters(groups)
    sound: dict[str, Any] = {name: tuple(part for _, part in groups.get(name, ())) for name in PARTS}
    parsed.network = NetworkDocument.model_construct(**sound)
    return parsed


def _sound_parts(parsed: ParsedNetwork, name: str, items: Any) -> Iterator[tuple[int, Part]]:
    """Yield the sound parts of one list with their numbers."""
    if items is None:
        return
    if not isinstance(items, Sequence) or isinstance(items, str):
        parsed.faults.append(Fault("not_a_list", (name,)))
        return
    for number, item in enumerate(items):
        path: Path = (name, number)
        try:
            part = PARTS[name].model_validate(item)
        except ValidationError as exc:
            parsed.faults += faults_of(exc, path)
            if name == "organisations" and isinstance(item, Mapping):
                parsed.unreadable.add(str(item.get("id")))
            continue
        twice = _note(parsed, part, path)
        if twice is None:
            yield number, part
        else:
            parsed.faults.append(twice)


def _note(parsed: ParsedNetwork, part: Part, path: Path) -> Fault | None:
    """Keep where the part stands; return the fault that its code is there twice."""
    for kind, subject, step in _subjects(part):
        if (kind, subject) in parsed.where:
            return Fault("code_twice", (*path, step), {"subject": subject})
    for kind, subject, _ in _subjects(part):
        parsed.where[kind, subject] = path
    return None


def _subjects(part: Part) -> Iterator[tuple[Kind, str, str]]:
    """Yield what the part describes, and the key that says so."""
    if isinstance(part, OrganisationPart):
        yield Kind.ORGANISATION, part.id, "id"
    elif isinstance(part, AgreementPart):
        for requesting in dict.fromkeys(part.requesting):
            yield Kind.AGREEMENT, f"{part.id}:{requesting}", "id"
    elif isinstance(part, PersonPart):
        yield Kind.PERSON, part.login, "login"
        if isinstance(part, PhysicianPart) and part.duty is not None:
            yield Kind.DUTY, part.login, "login"
    elif isinstance(part, DirectorPart):
        yield Kind.DIRECTOR, f"{part.organisation}:{part.login}", "login"
    elif isinstance(part, RosterOfPart):
        yield Kind.DUTY, part.login, "login"


def _place_rosters(groups: dict[str, list[Any]]) -> None:
    """Give the physicians of the document the duty that its rosters say; the others' are at the hub."""
    duty = {part.login: part.duty for _, part in groups.get("rosters", ())}
    own = {part.login for _, part in groups.get("physicians", ())}
    groups["physicians"] = [
        (number, part.model_copy(update={"duty": duty[part.login]}) if part.login in duty else part)
        for number, part in groups.get("physicians", ())
    ]
    groups["rosters"] = [(number, part) for number, part in groups.get("rosters", ()) if part.login not in own]
