"""Multipart answers have the length that they declare, and other programs read them."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import HTTP

from storage.dicomweb.multipart import Multipart


def read(multipart: Multipart) -> list[tuple[str, bytes]]:
    """Read an answer with the standard library's parser."""
    raw = f"Content-Type: {multipart.content_type}\r\n\r\n".encode() + b"".join(multipart.pieces())
    parts = message_from_bytes(raw, policy=HTTP).iter_parts()
    return [
        (
            f"{part.get_content_type()}; transfer-syntax={part.get_param('transfer-syntax')}",
            part.get_payload(decode=True),
        )
        for part in parts
    ]


def test_parts_come_out_as_they_went_in() -> None:
    parts = [("image/jpeg; transfer-syntax=1.2", b"\xff\xd8\x00"), ("image/jpeg; transfer-syntax=1.2", b"two\r\nlines")]
    assert read(Multipart(parts)) == parts


def test_length_is_exact() -> None:
    multipart = Multipart([("image/jphc", b"x" * 1000), ("image/jphc", b"")])
    assert multipart.size_bytes == len(b"".join(multipart.pieces()))


def test_type_names_the_first_part_without_its_parameters() -> None:
    assert 'type="image/jls";' in Multipart([("image/jls; transfer-syntax=1.2", b"x")]).content_type
