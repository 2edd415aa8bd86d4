"""Requests are signed as RFC 9421 says, and nothing that was altered verifies."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage.contract.signing import (
    GatewayKey,
    NonceInvalid,
    SignatureInvalid,
    check_nonce,
    key_id_of,
    make_nonce,
    parse_signature,
    sign_request,
    sign_text,
    verify_bytes,
    verify_request,
)

# The seed of RFC 8032 section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
CREATED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
BODY = b'{"a":1}'
AUDIENCE = "county-network"

# Written out by hand from RFC 9421 sections 2.2, 2.3 and 2.5.
BASE = (
    '"@method": POST\n'
    '"@path": /gateway/v1/manifests\n'
    '"@query": ?dry=1&x=%20\n'
    '"content-digest": sha-256=:AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=:\n'
    '"counterpart-audience": county-network\n'
    '"@signature-params": ("@method" "@path" "@query" "content-digest" "counterpart-audience")'
    ';created=1772352000;keyid="gw-1";nonce="n-1";alg="ed25519";tag="counterpart-gateway"'
)
# `openssl pkeyutl -sign -rawin` over BASE with the key of SEED.
SIGNATURE = "/Vn8oJJEU2ZiiBWrt0U+xO8j8MX/Ti2PWl/rQByd3SXiNAIuWPriNZk+0I6aMFdkKp/6SFZ0gFP/OYoNEYsdBA=="


def signed(**changes: object) -> dict[str, str]:
    arguments: dict[str, object] = {
        "key_id": "gw-1",
        "method": "POST",
        "target": "/gateway/v1/manifests?dry=1&x=%20",
        "body": BODY,
        "audience": AUDIENCE,
        "nonce": "n-1",
        "created": CREATED,
    }
    return sign_request(GatewayKey.from_private_bytes(SEED), **{**arguments, **changes})  # type: ignore[arg-type]


def verified(headers: Mapping[str, str], **changes: object) -> str:
    arguments: dict[str, object] = {
        "method": "POST",
        "target": "/gateway/v1/manifests?dry=1&x=%20",
        "headers": headers,
        "body": BODY,
        "audience": AUDIENCE,
    }
    return verify_request(PUBLIC, **{**arguments, **changes}).key_id  # type: ignore[arg-type]


def test_the_public_key_and_its_thumbprint_are_those_of_the_rfc_8032_vector() -> None:
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert GatewayKey.from_private_bytes(SEED).public_text() == PUBLIC
    assert key_id_of(PUBLIC) == "gw-" + hashlib.sha256(raw).hexdigest()[:32]


def test_signature_covers_exactly_the_base_text_of_the_rfc() -> None:
    headers = signed()
    assert Ed25519PrivateKey.from_private_bytes(SEED).sign(BASE.encode()) == base64.b64decode(SIGNATURE)
    assert headers["Content-Digest"] == "sha-256=:" + base64.b64encode(hashlib.sha256(BODY).digest()).decode() + ":"
    assert headers["Counterpart-Audience"] == AUDIENCE
    assert headers["Signature-Input"] == "counterpart=" + BASE.rpartition('"@signature-params": ')[2]
    assert headers["Signature"] == f"counterpart=:{SIGNATURE}:"
    assert verified(headers) == "gw-1"


def test_a_request_without_a_query_signs_a_single_question_mark() -> None:
    headers = signed(target="/gateway/v1/nonce", method="GET", body=b"")
    base = (
        '"@method": GET\n"@path": /gateway/v1/nonce\n"@query": ?\n'
        '"content-digest": sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\n'
        '"counterpart-audience": county-network\n'
        f'"@signature-params": {headers["Signature-Input"].partition("=")[2]}'
    )
    value = base64.b64decode(headers["Signature"].partition("=")[2].strip(":"))
    Ed25519PrivateKey.from_private_bytes(SEED).public_key().verify(value, base.encode())


def test_another_implementation_may_order_components_and_parameters_as_it_likes() -> None:
    parameters = (
        '("content-digest" "@method" "@query" "@path" "counterpart-audience")'
        ';tag="counterpart-gateway";alg="ed25519";nonce="n";keyid="gw-9";created=0'
    )
    digest = signed()["Content-Digest"]
    base = (
        f'"content-digest": {digest}\n"@method": POST\n"@query": ?dry=1&x=%20\n"@path": /gateway/v1/manifests\n'
        f'"counterpart-audience": {AUDIENCE}\n"@signature-params": {parameters}'
    )
    value = base64.b64encode(GatewayKey.from_private_bytes(SEED).sign(base.encode())).decode()
    headers = {
        "content-digest": digest,
        "counterpart-audience": AUDIENCE,
        "signature-input": f"sig1={parameters}",
        "signature": f"sig1=:{value}:",
    }
    assert verified(headers) == "gw-9"


def test_a_clock_ten_years_off_locks_nobody_out() -> None:
    assert verified(signed(created=CREATED - timedelta(days=3650))) == "gw-1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "PUT"}, "does not verify"),
        ({"target": "/gateway/v1/manifests"}, "does not verify"),
        ({"target": "/gateway/v1/other?dry=1&x=%20"}, "does not verify"),
        ({"target": "/gateway/v1/manifésts"}, "percent-encoded"),
        ({"body": b'{"a":2}'}, "Content-Digest does not match"),
        ({"audience": "another-network"}, "another audience"),
    ],
)
def test_an_altered_request_does_not_verify(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SignatureInvalid, match=words):
        verified(signed(), **changes)


def test_another_key_does_not_verify() -> None:
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify_request(
            GatewayKey.generate().public_text(),
            method="POST",
            target="/gateway/v1/manifests?dry=1&x=%20",
            headers=signed(),
            body=BODY,
            audience=AUDIENCE,
        )


@pytest.mark.parametrize("missing", ["Content-Digest", "Counterpart-Audience", "Signature-Input", "Signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = {name: value for name, value in signed().items() if name != missing}
    with pytest.raises(SignatureInvalid, match=f"{missing} is missing"):
        verified(headers)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' "content-digest"', ""),
        (' "counterpart-audience"', ""),
        ('"@path" ', '"@path" "@path" '),
        ('"@query"', '"@query";req'),
        ('alg="ed25519"', 'alg="hmac-sha256"'),
        ('tag="counterpart-gateway"', 'tag="web-bot-auth"'),
        (';nonce="n-1"', ""),
        (';nonce="n-1"', ';nonce="n-1";nonce="n-2"'),
        (';nonce="n-1"', ";nonce=1"),
        (";created=1772352000", ';created="1772352000"'),
        (";created=1772352000", ";created=1772352000;expires=1"),
        ('tag="counterpart-gateway"', 'tag="counterpart-gateway" x'),
    ],
)
def test_a_signature_of_another_profile_is_refused_before_any_key_is_looked_up(old: str, new: str) -> None:
    headers = signed()
    assert old in headers["Signature-Input"]
    headers["Signature-Input"] = headers["Signature-Input"].replace(old, new)
    with pytest.raises(SignatureInvalid):
        parse_signature(headers)


@pytest.mark.parametrize("header", ["Signature-Input", "Signature"])
def test_two_signatures_in_one_header_are_refused(header: str) -> None:
    headers = signed()
    headers[header] = f"{headers[header]}, {headers[header]}"
    with pytest.raises(SignatureInvalid, match="exactly one"):
        parse_signature(headers)


def test_a_label_that_differs_between_the_two_headers_is_refused() -> None:
    headers = signed()
    headers["Signature"] = headers["Signature"].replace("counterpart=", "other=")
    with pytest.raises(SignatureInvalid, match="label"):
        parse_signature(headers)


class Repeated(dict[str, str]):
    """A mapping that yields one header twice, as a multidict does."""

    def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]
        yield from super().items()
        yield "content-digest", "sha-256=:AAAA:"


def test_a_repeated_header_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="more than once"):
        verified(Repeated(signed()))


@pytest.mark.parametrize("nonce", ["", 'a"b', "a\\b", "a\nb", "é", " a"])
def test_a_value_that_cannot_stand_in_a_header_is_not_signed(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        signed(nonce=nonce)


def test_signed_bytes_verify_and_altered_bytes_do_not() -> None:
    key = GatewayKey.from_private_bytes(SEED)
    text = sign_text(key, b"canonical")
    verify_bytes(PUBLIC, b"canonical", text)
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify_bytes(PUBLIC, b"Canonical", text)
    for broken in ("", text[:-1], text + "=", text[:-4], "é" * 86):
        with pytest.raises(SignatureInvalid):
            verify_bytes(PUBLIC, b"canonical", broken)


@pytest.mark.parametrize("text", ["", "short", "A" * 42, "A" * 44, "!" * 43, "B" * 43, "B" * 43 + "="])
def test_a_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(SignatureInvalid):
        key_id_of(text)


def test_a_private_key_survives_its_bytes() -> None:
    key = GatewayKey.generate()
    assert GatewayKey.from_private_bytes(key.private_bytes()).public_text() == key.public_text()


SECRET = b"s" * 32


def test_a_nonce_is_good_until_its_time_is_over() -> None:
    nonce = make_nonce(SECRET, CREATED, b"r" * 16)
    for offset_s in (-60, 0, 299, 300):
        check_nonce(SECRET, nonce, CREATED + timedelta(seconds=offset_s), 300)
    for offset_s in (-301, 301):
        with pytest.raises(NonceInvalid, match="expired"):
            check_nonce(SECRET, nonce, CREATED + timedelta(seconds=offset_s), 300)


def test_nonces_of_the_same_moment_differ_by_their_random_part() -> None:
    assert make_nonce(SECRET, CREATED, b"r" * 16) != make_nonce(SECRET, CREATED, b"q" * 16)
    with pytest.raises(ValueError, match="16 random bytes"):
        make_nonce(SECRET, CREATED, b"r")


def test_a_nonce_of_another_hub_or_an_altered_one_is_refused() -> None:
    nonce = make_nonce(SECRET, CREATED, b"r" * 16)
    altered = nonce[:10] + ("A" if nonce[10] != "A" else "B") + nonce[11:]
    for secret, text in ((b"t" * 32, nonce), (SECRET, altered), (SECRET, nonce[:-4]), (SECRET, ""), (SECRET, "é")):
        with pytest.raises(NonceInvalid):
            check_nonce(secret, text, CREATED, 300)
