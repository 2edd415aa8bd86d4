"""One answer to a C-FIND: the attributes that were asked for, in a character set that the asker reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from gateway.query.attributes import ATTRIBUTES
from gateway.query.identifier import Identifier
from gateway.query.levels import UNIQUE_KEYS
from gateway.query.matching import Kind
from storage.dicom.charsets import TEXT_VRS
from storage.dicom.recoding import TARGETS, encode_text, recode_dataset

ONLINE: Final = "ONLINE"
UNIVERSAL: Final = "ISO_IR 192"
_READ_AS: Final = {"\\ISO 2022 IR 58": "ISO 2022 IR 58", "ISO 2022 IR 6\\ISO 2022 IR 58": "ISO 2022 IR 58"}


def make_answer(
    identifier: Identifier, row: Mapping[str, Any], retrieve_ae_title: str, asker_character_set: str | None
) -> Dataset:
    """Return the answer for one matching row; what is asked for and unknown is there without a value."""
    answer = Dataset()
    answer.QueryRetrieveLevel = identifier.level
    answer.RetrieveAETitle = retrieve_ae_title
    answer.InstanceAvailability = ONLINE
    for keyword in {**identifier.keys, UNIQUE_KEYS[identifier.level]: ""}:
        attribute = ATTRIBUTES[keyword]
        _add(answer, keyword, _to_dicom(attribute.kind, row[attribute.column]))
    for keyword in identifier.unsupported:
        _add(answer, keyword, None)
    target = choose_target(identifier.character_set, asker_character_set, _texts(answer))
    if target is not None:
        recode_dataset(answer, target)
    return answer


def choose_target(asked: str, configured: str | None, texts: Iterable[str]) -> str | None:
    """Return the character set of an answer, None where ASCII does.

    The asker's own when it can write the texts, else the one configured for it, else Unicode with its right name.
    """
    beyond = [text for text in texts if not text.isascii()]
    asked = _READ_AS.get(asked, asked)
    if not beyond:
        return asked if asked in TARGETS else None
    for target in (asked, configured):
        if target in TARGETS and not any(encode_text(text, target)[1] for text in beyond):
            return target
    return UNIVERSAL


def _to_dicom(kind: Kind, value: Any) -> Any:
    if kind is Kind.DATE:
        return (value or "").replace("-", "")
    return "" if value is None else value


def _add(answer: Dataset, keyword: str, value: Any) -> None:
    """Add an element as it is: pydicom would quote in a warning what an object's maker wrote in an odd form."""
    tag = tag_for_keyword(keyword)
    if tag is not None:
        answer.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))


def _texts(answer: Dataset) -> list[str]:
    return [str(element.value) for element in answer if element.VR in TEXT_VRS and element.value]
