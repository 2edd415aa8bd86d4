"""Where claimed cases go at this hospital; a gateway in reader mode with nowhere to bring them says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.settings import GatewaySettings
from gateway.targets import PacsTarget

NOWHERE: Final = (
    "Claimed cases are not copied: no [[targets]] of kind pacs is configured, and no [[dicom.peers]] may query or"
    " retrieve. Configure one of them; reports of workstations are taken meanwhile."
)


@dataclass(frozen=True, slots=True)
class Places:
    """The PACS that claimed cases are brought into, and whether workstations may ask for them here."""

    pacs: tuple[str, ...]
    answers: bool

    @classmethod
    def of(cls, settings: GatewaySettings) -> Places:
        """Return what is configured."""
        pacs = tuple(one.target for one in settings.targets if isinstance(one, PacsTarget))
        return cls(pacs, settings.answers_for_claimed_cases)

    @property
    def has_any(self) -> bool:
        """Return whether a copy would be of use to anybody."""
        return bool(self.pacs) or self.answers

    def words(self) -> str:
        """Return one sentence for the technician."""
        if not self.has_any:
            return NOWHERE
        if not self.pacs:
            return "No PACS is configured: claimed cases wait here until a workstation asks for them."
        asked = ", and workstations may ask for them here" if self.answers else ""
        return f"Claimed cases go to {', '.join(self.pacs)}{asked}."
