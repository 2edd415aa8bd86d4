"""A workstation's ORU^R01 as report text: which study, by whom, findings and impression. Pure.

Read are OBR-18 (accession number), the study from an OBX `113014^DICOM Study` or ZDS-1, the physicians of OBR-32 and
OBR-33, and text under LOINC or DCM headings, as RIS and dcm4chee write them.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from storage.contract.wire import ReaderReport
from storage.hl7.message import Message

_TEXT_TYPES: Final = frozenset({"TX", "FT", "ST"})
_STUDY: Final = frozenset({"113014", "110180"})
_PARTS: Final = {
    "59776-5": "findings",
    "121071": "findings",
    "121070": "findings",
    "19005-8": "impression",
    "121073": "impression",
    "121072": "impression",
    "121076": "impression",
    "121077": "impression",
    "18783-1": "recommendation",
    "121074": "recommendation",
    "121075": "recommendation",
}


class OruUnusable(ValueError):
    """The message says too little for a report; the text tells what is missing, and quotes nothing."""


def parse_oru(message: Message) -> list[ReaderReport]:
    """Return the report once for each physician who may be its writer, the author (OBR-33) before the interpreter.

    Raises:
        OruUnusable: it is no ORU^R01, or says neither which study, nor by whom, nor what.
    """
    if (message.get("MSH", 9), message.get("MSH", 9, 2)) != ("ORU", "R01"):
        raise OruUnusable("only ORU^R01 is taken here")
    if len(message.named("OBR")) != 1:
        raise OruUnusable("one report has exactly one OBR")
    place = message.named("OBR")[0]
    texts, study_uid = _observations(message)
    accession = message.at(place, 18) or message.at(place, 3)
    if not study_uid and not accession:
        raise OruUnusable("neither a study instance UID nor an accession number (OBR-18) is given")
    if not texts["findings"] and not texts["impression"]:
        raise OruUnusable("no OBX holds findings (59776-5) or an impression (19005-8)")
    physicians = [message.at(place, 33), message.at(place, 32)]
    physicians = list(dict.fromkeys(one for one in physicians if one))
    if not physicians:
        raise OruUnusable("neither OBR-32 nor OBR-33 names a physician by licence number or login")
    values = {
        "message_id": message.get("MSH", 10),
        "study_uid": study_uid or None,
        "accession_number": accession,
        **{part: "\n".join(lines) for part, lines in texts.items()},
    }
    try:
        return [ReaderReport.model_validate({**values, "physician": physician}) for physician in physicians]
    except ValidationError as exc:
        fields = ", ".join(str(error["loc"][0]) for error in exc.errors(include_input=False))
        raise OruUnusable(f"these are too long or malformed: {fields}") from None


def _observations(message: Message) -> tuple[dict[str, list[str]], str]:
    texts: dict[str, list[str]] = {"findings": [], "impression": [], "recommendation": []}
    study_uid = message.get("ZDS", 1)
    for place in message.named("OBX"):
        code, text = message.at(place, 3), message.text(place, 5).strip()
        if code in _STUDY or message.at(place, 3, 2) == "DICOM Study":
            study_uid = message.at(place, 5)
        elif message.at(place, 2) in _TEXT_TYPES and code in _PARTS and text:
            texts[_PARTS[code]].append(text)
    return texts, study_uid
