"""How Chinese characters are read, in pinyin without tones: the character table of pypinyin, and surnames.

Reads one file, once, when the first name is asked for: importing the package itself would load its phrases, which are
nine tenths of it and no names.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distribution
from typing import Final

TABLE: Final = "pypinyin/pinyin_dict.json"  # {"29579": "wáng,wàng,yù", …}: the commonest reading first

# Characters that names, and above all surnames, read differently from the table's first reading: both ways find them.
_IN_NAMES: Final = {
    "万": "mo", "么": "yao", "乐": "yue", "乜": "nie", "仇": "qiu", "仔": "zi", "佴": "nai", "俟": "qi",
    "区": "ou", "单": "shan", "卜": "bu", "句": "gou", "召": "shao", "员": "yun", "娜": "nuo", "宓": "fu",
    "尉": "yu", "折": "she", "晟": "sheng", "曾": "zeng", "朝": "zhao", "朴": "piao", "柏": "bo", "查": "zha",
    "栖": "xi", "洗": "xian", "溱": "zhen", "澹": "tan", "炅": "gui", "牟": "mu", "珩": "heng", "琢": "zhuo",
    "盖": "ge", "盛": "cheng", "祭": "zhai", "种": "chong", "秘": "bi", "粘": "nian", "繁": "po", "缪": "miao",
    "翟": "zhai", "能": "nai", "茜": "xi", "荥": "ying", "莎": "suo", "莞": "wan", "薄": "bo", "藏": "zang",
    "行": "hang", "覃": "qin", "角": "jue", "解": "xie", "谌": "shen", "郇": "xun", "郗": "chi", "都": "du",
    "重": "chong", "长": "chang", "阚": "kan", "隗": "wei", "隽": "jun", "颉": "xie", "黑": "he",
}  # fmt: skip
# ü is typed as v, as u, and in passports as yu.
_TYPED: Final = {"lü": ("lv", "lu", "lyu"), "nü": ("nv", "nu", "nyu"), "lüe": ("lve", "lue"), "nüe": ("nve", "nue")}
_DIAERESIS: Final = "\u0308"


@cache
def readings(character: str) -> Sequence[str]:
    """Return the ways to read a character in a name, the commonest first; none when it is not in the table."""
    said = [_without_tone(reading) for reading in _table().get(str(ord(character)), "").split(",")[:1] if reading]
    also = _IN_NAMES.get(character)
    if said and also is not None and also not in said:
        said.append(also)
    return tuple(typed for reading in said for typed in _TYPED.get(reading, (reading,)))


@cache
def _table() -> dict[str, str]:
    path = distribution("pypinyin").locate_file(TABLE)
    table: dict[str, str] = json.loads(path.read_bytes())  # type: ignore[attr-defined]
    return table


def _without_tone(reading: str) -> str:
    marks = unicodedata.normalize("NFD", reading)
    plain = "".join(mark for mark in marks if not unicodedata.combining(mark) or mark == _DIAERESIS)
    return unicodedata.normalize("NFC", plain)
