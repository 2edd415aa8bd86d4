from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from gateway.journal.identity import Identity
from gateway.returns.pacs import failure_of
from gateway.returns.proof import DocumentUntrusted, verify_announcement, verify_content
from storage.contract.signing import GatewayKey, sign_text
from storage.contract.wire import DocumentDescriptor, DocumentKind, SignedDescriptor

HUB_KEY = GatewayKey.generate()
CONTENT = b"a report"
DESCRIPTOR = DocumentDescriptor(
    document_id="d1",
    site_id="clinic-a",
    case_id="c1",
    report_version=1,
    study_uids=("1.2.3",),
    kind=DocumentKind.SR,
    media_type="application/dicom",
    sop_instance_uid="1.2.3.4",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    created_at="2026-03-02T01:00:00Z",
)
IDENTITY = Identity(
    gateway_id="g1",
    site_id="clinic-a",
    site_name="A",
    audience="n",
    hub_key_id="hub-1",
    hub_public_key=HUB_KEY.public_text(),
    enrolled_at=datetime(2026, 3, 2, tzinfo=UTC),
)


def announce(canonical: str | None = None, *, key: GatewayKey = HUB_KEY, key_id: str = "hub-1") -> SignedDescriptor:
    text = canonical or DESCRIPTOR.model_dump_json()
    return SignedDescriptor(cursor=1, canonical=text, hub_key_id=key_id, signature=sign_text(key, text.encode()))


def test_signed_announcement_for_this_site_is_believed() -> None:
    assert verify_announcement(announce(), IDENTITY) == DESCRIPTOR


@pytest.mark.parametrize(
    ("signed", "words"),
    [
        (announce(key_id="hub-2"), "not this hub's"),
        (announce(key=GatewayKey.generate()), "does not verify"),
        (announce().model_copy(update={"canonical": DESCRIPTOR.model_dump_json() + " "}), "does not verify"),
        (announce().model_copy(update={"signature": "not base64 !"}), "does not verify"),
        (announce("{}"), "not the description"),
        (announce(DESCRIPTOR.model_copy(update={"site_id": "clinic-b"}).model_dump_json()), "another site"),
    ],
)
def test_anything_else_is_refused_in_words(signed: SignedDescriptor, words: str) -> None:
    with pytest.raises(DocumentUntrusted, match=words):
        verify_announcement(signed, IDENTITY)


def test_content_must_have_the_signed_length_and_digest() -> None:
    verify_content(DESCRIPTOR, CONTENT)
    with pytest.raises(DocumentUntrusted, match="bytes"):
        verify_content(DESCRIPTOR, CONTENT + b"!")
    with pytest.raises(DocumentUntrusted, match="digest"):
        verify_content(DESCRIPTOR, CONTENT[::-1])


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xBFFF])
def test_success_and_warnings_count_as_stored(status: int) -> None:
    assert failure_of(status) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(0xA700, "out of resources"), (0xA900, "does not match"), (0xC123, "cannot understand"), (0x0124, "0124")],
)
def test_failures_are_words_with_the_status(status: int, words: str) -> None:
    failure = failure_of(status)
    assert failure is not None
    assert words in failure.words()
