"""HL7 as text, and MLLP framing, against python-hl7 as another reading of the standard."""

from __future__ import annotations

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.hl7.framing import CUT, Frames, FrameTooLong, frame
from storage.hl7.message import MessageUnreadable, composite, encode, escape, header, parse_message, segment

MSH = header({3: "A", 9: "ACK", 10: "1", 11: "P", 12: "2.5.1"})
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x7f", min_codepoint=32), max_size=40)


@given(TEXT)
def test_what_is_escaped_reads_back_as_it_was_and_needs_no_delimiter(text: str) -> None:
    written = escape(text)
    assert not set("|^&~\r\x0b\x1c") & set(written)
    message = parse_message(encode([MSH, segment("OBX", {5: written})], "UNICODE UTF-8"), "UNICODE UTF-8")
    assert message.get("OBX", 5) == text


@given(TEXT, st.sampled_from(["UNICODE UTF-8", "GB 18030-2000"]))
def test_every_character_survives_both_character_sets(text: str, character_set: str) -> None:
    msh = header({3: "A", 18: character_set})
    data = encode([msh, segment("NTE", {3: escape(text)})], character_set)
    assert parse_message(data, "UNICODE UTF-8").get("NTE", 3) == text  # MSH-18 says which it is
    assert b"\x1c" not in data
    assert b"\x0b" not in data


def test_line_ends_become_breaks_and_other_controls_spaces() -> None:
    assert escape("一行\r\n二行\n\x0b三\x1c行") == "一行\\.br\\二行\\.br\\ 三 行"
    message = parse_message(encode([MSH, segment("OBX", {5: escape("a\nb")})], "UNICODE UTF-8"), "UNICODE UTF-8")
    assert message.get("OBX", 5) == "a\nb"


def test_another_reader_finds_the_same_values() -> None:
    data = encode(
        [MSH, segment("PID", {3: composite("P1", "", "", "甲院", "MR"), 5: composite("张", "三")})], "UNICODE UTF-8"
    )
    theirs = hl7.parse(data.decode())
    assert str(theirs.extract_field("PID", 1, 3, 1, 4)) == "甲院"
    assert str(theirs.extract_field("PID", 1, 5, 1, 2)) == "三"


def test_other_delimiters_and_repetitions_are_read() -> None:
    message = parse_message(b"MSH#!@?$#HIS\rPID###1!A@2!B$c#\r", "UNICODE UTF-8")
    assert message.get("MSH", 3) == "HIS"
    assert [message.at(1, 3, repetition=number) for number in (1, 2, 3)] == ["1", "2", ""]
    assert message.at(1, 3, 2, subcomponent=2, repetition=2) == "c"
    assert message.get("ZZZ", 1) == ""


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (r"one\X0D0A\two\X0D\\X0A\three", "one\ntwo\nthree"),
        (r"5\X20\mm \H\bold\N\ \Z9\x", "5 mm bold x"),
        (r"血压 80\50 mmHg \F\ a\b\c", r"血压 80\50 mmHg | a\b\c"),
        (r"one\.BR\two\.sp+2\three\.in+4\ ", "one\ntwo\nthree "),
        (r"a\XE4B8AD\b\XZZ\c\M2442\d", "a\ufffdb\ufffdc\ufffdd"),
    ],
)
def test_hexadecimal_escapes_are_read_and_what_cannot_be_read_leaves_its_mark(sent: str, read: str) -> None:
    data = encode([MSH, segment("NTE", {3: sent})], "UNICODE UTF-8")
    assert parse_message(data, "UNICODE UTF-8").get("NTE", 3) == read


@pytest.mark.parametrize(("end", "last"), [(one, b"") for one in (b"\r", b"\n", b"\r\n")] + [(b"\n", b"\r")])
def test_segments_may_end_as_lines_do(end: bytes, last: bytes) -> None:
    message = parse_message(end.join([b"MSH|^~\\&|HIS", b"PID|1||P1", b""]) + last, "UNICODE UTF-8")
    assert (message.get("MSH", 3), message.get("PID", 3)) == ("HIS", "P1")


@pytest.mark.parametrize("data", [b"", b"PID|1", b"MSH", b"\xff\xfe\x00", b"MSH|\r"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        parse_message(data, "UNICODE UTF-8")


def is_content(data: bytes) -> bool:
    return b"\x1c\r" not in data and b"\x0b" not in data


@given(st.lists(st.binary(max_size=30).filter(is_content), max_size=5), st.integers(1, 7))
def test_frames_are_found_however_the_stream_is_cut(messages: list[bytes], size: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    frames = Frames()
    found = [one for at in range(0, len(stream), size) for one in frames.feed(stream[at : at + size])]
    assert found == messages


def test_what_stands_between_frames_is_no_message_and_no_end_is_too_long() -> None:
    frames = Frames(bytes_max=20)
    assert frames.feed(b"noise\r\n" + frame(b"A") + b"\r\n\x00" + frame(b"B")) == [b"A", b"B"]
    with pytest.raises(FrameTooLong) as refused:
        frames.feed(b"\x0b" + b"x" * 21)
    assert refused.value.head.endswith(CUT)


def test_what_was_broken_off_never_comes_before_the_next_message() -> None:
    frames = Frames()
    assert frames.feed(b"\x0bMSH|1\rPID|1||C1") == []
    assert frames.feed(b"|\r" + frame(b"MSH|2\rPID|1||C9") + b"\x0bMSH|3") == [b"MSH|2\rPID|1||C9"]
    assert frames.feed(frame(b"MSH|4")) == [b"MSH|4"]
