"""What can be wrong with a network, and how it is told. Pure.

A fault says where in the file it lies (`path`, as `("physicians", 3, "title")`) and what is wrong, as a code with
parameters; the words are in `domain.network_words`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reading_queue.domain.network_words import FAULTS, IN_FILE

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; a warning keeps nothing from being done."""

    code: str
    path: Path = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    warning: bool = False

    def words(self, language: str = "en") -> str:
        """Return what is wrong, without where."""
        words = FAULTS[language].get(self.code)
        return str(self.params.get("words", self.code)) if words is None else words.format(**self.params)

    def at(self) -> str:
        """Return `physicians[3].title` for the path."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return "".join(steps).lstrip(".")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a line of a file, 0 for the file as such, and its column by name in a table."""

    file: str
    line: int
    column: str | None = None

    def words(self, at: str, language: str = "en") -> str:
        """Return file, line and field in words; `at` names the field where the file is no table."""
        words = IN_FILE[language].format(file=self.file, line=self.line) if self.line else self.file
        field = self.column or at
        return f"{words}{'，' if language == 'zh' else ', '}{field}" if field else words


Places = Mapping[Path, Place]


def find_place(places: Places, path: Path) -> Place | None:
    """Return where the path stands, or the nearest thing around it that has a place."""
    for length in range(len(path), -1, -1):
        if path[:length] in places:
            return places[path[:length]]
    return None


def tell(fault: Fault, places: Places, language: str = "en") -> str:
    """Return one sentence with file, line, field and what is wrong."""
    place = find_place(places, fault.path)
    of_file = place is not None and (place.file.endswith(".csv") or fault.path[:1] == (place.file,))
    where = fault.at() if place is None else place.words("" if of_file else fault.at(), language)
    return f"{where}{'：' if language == 'zh' else ': '}{fault.words(language)}"
