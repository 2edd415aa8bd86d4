"""Who people are: the role of an account, the title of a physician. Pure."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What an account may do at all; what it may see is decided case by case."""

    TECHNICIAN = "technician"
    PHYSICIAN = "physician"
    COORDINATOR = "coordinator"
    ADMINISTRATOR = "administrator"


class Title(StrEnum):
    """A physician's professional title (医师职称)."""

    RESIDENT = "resident"
    ATTENDING = "attending"
    ASSOCIATE_CHIEF = "associate_chief"
    CHIEF = "chief"

    @property
    def rank(self) -> int:
        """The order of seniority, from 1."""
        return _RANKS[self]

    @property
    def zh(self) -> str:
        """The title as it stands on a Chinese report."""
        return _TITLES_ZH[self]


_RANKS = {title: place for place, title in enumerate(Title, start=1)}
_TITLES_ZH = {
    Title.RESIDENT: "住院医师",
    Title.ATTENDING: "主治医师",
    Title.ASSOCIATE_CHIEF: "副主任医师",
    Title.CHIEF: "主任医师",
}

# Verification (审核) needs at least this title (reference norm: 放射科管理规范与质控标准, two-physician rule).
VERIFIER_TITLE_MIN = Title.ATTENDING

# Who leads (组长): may take a colleague's claim over and amend what a colleague has signed, in their own hospital.
LEAD_TITLES = frozenset({Title.ASSOCIATE_CHIEF, Title.CHIEF})
