"""Rejection notes as they arrive: Key Object Selections whose title is a code of CID 7011 (IHE RAD IOCM). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from storage.catalogue.amendment_records import Rejection
from storage.contract.identifiers import InvalidIdentifier, parse_uid
from storage.contract.rejection_codes import KEY_OBJECT_DESCRIPTION, KEY_OBJECT_SELECTION, REJECTIONS
from storage.dicom.json_model import DicomJson

REASON_CHARACTERS_MAX: Final = 200


def find_rejection(dataset: DicomJson) -> tuple[Rejection, str] | None:
    """Return what these headers reject and why in their own words; None when they are no rejection note.

    What a note says of other studies than its own is left out: each of them has a note of its own (TID 2010).
    """
    if _first(dataset, "00080016") != KEY_OBJECT_SELECTION:
        return None
    codes = [_first(title, "00080100") for title in _items(dataset, "0040A043") if _is_dcm(title)]
    code = next((one for one in codes if one in REJECTIONS), None)
    study_uid, note_uid = _first(dataset, "0020000D"), _first(dataset, "00080018")
    uids = sorted({uid for uid in _rejected(dataset, study_uid) if uid != note_uid and _is_uid(uid)})
    if code is None or not uids:
        return None
    about = Rejection.model_validate({"code": code, "note_uid": note_uid, "sop_instance_uids": uids})
    return about, _reason(dataset)


def _rejected(dataset: DicomJson, study_uid: Any) -> Iterator[str]:
    for study in _items(dataset, "0040A375"):  # Current Requested Procedure Evidence Sequence
        if _first(study, "0020000D") == study_uid:
            for series in _items(study, "00081115"):
                for one in _items(series, "00081199"):
                    yield str(_first(one, "00081155"))


def _is_uid(text: str) -> bool:
    try:
        parse_uid(text)
    except InvalidIdentifier:
        return False  # it names nothing that could be held
    return True


def _reason(dataset: DicomJson) -> str:
    for item in _items(dataset, "0040A730"):
        if any(_first(name, "00080100") == KEY_OBJECT_DESCRIPTION for name in _items(item, "0040A043")):
            return " ".join(str(_first(item, "0040A160") or "").split())[:REASON_CHARACTERS_MAX]
    return ""


def _is_dcm(title: DicomJson) -> bool:
    return bool(_first(title, "00080102") == "DCM")


def _items(dataset: DicomJson, tag: str) -> list[DicomJson]:
    found: list[DicomJson] = dataset.get(tag, {}).get("Value", [])
    return found


def _first(dataset: DicomJson, tag: str) -> Any:
    values = dataset.get(tag, {}).get("Value") or [None]
    return values[0]
