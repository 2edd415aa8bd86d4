"""What a query string asks for, and what it may not ask for."""

from __future__ import annotations

import pytest

from storage.dicomweb.errors import BadQuery
from storage.dicomweb.searching.conditions import COLUMNS
from storage.dicomweb.searching.keys import KEYS, Level, find_key
from storage.dicomweb.searching.parsing import OFFSET_MAX, RESULTS_MAX, RESULTS_OF_A_STUDY_MAX, Search, parse_search

# PS3.18 tables 10.6.1-3 to 10.6.1-5, as far as the catalogue knows them.
REQUIRED = {
    Level.STUDY: {
        "00080020", "00080030", "00080050", "00080061", "00080090", "00100010", "00100020", "0020000D", "00200010",
    },
    Level.SERIES: {"00080060", "0020000E", "00200011"},
    Level.INSTANCE: {"00080016", "00080018", "00200013"},
}  # fmt: skip


def asked(*pairs: tuple[str, str], level: Level = Level.STUDY) -> Search:
    return parse_search(pairs, level)


def test_every_required_key_of_the_standard_can_be_searched() -> None:
    for level, tags in REQUIRED.items():
        assert tags <= {key.tag for key in KEYS if key.level == level}


def test_every_key_has_its_column_and_its_own_name() -> None:
    assert set(COLUMNS) == {key.keyword for key in KEYS}
    assert len({key.tag for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize("name", ["Modality", "00080060"])
def test_keys_of_a_level_are_for_it_and_what_is_below(name: str) -> None:
    assert find_key(name, Level.STUDY) is None
    assert find_key(name, Level.SERIES) is find_key("Modality", Level.INSTANCE) is not None


def test_tag_is_written_in_either_case() -> None:
    assert find_key("0020000d", Level.STUDY) is find_key("StudyInstanceUID", Level.STUDY)


def test_empty_value_asks_for_nothing() -> None:
    assert asked(("PatientID", ""), ("limit", ""), ("fuzzymatching", "")).keys == {}


@pytest.mark.parametrize(("level", "at_most"), RESULTS_MAX.items())
def test_limit_is_cut_to_what_one_answer_holds(level: Level, at_most: int) -> None:
    assert [asked(*pairs, level=level).limit for pairs in ((), (("limit", "9" * 12),), (("limit", "3"),))] == [
        at_most,
        at_most,
        3,
    ]


def test_one_study_is_answered_as_a_whole() -> None:
    assert parse_search((), Level.INSTANCE, of_study=True).limit == RESULTS_OF_A_STUDY_MAX


def test_attributes_to_be_included_come_in_one_list_or_many() -> None:
    pairs = (("includefield", "00081030,Rows"), ("includefield", "all"), ("includefield", "Rows"))
    assert asked(*pairs).fields == ("00081030", "Rows", "all")


@pytest.mark.parametrize(
    "pairs",
    [
        [("Modality", "CT")],
        [("PatientID", "1"), ("PatientID", "2")],
        [("PatientID", "1"), ("00100020", "2")],
        [("limit", "1"), ("limit", "2")],
        [("limit", "-1")],
        [("limit", "+1")],
        [("limit", "1_0")],
        [("limit", "１")],
        [("limit", "9" * 13)],
        [("offset", str(OFFSET_MAX + 1))],
        [("fuzzymatching", "maybe")],
        [("includefield", "Patient Name")],
        [("includefield", 'x"')],
        [("PatientID", "a\0b")],
        [("PatientID", "\r\n")],
        [("PatientID", "\ud800")],
        [("Patient\0ID", "1")],
        [("", "1")],
    ],
)
def test_query_that_makes_no_sense_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(BadQuery):
        asked(*pairs)


def test_words_of_a_refusal_cut_what_was_asked() -> None:
    with pytest.raises(BadQuery) as refused:
        asked(("x" * 5000, "1"))
    assert len(str(refused.value)) < 500
