"""What each attribute of a workitem must be when it is created, set, ended and listed, as data. Pure.

The rows of PS3.4 Table CC.2.5-3 "UPS SOP Class N-CREATE/N-SET/N-GET/C-FIND Attributes" (section CC.2.5.1.3), for the
attributes that the table names and the items of the performed procedure; its final state codes are those of Table
CC.2.5-1. Rows of type 3 that the hub neither reads nor tells are left out: "all other attributes" are 3/3, O, "-".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOT_ALLOWED: Final = "not allowed"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row: the types that hold for a client (N-CREATE, N-SET), the final state code, and the return key type."""

    tag: str
    vr: str
    name: str
    create: str
    set: str
    final: str
    listed: str
    is_created_empty: bool = False

    @property
    def words(self) -> str:
        """Its name and tag, as the standard writes them."""
        return f"{self.name} ({self.tag[:4]},{self.tag[4:]})"


ATTRIBUTES: Final = (
    Attribute("00081195", "UI", "Transaction UID", "2", "", "O", "-", is_created_empty=True),
    # SOP Common
    Attribute("00080005", "CS", "Specific Character Set", "1C", "1C", "RC", "1C"),
    Attribute("00080016", "UI", "SOP Class UID", "", NOT_ALLOWED, "R", "1"),
    Attribute("00080018", "UI", "SOP Instance UID", "", NOT_ALLOWED, "R", "1"),
    # Unified Procedure Step Scheduled Procedure Information
    Attribute("00741200", "CS", "Scheduled Procedure Step Priority", "1", "3", "R", "1"),
    Attribute("00404010", "DT", "Scheduled Procedure Step Modification DateTime", "", "", "R", "3"),
    Attribute("00741204", "LO", "Procedure Step Label", "1", "3", "O", "1"),
    Attribute("00741202", "LO", "Worklist Label", "2", "3", "O", "1"),
    Attribute("00741210", "SQ", "Scheduled Processing Parameters Sequence", "2", "3", "O", "2"),
    Attribute("00404025", "SQ", "Scheduled Station Name Code Sequence", "2", "3", "O", "2"),
    Attribute("00404026", "SQ", "Scheduled Station Class Code Sequence", "2", "3", "O", "2"),
    Attribute("00404027", "SQ", "Scheduled Station Geographic Location Code Sequence", "2", "3", "O", "2"),
    Attribute("00404034", "SQ", "Scheduled Human Performers Sequence", "2C", "3", "O", "2"),
    Attribute("00404005", "DT", "Scheduled Procedure Step Start DateTime", "1", "3", "R", "1"),
    Attribute("00404011", "DT", "Expected Completion DateTime", "3", "3", "O", "3"),
    Attribute("00404018", "SQ", "Scheduled Workitem Code Sequence", "2", "3", "O", "2"),
    Attribute("00400400", "LT", "Comments on the Scheduled Procedure Step", "2", "3", "O", "3"),
    Attribute("00404041", "CS", "Input Readiness State", "1", "3", "R", "1"),
    Attribute("00404021", "SQ", "Input Information Sequence", "2", "3", "O", "2"),
    Attribute("0020000D", "UI", "Study Instance UID", "1C", "3", "O", "2"),
    # Unified Procedure Step Relationship
    Attribute("00100010", "PN", "Patient's Name", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00100020", "LO", "Patient ID", "1C", NOT_ALLOWED, "O", "2"),
    Attribute("00100021", "LO", "Issuer of Patient ID", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00101002", "SQ", "Other Patient IDs Sequence", "2", "3", "O", "2"),
    Attribute("00100030", "DA", "Patient's Birth Date", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00100040", "CS", "Patient's Sex", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00380010", "LO", "Admission ID", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00380014", "SQ", "Issuer of Admission ID Sequence", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00081080", "LO", "Admitting Diagnoses Description", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00081084", "SQ", "Admitting Diagnoses Code Sequence", "2", NOT_ALLOWED, "O", "2"),
    Attribute("0040A370", "SQ", "Referenced Request Sequence", "2", NOT_ALLOWED, "O", "2"),
    Attribute("00741224", "SQ", "Replaced Procedure Step Sequence", "1C", NOT_ALLOWED, "O", "3"),
    # Unified Procedure Step Progress Information
    Attribute("00741000", "CS", "Procedure Step State", "1", NOT_ALLOWED, "R", "1"),
    Attribute(
        "00741002", "SQ", "Procedure Step Progress Information Sequence", "2", "3", "X", "2", is_created_empty=True
    ),
    # Unified Procedure Step Performed Procedure Information
    Attribute(
        "00741216",
        "SQ",
        "Unified Procedure Step Performed Procedure Sequence",
        "2",
        "3",
        "P",
        "-",
        is_created_empty=True,
    ),
)
# The items of the Unified Procedure Step Performed Procedure Sequence.
PERFORMED_ATTRIBUTES: Final = (
    Attribute("00404035", "SQ", "Actual Human Performers Sequence", NOT_ALLOWED, "3", "RC", "1C"),
    Attribute("00404028", "SQ", "Performed Station Name Code Sequence", NOT_ALLOWED, "3", "P", "3"),
    Attribute("00404050", "DT", "Performed Procedure Step Start DateTime", NOT_ALLOWED, "3", "P", "-"),
    Attribute("00404019", "SQ", "Performed Workitem Code Sequence", NOT_ALLOWED, "3", "P", "-"),
    Attribute("00404051", "DT", "Performed Procedure Step End DateTime", NOT_ALLOWED, "3", "P", "1C"),
    Attribute("00404033", "SQ", "Output Information Sequence", NOT_ALLOWED, "2", "P", "-"),
)
BY_TAG: Final = {attribute.tag: attribute for attribute in ATTRIBUTES}
