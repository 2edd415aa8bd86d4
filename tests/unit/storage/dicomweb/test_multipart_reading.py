"""A multipart body is read the same however it is cut into chunks, and what breaks its form is refused."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicomweb.multipart import Multipart
from storage.dicomweb.multipart_reading import (
    HEAD_BYTES_MAX,
    MultipartMalformed,
    MultipartReader,
    MultipartTruncated,
    PartBegun,
    PartEnded,
    TooManyParts,
    parse_media_type,
)

BOUNDARY = "b'o=1"
DICOM = b"Content-Type: application/dicom"


def body_of(*parts: bytes, head: bytes = DICOM, ending: bytes = b"--\r\n") -> bytes:
    written = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\n" + part + b"\r\n" for part in parts)
    return written + b"--" + BOUNDARY.encode() + ending


def read(chunks: Sequence[bytes], boundary: str = BOUNDARY, parts_max: int = 100) -> list[tuple[dict[str, str], bytes]]:
    reader, parts, ended = MultipartReader(boundary, parts_max=parts_max), [], 0
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartBegun):
                assert ended == len(parts)
                parts.append((dict(event.headers), b""))
            elif isinstance(event, PartEnded):
                ended += 1
            else:
                assert event, "an empty piece says nothing"
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
    reader.close()
    assert ended == len(parts)
    return parts


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


# Bytes that look like the beginning of a delimiter more often than chance has them.
LIKE_DELIMITERS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n--", b"--", b"\r\n--b'o=", b"\r\n--b'o", b"\0", b"x" * 40]),
    max_size=30,
).map(b"".join)
CONTENTS = st.one_of(st.binary(max_size=300), LIKE_DELIMITERS).filter(lambda content: BOUNDARY.encode() not in content)


@given(st.lists(CONTENTS, min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=40))
def test_parts_come_out_as_they_went_in_whatever_the_chunks(contents: list[bytes], places: list[int]) -> None:
    expected = [({"content-type": "application/dicom"}, content) for content in contents]
    assert read(cut(body_of(*contents), places)) == expected


@given(st.lists(CONTENTS, min_size=1, max_size=3))
def test_byte_by_byte_is_the_same_as_all_at_once(contents: list[bytes]) -> None:
    body = body_of(*contents)
    assert read([body[at : at + 1] for at in range(len(body))]) == read([body])


@given(st.lists(CONTENTS, min_size=1, max_size=3), st.integers(1, 10_000), st.lists(st.integers(0, 10_000), max_size=5))
def test_body_cut_off_anywhere_is_truncated(contents: list[bytes], lost: int, places: list[int]) -> None:
    whole = body_of(*contents, ending=b"--")
    kept = whole[: len(whole) - 1 - lost % len(whole)]
    with pytest.raises(MultipartTruncated):
        read(cut(kept, places))


@given(st.binary(max_size=400), st.lists(st.integers(0, 1000), max_size=10))
def test_any_bytes_are_read_or_refused_in_words(data: bytes, places: list[int]) -> None:
    for body in (data, b"--b'o=1\r\n" + data, body_of(b"x")[:-4] + data):
        with suppress(MultipartMalformed, TooManyParts):
            read(cut(body, places))


def test_our_own_answers_are_read() -> None:
    answer = Multipart("application/dicom")
    boundary = parse_media_type(answer.content_type).parameters["boundary"]
    sent = [("application/dicom; transfer-syntax=1.2", [b"one\r\n--"]), ("application/dicom", [])]
    assert [content for _, content in read(list(answer.made(sent)), boundary)] == [b"one\r\n--", b""]


def test_preamble_epilogue_and_white_space_behind_delimiters_say_nothing() -> None:
    body = b"preamble\r\n" + body_of(b"one").replace(b"b'o=1\r\n", b"b'o=1 \t\r\n") + b"epilogue\r\n--b'o=1\r\n"
    assert [content for _, content in read([body])] == [b"one"]


def test_part_without_headers_is_a_part() -> None:
    assert read([b"--b'o=1\r\n\r\nbody\r\n--b'o=1--"]) == [({}, b"body")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (body_of(b"x", head=b"no header"), "no header"),
        (body_of(b"x", head=b" folded: no"), "no header"),
        (body_of(b"x", head=b"A: 1\r\na: 2"), "twice"),
        (body_of(b"x", head=b"Content-Length: two"), "no number"),
        (body_of(b"x", head=b"Content-Length: -1"), "no number"),
        (body_of(b"xx", head=b"Content-Length: 1"), "longer"),
        (body_of(b"xx", head=b"Content-Length: 3"), "another length"),
        (body_of(b"x", head=b"A: " + b"a" * HEAD_BYTES_MAX), "longer than"),
        (b"--b'o=1\r\nA: " + b"a" * 2 * HEAD_BYTES_MAX, "longer than"),
        (b"--b'o=1" + b" " * 100 + b"\r\n", "white space"),
        (b"--b'o=12\r\n\r\nx\r\n--b'o=12--", "cannot be told"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_what_breaks_the_form_is_named(body: bytes, words: str, size: int) -> None:
    with pytest.raises(MultipartMalformed, match=words):
        read([body[at : at + size] for at in range(0, len(body), size)])


def test_lengths_that_agree_are_welcome() -> None:
    assert read([body_of(b"xyz", head=b"Content-Length: 3")])[0][1] == b"xyz"


def test_parts_are_counted() -> None:
    assert len(read([body_of(*[b"x"] * 7)], parts_max=7)) == 7
    with pytest.raises(TooManyParts, match="at most 6"):
        read([body_of(*[b"x"] * 7)], parts_max=6)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "ends in space ", "line\r\nbreak", 'quo"te', "ü"])
def test_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartMalformed, match="boundary"):
        MultipartReader(boundary, parts_max=1)


def test_memory_is_that_of_a_chunk_whatever_the_part_is() -> None:
    reader, chunk = MultipartReader(BOUNDARY, parts_max=1), b"\r\n--b'o=" * 8192
    list(reader.feed(b"--b'o=1\r\n\r\n"))
    tracemalloc.start()
    for _ in range(200):
        for _event in reader.feed(chunk):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(chunk)


@pytest.mark.parametrize(
    ("text", "essence", "parameters"),
    [
        (
            'multipart/related; type="application/dicom"; boundary=abc',
            "multipart/related",
            {"type": "application/dicom", "boundary": "abc"},
        ),
        ("Multipart/Related;BOUNDARY=abc", "multipart/related", {"boundary": "abc"}),
        ('multipart/related; boundary="a b; c"', "multipart/related", {"boundary": "a b; c"}),
        ("multipart/related; type=application/dicom", "multipart/related", {"type": "application/dicom"}),
        ("", "text/plain", {}),
        ("nonsense", "text/plain", {}),
    ],
)
def test_media_types_are_parsed(text: str, essence: str, parameters: dict[str, str]) -> None:
    found = parse_media_type(text)
    assert (found.essence, dict(found.parameters)) == (essence, parameters)


@given(st.text(max_size=100))
def test_no_media_type_breaks_the_parser(text: str) -> None:
    assert "/" in parse_media_type(text).essence


def test_form_of_the_viewers_own_client_is_read() -> None:
    """Its body begins with a line break and ends in zeros: it counts the closing delimiter once for every part."""
    head, tail = b"\r\n--guid\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n--guid--"
    body = head + b"one" + head + b"two" + tail + bytes(len(tail))
    assert [content for _, content in read([body], "guid")] == [b"one", b"two"]
