"""Names of people in DICOM, as people write them."""

from __future__ import annotations

import pytest

from storage.dicom.person_name import display_name, parse_written_name, patient_display_name


@pytest.mark.parametrize(
    ("name", "chinese", "english"),
    [
        ("张三", "张三", "张三"),
        ("OB^^^^", "OB", "OB"),
        ("Doe^Peter", "Doe Peter", "Doe Peter"),
        ("DOE^JOHN^^DR", "DOE JOHN DR", "DOE JOHN DR"),
        ("Wang^XiaoDong=王^小东", "王小东", "Wang XiaoDong"),
        ("Wang^XiaoDong=王^小东=", "王小东", "Wang XiaoDong"),
        ("=王^小东", "王小东", "王小东"),
        ("Zhang^San=^", "Zhang San", "Zhang San"),
        ("==わたなべ^しょう", "わたなべしょう", "わたなべしょう"),
        ("欧阳^娜娜", "欧阳娜娜", "欧阳娜娜"),
        ("赵^䶮", "赵䶮", "赵䶮"),
        ("  Doe ^ Mary  Ann ", "Doe Mary Ann", "Doe Mary Ann"),
        ("Abdurahmonov-Toshmuhammad^Muhammadjon", *["Abdurahmonov-Toshmuhammad Muhammadjon"] * 2),
        ("", "", ""),
        ("^^^^", "", ""),
        (" ^ =^=", "", ""),
    ],
)
def test_name_is_shown_as_people_write_it(name: str, chinese: str, english: str) -> None:
    assert (display_name(name), display_name(name, "en")) == (chinese, english)


@pytest.mark.parametrize(("language", "words"), [("zh", "未具名"), ("en", "Unnamed")])
def test_patient_without_a_name_is_called_so(language: str, words: str) -> None:
    assert patient_display_name("^^^^", language) == words
    assert patient_display_name("Doe^Peter", language) == "Doe Peter"


@pytest.mark.parametrize(
    ("written", "stored", "name"),
    [
        ("王秀兰", "", "王秀兰"),
        (" 王\u3000秀兰 ", "", "王^秀兰"),
        ("Wang Xiulan", "", "Wang^Xiulan"),
        ("Doe Mary Ann", "", "Doe^Mary Ann"),
        ("Van der Berg, Jan", "", "Van der Berg^Jan"),
        ("李，明", "", "李^明"),
        ("Wang^Xiulan", "", "Wang^Xiulan"),
        ("王=兰", "", "王=兰"),
        ("Doe,", "", "Doe,"),
        ("", "王^秀兰", ""),
        ("王秀兰", "王^秀兰", "王^秀兰"),
        ("Van der Berg Jan", "Van der Berg^Jan", "Van der Berg^Jan"),
        ("DOE JOHN DR", "DOE^JOHN^^DR", "DOE^JOHN^^DR"),
        ("王秀英", "王^秀兰", "王秀英"),
    ],
)
def test_name_as_people_write_it_is_a_pn_with_the_family_name_first(written: str, stored: str, name: str) -> None:
    assert parse_written_name(written, stored) == name
