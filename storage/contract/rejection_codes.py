"""What rejection notes are and say: key object selections whose title is why (PS3.16 CID 7011, IHE RAD IOCM). Pure."""

from __future__ import annotations

from typing import Final, Literal

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
KEY_OBJECT_DESCRIPTION: Final = "113012"  # DCM: the words of whoever selected (PS3.16 TID 2010)
QUALITY, SAFETY, WORKLIST, RETENTION = "113001", "113037", "113038", "113039"  # DCM, CID 7011
RejectionCode = Literal["113001", "113037", "113038", "113039"]
# Several notes may reject one instance: the first of these that one of them says counts.
REJECTIONS: Final[dict[str, str]] = {
    SAFETY: "Rejected for Patient Safety Reasons",
    WORKLIST: "Incorrect Modality Worklist Entry",
    RETENTION: "Data Retention Policy Expired",
    QUALITY: "Rejected for Quality Reasons",
}
