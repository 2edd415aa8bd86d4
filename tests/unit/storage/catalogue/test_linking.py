"""Whether two records are one person: what agrees, what people get wrong, and that doubt never links."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalogue.linking import (
    Doubt,
    IdentityFacts,
    Likeness,
    Trait,
    Verdict,
    compare,
    compare_names,
    person_keys,
)
from storage.catalogue.pinyin import readings

WANG = IdentityFacts(
    name="王^芳", birth_date=date(1980, 2, 29), sex="F", national_ids=frozenset("k"), proved_ids=frozenset("k")
)
NO_ID = replace(WANG, national_ids=frozenset(), proved_ids=frozenset())
KEYS = st.frozensets(st.sampled_from("kmn"), max_size=2)
NAMES = st.sampled_from(
    [
        "王^芳",
        "王芳",
        "WANG^FANG",
        "FANG WANG",
        "Wang^Fang=王^芳",
        "王^方",
        "李^娜",
        "LI^NA",
        "单^雄信",
        "无名氏",
        "",
        "^",
    ]
)


@st.composite
def records(draw: st.DrawFn) -> IdentityFacts:
    ids = draw(KEYS)
    return IdentityFacts(
        name=draw(NAMES),
        birth_date=draw(st.sampled_from([None, date(1980, 2, 29), date(1980, 3, 1)])),
        sex=draw(st.sampled_from(["", "O", "M", "F"])),
        national_ids=ids,
        proved_ids=draw(st.sampled_from([ids, frozenset()])),
        shared_ids=draw(st.sampled_from([ids, frozenset(), frozenset()])),
        is_disputed=draw(st.sampled_from([True, False, False])),
    )


def verdict(one: IdentityFacts, other: IdentityFacts) -> Verdict:
    return compare(one, other, readings).verdict


@pytest.mark.parametrize(
    ("one", "other", "likeness"),
    [
        ("王^芳", "王芳", Likeness.AGREES),
        ("王　芳", " 王 芳 ", Likeness.AGREES),
        ("Wang^Fang=王^芳", "王^芳", Likeness.AGREES),
        ("CT0001=王^芳", "X=王^芳", Likeness.AGREES),
        ("WANG^FANG", "wang fang", Likeness.AGREES),
        ("王^芳", "WANG^FANG", Likeness.SIMILAR),
        ("王^芳", "FANG^WANG", Likeness.SIMILAR),
        ("WANG^FANG", "FANG^WANG", Likeness.SIMILAR),
        ("王^芳", "王^方", Likeness.SIMILAR),
        ("单^雄信", "SHAN^XIONGXIN", Likeness.SIMILAR),
        ("单^雄信", "DAN XIONG XIN", Likeness.SIMILAR),
        ("吕^布", "LYU^BU", Likeness.SIMILAR),
        ("Wang^Fang=王^芳", "Wang^Fang=李^芳", Likeness.SIMILAR),
        ("王^芳", "李^娜", Likeness.DIFFERS),
        ("王^芳", "WANG^FEN", Likeness.DIFFERS),
        ("王^芳", "", Likeness.UNKNOWN),
        ("无名氏", "无名氏", Likeness.UNKNOWN),
        ("ANONYMOUS", "ANONYMOUS", Likeness.UNKNOWN),
        ("^^", "王", Likeness.UNKNOWN),
    ],
)
def test_names_compare_by_characters_and_else_by_how_they_are_typed(one: str, other: str, likeness: Likeness) -> None:
    assert compare_names(one, other, readings) is likeness
    assert compare_names(other, one, readings) is likeness


def test_records_whose_four_traits_agree_are_linked() -> None:
    found = compare(WANG, replace(WANG, name="王芳"), readings)
    assert (found.verdict, found.doubts) == (Verdict.LINKED, ())
    assert set(found.traits.values()) == {Likeness.AGREES}


@pytest.mark.parametrize(
    ("other", "trait", "likeness"),
    [
        (replace(WANG, name="王^方"), Trait.NAME, Likeness.SIMILAR),
        (replace(WANG, name="WANG^FANG"), Trait.NAME, Likeness.SIMILAR),
        (replace(WANG, name="李^娜"), Trait.NAME, Likeness.DIFFERS),
        (replace(WANG, name=""), Trait.NAME, Likeness.UNKNOWN),
        (replace(WANG, birth_date=date(1980, 3, 1)), Trait.BIRTH_DATE, Likeness.DIFFERS),
        (replace(WANG, birth_date=None), Trait.BIRTH_DATE, Likeness.UNKNOWN),
        (replace(WANG, sex="M"), Trait.SEX, Likeness.DIFFERS),
        (replace(WANG, sex="O"), Trait.SEX, Likeness.UNKNOWN),
        (NO_ID, Trait.NATIONAL_ID, Likeness.UNKNOWN),
    ],
)
def test_records_that_agree_in_all_but_one_trait_are_suggested(
    other: IdentityFacts, trait: Trait, likeness: Likeness
) -> None:
    found = compare(WANG, other, readings)
    assert found.verdict is Verdict.SUGGESTED
    assert found.traits[trait] is likeness
    assert [one for one in found.traits if found.traits[one] is not Likeness.AGREES] == [trait]


@pytest.mark.parametrize(
    "other",
    [
        replace(WANG, national_ids=frozenset("m"), proved_ids=frozenset("m")),
        replace(NO_ID, name="李^娜"),
        replace(NO_ID, name=""),
        replace(NO_ID, birth_date=date(1980, 3, 1)),
        replace(NO_ID, birth_date=None),
        replace(NO_ID, sex="M"),
        replace(NO_ID, sex=""),
    ],
)
def test_other_records_are_nothing_to_each_other(other: IdentityFacts) -> None:
    assert verdict(WANG, other) is Verdict.NOTHING


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        (replace(WANG, national_ids=frozenset("km"), proved_ids=frozenset("km")), Doubt.SEVERAL_IDS),
        (replace(WANG, shared_ids=frozenset("k")), Doubt.ID_SHARED),
        (replace(WANG, proved_ids=frozenset()), Doubt.ID_UNPROVED),
        (replace(WANG, is_disputed=True), Doubt.DISPUTED),
    ],
)
def test_doubt_suggests_what_would_be_linked(other: IdentityFacts, doubt: Doubt) -> None:
    found = compare(WANG, other, readings)
    assert (found.verdict, found.doubts) == (Verdict.SUGGESTED, (doubt,))


@given(one=records(), other=records())
def test_comparison_is_the_same_from_both_sides(one: IdentityFacts, other: IdentityFacts) -> None:
    assert compare(one, other, readings) == compare(other, one, readings)


@given(one=records(), other=records())
def test_only_proved_agreement_in_all_four_links(one: IdentityFacts, other: IdentityFacts) -> None:
    linked = verdict(one, other) is Verdict.LINKED
    one_id = one.national_ids == other.national_ids == one.proved_ids == other.proved_ids and len(one.national_ids) == 1
    alike = (
        one.birth_date is not None
        and one.birth_date == other.birth_date
        and one.sex == other.sex
        and one.sex in ("M", "F")
        and compare_names(one.name, other.name, readings) is Likeness.AGREES
    )
    doubtful = one.is_disputed or other.is_disputed or bool(one.shared_ids | other.shared_ids)
    assert linked == (one_id and alike and not doubtful)


@given(one=records(), other=records())
def test_whatever_is_suggested_or_linked_can_be_found_by_a_key(one: IdentityFacts, other: IdentityFacts) -> None:
    if verdict(one, other) is not Verdict.NOTHING:
        by_id = one.national_ids & other.national_ids
        assert by_id or person_keys(one, readings) & person_keys(other, readings)


@given(one=records(), other=records())
def test_what_is_found_without_an_id_agrees_in_name_birth_date_and_sex(
    one: IdentityFacts, other: IdentityFacts
) -> None:
    if person_keys(one, readings) & person_keys(other, readings) and not (one.national_ids and other.national_ids):
        assert verdict(one, other) is Verdict.SUGGESTED


@given(one=records(), other=records(), worse=st.sampled_from(["is_disputed", "shared_ids", "proved_ids"]))
def test_more_doubt_never_links_and_never_hides(one: IdentityFacts, other: IdentityFacts, worse: str) -> None:
    value = {"is_disputed": True, "shared_ids": one.national_ids, "proved_ids": frozenset()}[worse]
    before, after = verdict(one, other), verdict(replace(one, **{worse: value}), other)
    assert after is (
        Verdict.SUGGESTED if before is Verdict.LINKED and (worse == "is_disputed" or one.national_ids) else before
    )
