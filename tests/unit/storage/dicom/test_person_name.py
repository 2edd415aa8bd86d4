"""Names of people in DICOM, as people write them."""

from __future__ import annotations

import pytest

from storage.dicom.person_name import display_name, patient_display_name


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
