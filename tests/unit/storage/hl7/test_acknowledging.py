"""Which character set a message is read in: what could be another name in another one is refused, never guessed."""

from __future__ import annotations

import pytest

from storage.hl7.acknowledging import read_message
from storage.hl7.faults import MessageRejected


def message(name: str, declared: str, codec: str) -> bytes:
    return f"MSH|^~\\&|HIS|A|B|C|20260302||ORM^O01|C1|P|2.5.1||||||{declared}\rPID|1||M1||{name}||19491231\r".encode(
        codec
    )


@pytest.mark.parametrize(
    ("name", "declared", "codec", "agreed"),
    [
        ("王^秀兰", "8859/1", "utf-8", "UNICODE UTF-8"),
        ("王^秀兰", "8859/1", "gb18030", "UNICODE UTF-8"),
        ("王^秀兰", "8859/1", "gb18030", "GB18030"),
        ("Müller^Anna", "8859/1", "latin-1", "UNICODE UTF-8"),
        ("王^兰", "GB18030", "utf-8", "UNICODE UTF-8"),  # by chance valid GB18030: 鐜媈鍏皘
        ("王^兰", "", "utf-8", "GB18030"),
        ("谢^强", "", "gb18030", "UNICODE UTF-8"),  # by chance valid UTF-8: л^ǿ
        ("谢^强", "ASCII", "gb18030", "UNICODE UTF-8"),
        ("王^秀兰", "", "gb18030", "UNICODE UTF-8"),
    ],
)
def test_name_that_could_be_another_in_another_character_set_is_refused(
    name: str, declared: str, codec: str, agreed: str
) -> None:
    with pytest.raises(MessageRejected) as refused:
        read_message(message(name, declared, codec), agreed)
    assert refused.value.fault.where == "MSH-18"


@pytest.mark.parametrize(
    ("name", "declared", "codec", "agreed"),
    [
        ("Wang^Xiulan", "8859/1", "ascii", "GB18030"),
        ("王^兰", "UNICODE UTF-8", "utf-8", "GB18030"),
        ("王^兰", "GB18030", "gb18030", "UNICODE UTF-8"),
        ("谢^强", "", "gb18030", "GB18030"),
        ("谢^强", "GB18030", "gb18030", "UNICODE UTF-8"),
        ("王^兰", "", "utf-8", "UNICODE UTF-8"),
        ("王^兰", "ASCII", "utf-8", "UNICODE UTF-8"),
        ("ئالىم^توختى", "UNICODE UTF-8", "utf-8", "GB18030"),
        ("Иванов^Иван", "UNICODE UTF-8", "utf-8", "UNICODE UTF-8"),
    ],
)
def test_name_is_read_in_the_character_set_that_is_named_or_agreed(
    name: str, declared: str, codec: str, agreed: str
) -> None:
    read = read_message(message(name, declared, codec), agreed)
    assert f"{read.get('PID', 5)}^{read.get('PID', 5, 2)}" == name
