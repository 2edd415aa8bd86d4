"""One answer to a worklist query: what was asked for, in a character set that the scanner reads. Pure.

Every answer is made of new elements: a PersonName remembers the bytes that it was first written with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.query.answers import choose_target
from gateway.worklist.items import Item
from gateway.worklist.keys import Question, Wanted
from storage.dicom.charsets import TEXT_VRS
from storage.dicom.recoding import recode_dataset


def make_answer(question: Question, item: Item, asker_character_set: str | None) -> Dataset:
    """Return the answer for one matching item; what is asked for and unknown is there without a value."""
    answer = _select(item, question.wanted)
    target = choose_target(question.character_set, asker_character_set, list(_texts(answer)))
    if target is not None:
        recode_dataset(answer, target)
    return answer


def has_unsupported(item: Item, wanted: Wanted) -> bool:
    """Return whether something is asked for that no worklist item of this gateway has."""
    for keyword, of_items in wanted.items():
        if keyword not in item:
            return True
        nested = item[keyword]
        if of_items and any(has_unsupported(one, of_items) for one in nested or []):
            return True
    return False


def _select(item: Item, wanted: Wanted) -> Dataset:
    answer = Dataset()
    for keyword, of_items in wanted.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        value: Any = item.get(keyword)
        if of_items is not None:
            value = Sequence([_select(one, of_items or dict.fromkeys(one)) for one in value or []])
        elif isinstance(value, list):
            continue  # a sequence was asked for as something else
        # Values come from orders, which were checked; pydicom would quote in a warning what it finds odd.
        answer.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return answer


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in TEXT_VRS and element.value:
            yield str(element.value)
