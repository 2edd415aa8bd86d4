"""The Identifier of a C-FIND, C-MOVE or C-GET: read as its sender wrote it, and checked (PS3.4 section C.4). Pure.

Text is decoded by the declared character set, else by the one configured for the asker, else by what its bytes look
like. Queries are hierarchical: each level above is named by its unique key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from gateway.query.attributes import ANSWERED_ANYWAY, ATTRIBUTES
from gateway.query.levels import UNIQUE_KEYS, InformationModel, Level
from gateway.query.matching import Kind, is_single_value
from storage.dicom.charsets import TEXT_VRS, CharacterSet, choose_character_set

ELEMENTS_MAX: Final = 256
VALUE_BYTES_MAX: Final = 256 * 1024  # a list of four thousand UIDs


class IdentifierUnusable(Exception):
    """The identifier asks for nothing that there is; the message (at most 64 characters) goes to the asker."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """What is asked for. `keys` by keyword, empty where the value is; `unsupported`: asked for, and never answered."""

    level: Level
    keys: Mapping[str, str]
    unsupported: tuple[str, ...]
    character_set: str

    @property
    def has_unsupported(self) -> bool:
        """Return whether something is asked for that this gateway neither matches nor returns."""
        return bool(self.unsupported)


def read_identifier(dataset: Dataset, model: InformationModel, asker_character_set: str | None) -> Identifier:
    """Return what the identifier asks for.

    Raises:
        IdentifierUnusable: its level is not one of the model, or there is too much of it.
    """
    raw = dict(_raw_values(dataset))
    declared = raw.get("SpecificCharacterSet", b"").decode("ascii", "replace").strip(" \0")
    texts = [value for keyword, value in raw.items() if dictionary_VR(keyword) in TEXT_VRS]
    reading = choose_character_set(declared or asker_character_set or "", texts)
    values = {keyword: _decode(keyword, value, reading) for keyword, value in raw.items()}
    try:
        level = Level(values.get("QueryRetrieveLevel", ""))
    except ValueError:
        raise IdentifierUnusable("Query/Retrieve Level is missing or none of the standard's") from None
    if level not in model.levels:
        raise IdentifierUnusable(f"{model.name} has no level {level}")
    keys = {
        keyword: text
        for keyword, text in values.items()
        if keyword in ATTRIBUTES and ATTRIBUTES[keyword].is_answered_at(level)
    }
    unsupported = tuple(keyword for keyword in values if keyword not in keys and keyword not in ANSWERED_ANYWAY)
    return Identifier(level, keys, unsupported, declared)


def check_hierarchy(identifier: Identifier, model: InformationModel) -> None:
    """Return when every level above is named by one value of its unique key.

    Raises:
        IdentifierUnusable: one is not; relational queries were not negotiated.
    """
    for level in model.levels[: model.levels.index(identifier.level)]:
        keyword = UNIQUE_KEYS[level]
        if not is_single_value(ATTRIBUTES[keyword].kind, identifier.keys.get(keyword, "")):
            raise IdentifierUnusable(f"Level {identifier.level} needs one {keyword}")


def check_retrieval(identifier: Identifier, model: InformationModel) -> None:
    """Return when the identifier names what to send: unique keys alone, at its own level one or a list of them.

    Raises:
        IdentifierUnusable: it does not.
    """
    check_hierarchy(identifier, model)
    keyword = UNIQUE_KEYS[identifier.level]
    wanted = identifier.keys.get(keyword, "")
    if not wanted or any(mark in wanted for mark in "*?"):
        raise IdentifierUnusable(f"Level {identifier.level} needs one or more {keyword}, no wildcards")
    if ATTRIBUTES[keyword].kind is not Kind.UID and "\\" in wanted:
        raise IdentifierUnusable(f"Level {identifier.level} needs one {keyword}")


def _raw_values(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    tags = [tag for tag in dataset.keys() if not tag.is_private and tag.element != 0]  # noqa: SIM118 -- tags, unread
    if len(tags) > ELEMENTS_MAX:
        raise IdentifierUnusable(f"More than {ELEMENTS_MAX} keys in one identifier")
    for tag in tags:
        keyword = keyword_for_tag(tag)
        if keyword:
            yield keyword, _raw_value(dataset, tag)


def _raw_value(dataset: Dataset, tag: BaseTag) -> bytes:
    element: Any = dataset.get_item(tag)
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return b""  # a sequence: asked for, never matched
    if len(element.value) > VALUE_BYTES_MAX:
        raise IdentifierUnusable("A key of the identifier is too long")
    return element.value


def _decode(keyword: str, value: bytes, reading: CharacterSet) -> str:
    if dictionary_VR(keyword) in TEXT_VRS:
        return reading.decode(value)
    return value.decode("ascii", "replace").strip(" \0")
