"""What a reader's evidence says: which images are key, and what was measured on which image. Pure.

Read from the DICOM JSON model of Key Object Selections (PS3.3 section A.35.4) and of structured reports with NUM items
(PS3.16 TID 1500). Values are decimal texts with UCUM units, never floats: they may be signed one day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from storage.contract.rejection_codes import KEY_OBJECT_SELECTION

if TYPE_CHECKING:
    from storage.dicom.json_model import DicomJson  # reads files: not for every page

ITEMS_MAX: Final = 500  # of one document; what is beyond stays in the document itself
DEPTH_MAX: Final = 16
UCUM: Final = "UCUM"
_CONTENT, _VALUE_TYPE, _CONCEPT = "0040A730", "0040A040", "0040A043"
_REFERENCED, _CLASS_UID, _INSTANCE_UID, _FRAMES = "00081199", "00081150", "00081155", "00081160"
_MEASURED, _NUMBER, _UNITS = "0040A300", "0040A30A", "004008EA"
_CODE, _SCHEME, _MEANING = "00080100", "00080102", "00080104"


@dataclass(frozen=True, slots=True)
class MarkedImage:
    """An image, and its frame (from 1) where one is named."""

    sop_instance_uid: str
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One key image, or one measurement with a value as a decimal text; `image` is None where none is named."""

    image: MarkedImage | None
    concept: str = ""  # meaning of the code of what was measured, empty for a key image
    code: str = ""  # scheme and value, e.g. "SCT 410668003"
    value: str = ""
    unit: str = ""  # UCUM

    @property
    def is_measurement(self) -> bool:
        """Return whether this has a value."""
        return self.value != ""

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        image = [self.image.sop_instance_uid, self.image.frame] if self.image is not None else None
        return {
            "image": image, "concept": self.concept, "code": self.code, "value": self.value, "unit": self.unit
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """Return what `as_json` wrote."""
        image = MarkedImage(*data["image"]) if data["image"] is not None else None
        return cls(image, data["concept"], data["code"], data["value"], data["unit"])


def findings_of(dataset: DicomJson, sop_class_uid: str) -> tuple[Finding, ...]:
    """Return the key images or the measurements of a document in its order, none of presentations."""
    found = _key_images(dataset) if sop_class_uid == KEY_OBJECT_SELECTION else _measurements(dataset, None, 0)
    return tuple(finding for _, finding in zip(range(ITEMS_MAX), found, strict=False))


def _key_images(dataset: DicomJson) -> Iterator[Finding]:
    for item in _items(dataset, _CONTENT):
        if (image := _image_of(item)) is not None:
            yield Finding(image)


def _measurements(item: DicomJson, around: MarkedImage | None, depth: int) -> Iterator[Finding]:
    """Yield the NUM items below `item`; one that names no image has that of the group it stands in."""
    if depth > DEPTH_MAX:
        return
    children = _items(item, _CONTENT)
    here = next((image for child in children if (image := _find_image(child, depth)) is not None), around)
    for child in children:
        if _text(child, _VALUE_TYPE) == "NUM" and (finding := _measurement(child, here, depth)) is not None:
            yield finding
        yield from _measurements(child, here, depth + 1)


def _measurement(item: DicomJson, around: MarkedImage | None, depth: int) -> Finding | None:
    measured = next(iter(_items(item, _MEASURED)), None)
    concept = next(iter(_items(item, _CONCEPT)), {})
    value = _decimal(measured) if measured is not None else None
    if measured is None or value is None:
        return None
    unit = next(iter(_items(measured, _UNITS)), {})
    return Finding(
        image=_find_image(item, depth) or around,
        concept=_text(concept, _MEANING),
        code=f"{_text(concept, _SCHEME)} {_text(concept, _CODE)}".strip(),
        value=value,
        unit=_text(unit, _CODE) if _text(unit, _SCHEME) == UCUM else _text(unit, _MEANING),
    )


def _find_image(item: DicomJson, depth: int) -> MarkedImage | None:
    """Return the image that a content item names: itself, or the coordinates and values below it."""
    if (image := _image_of(item)) is not None or depth > DEPTH_MAX:
        return image
    if _text(item, _VALUE_TYPE) not in ("NUM", "SCOORD"):
        return None
    below = (_find_image(child, depth + 1) for child in _items(item, _CONTENT))
    return next((image for image in below if image is not None), None)


def _image_of(item: DicomJson) -> MarkedImage | None:
    if _text(item, _VALUE_TYPE) != "IMAGE":
        return None
    for reference in _items(item, _REFERENCED):
        if uid := _text(reference, _INSTANCE_UID):
            frame = next(iter(reference.get(_FRAMES, {}).get("Value", ())), None)
            return MarkedImage(uid, frame if isinstance(frame, int) else None)
    return None


def _decimal(measured: DicomJson) -> str | None:
    value = next(iter(measured.get(_NUMBER, {}).get("Value", ())), None)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return format(number, "f") if number.is_finite() and -18 <= number.adjusted() <= 18 else None


def _items(item: DicomJson, tag: str) -> list[DicomJson]:
    return [one for one in item.get(tag, {}).get("Value", ()) if isinstance(one, dict)]


def _text(item: DicomJson, tag: str) -> str:
    value = next(iter(item.get(tag, {}).get("Value", ())), "")
    return value if isinstance(value, str) else ""
