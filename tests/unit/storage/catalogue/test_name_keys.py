"""By what a name is found, and by what it is not."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalogue.name_keys import (
    KEY_CHARACTERS_MAX,
    compact,
    keys_of_name,
    keys_of_pattern,
    keys_of_search,
)
from storage.catalogue.pinyin import readings

LETTERS = st.text("王芳小东單a bZéｗ·-'", max_size=6)
NAMES = st.builds("{}^{}={}^{}".format, LETTERS, LETTERS, LETTERS, LETTERS)


def is_found(name: str, text: str) -> bool:
    keys = keys_of_search(text)
    return bool(keys) and set(keys) <= set(keys_of_name(name, readings))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (
            "王^芳",
            ["王芳", "王*", "芳", "wangfang", "wang fang", "WANG^FANG", "wangf", "fang", "WF", "wf*", "芳 王", "w"],
        ),
        ("王^小东", ["小东", "王小东", "xiaodong", "xiaod", "wxd", "xd", "东", "wang 东"]),
        ("Wang^XiaoDong", ["wang", "WANG XIAO", "xiaodong", "wangxiaodong", "xiao wang"]),
        ("Wang^XiaoDong=王^小东", ["王", "wang", "wxd"]),
        ("单^雄信", ["shanxiongxin", "danxiongxin", "sxx"]),
        ("曾^国藩", ["zengguofan", "zgf"]),
        ("吕^布", ["lvbu", "lubu", "lyubu", "lübu"]),
        ("赵䶮^阿=Zhao^Yan", ["䶮", "赵䶮", "zhaoyan", "yana"]),
        ("㐂^田", ["㐂", "㐂田", "tian"]),
        ("阿卜杜热西提·买买提", ["阿卜杜热西提", "买买提", "abudurexiti", "maimaiti", "阿卜杜热西提买买提"]),
        ("Müller^Jürgen", ["muller", "MÜLLER", "jurgen"]),
        ("ＷＡＮＧ^ｆａｎｇ", ["wang", "fang"]),
    ],
)
def test_name_is_found_by(name: str, texts: list[str]) -> None:
    assert [text for text in texts if not is_found(name, text)] == []


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("王^芳", ["wan", "ang", "wfx", "王王", "李", "芳王", "yufang", "", " ", "*", "^", "%", "wang%25"]),
        ("王^小东", ["小王", "xia", "dongx", "wd"]),
        ("Wang^XiaoDong", ["iao", "dong", "王"]),
        ("", ["w", "王"]),
    ],
)
def test_name_is_not_found_by(name: str, texts: list[str]) -> None:
    assert [text for text in texts if is_found(name, text)] == []


@given(NAMES, st.data())
def test_whatever_a_pattern_matches_has_the_keys_of_the_pattern(name: str, data: st.DataObject) -> None:
    """The keys of a pattern are asked of an index first: they must never leave out what matches."""
    group = data.draw(st.sampled_from(name.split("=")))
    hidden = data.draw(st.lists(st.sampled_from("-?*"), min_size=len(group), max_size=len(group)))
    pattern = "".join(letter if how == "-" else how for letter, how in zip(group, hidden, strict=True))
    matcher = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    assert re.fullmatch(matcher, group)
    assert set(keys_of_pattern(pattern)) <= set(keys_of_name(name, readings))


@given(st.text(), st.text())
def test_part_is_compacted_as_in_the_whole(one: str, other: str) -> None:
    assert compact(one) + compact(other) == compact(one + other)


@given(st.text(max_size=200))
def test_any_text_is_a_name_with_few_short_keys(name: str) -> None:
    keys = keys_of_name(name, readings)
    assert all(0 < len(key) <= KEY_CHARACTERS_MAX for key in keys)
    assert not any("\0" in key for key in keys)


def test_longer_name_is_compared_as_far_as_a_key_reaches() -> None:
    assert is_found("x" * 64, "x" * 40)
    assert not is_found("x" * 64, "x" * 10 + "y" + "x" * 40)


def test_phrases_of_the_pinyin_package_are_not_loaded() -> None:
    assert readings("王") == ("wang",)
    assert "pypinyin" not in sys.modules
