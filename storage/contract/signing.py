"""Signed requests between a gateway and the hub: RFC 9421 HTTP message signatures with Ed25519.

Pure: no I/O, no clock, no key storage. Covered are the method, the path with its query, the digest of the body
(RFC 9530), the audience, and a nonce that the hub issued. `created` is written for people and never checked: a wrong
clock at the clinic must not lock it out; the nonce alone makes a request fresh. Single use of a nonce is enforced
by the hub's table, not here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.contract.wire import AUDIENCE_HEADER

ALGORITHM: Final = "ed25519"
TAG: Final = "counterpart-gateway"
LABEL: Final = "counterpart"
COVERED: Final = ("@method", "@path", "@query", "content-digest", "counterpart-audience")
NONCE_RANDOM_BYTES: Final = 16
KEY_ID_HEX_DIGITS: Final = 32

_CONTENT_DIGEST_HEADER: Final = "Content-Digest"
_INPUT_HEADER: Final = "Signature-Input"
_SIGNATURE_HEADER: Final = "Signature"
_PARAMETERS: Final = ("created", "keyid", "nonce", "alg", "tag")
_NONCE_TIME_BYTES: Final = 8  # Unix milliseconds, big endian
_NONCE_MAC_BYTES: Final = 16
_ED25519_SIGNATURE_BYTES: Final = 64

# The subset of RFC 8941 that this profile speaks; anything else is refused instead of guessed at.
_SF_STRING: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{0,256}")
_INPUT: Final = re.compile(
    r"(?P<label>[a-z*][a-z0-9_.*-]{0,63})=(?P<parameters>\((?P<components>[^()]*)\)(?P<rest>(?:;[^,]*)?))"
)
_PARAMETER: Final = re.compile(
    r';(?P<name>[a-z]+)=(?:"(?P<text>[\x20\x21\x23-\x5b\x5d-\x7e]{0,256})"|(?P<number>-?[0-9]{1,15}))'
)
_SIGNATURE: Final = re.compile(r"(?P<label>[a-z*][a-z0-9_.*-]{0,63})=:(?P<value>[A-Za-z0-9+/]{86}==):")


class SignatureInvalid(Exception):
    """The request or document is not signed as this profile demands; the message says what is wrong."""


class NonceInvalid(Exception):
    """The nonce is not one of this hub's, or too old."""


class RequestSigner(Protocol):
    """What signs: a gateway's key, or anything that can stand for it."""

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over `data`."""


class GatewayKey:
    """An Ed25519 private key. The same class serves the hub's own signing key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def generate(cls) -> GatewayKey:
        """Return a fresh random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> GatewayKey:
        """Return the key whose 32-byte seed (RFC 8032) is `raw`; raises ValueError for any other length."""
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def private_bytes(self) -> bytes:
        """Return the 32-byte seed; whoever holds it is this gateway."""
        return self._private_key.private_bytes_raw()

    def public_text(self) -> str:
        """Return the raw public key as base64url without padding, 43 characters."""
        return base64url_text(self._private_key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over `data`."""
        return self._private_key.sign(data)


@dataclass(frozen=True, slots=True)
class ClaimedSignature:
    """What a request says of its own signature; true only after `verify_request`."""

    key_id: str
    nonce: str
    created: int  # Unix seconds by the sender's clock, informational
    label: str
    parameters: str  # the inner list with its parameters, exactly as received: the signature covers this text
    value: bytes


def key_id_of(public_key_text: str) -> str:
    """Return the thumbprint of a public key: `gw-` and the first 32 hexadecimal digits of its SHA-256.

    Raises:
        SignatureInvalid: the text is not an Ed25519 public key.
    """
    digest = hashlib.sha256(_public_key_bytes(public_key_text)).hexdigest()
    return f"gw-{digest[:KEY_ID_HEX_DIGITS]}"


def content_digest(body: bytes) -> str:
    """Return the Content-Digest field value of `body` (RFC 9530, sha-256)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sign_request(
    key: RequestSigner,
    *,
    key_id: str,
    method: str,
    target: str,
    body: bytes,
    audience: str,
    nonce: str,
    created: datetime,
) -> dict[str, str]:
    """Return the headers that sign one request.

    `target` is the path with its query exactly as it goes on the wire, percent-encoded. Raises ValueError when a value
    cannot stand in a header.
    """
    for name, value in (("key_id", key_id), ("nonce", nonce), ("audience", audience)):
        if not value or value != value.strip() or _SF_STRING.fullmatch(value) is None:
            raise ValueError(f"{name} may hold only printable ASCII without quotes, backslashes and outer spaces")
    components = " ".join(f'"{name}"' for name in COVERED)
    parameters = (
        f"({components});created={int(created.timestamp())}"
        f';keyid="{key_id}";nonce="{nonce}";alg="{ALGORITHM}";tag="{TAG}"'
    )
    digest = content_digest(body)
    base = signature_base(
        COVERED, method=method, target=target, digest=digest, audience=audience, parameters=parameters
    )
    return {
        AUDIENCE_HEADER: audience,
        _CONTENT_DIGEST_HEADER: digest,
        _INPUT_HEADER: f"{LABEL}={parameters}",
        _SIGNATURE_HEADER: f"{LABEL}=:{base64.b64encode(key.sign(base)).decode()}:",
    }


def signature_base(
    components: Iterable[str], *, method: str, target: str, digest: str, audience: str, parameters: str
) -> bytes:
    """Return the bytes that are signed (RFC 9421 section 2.5), one line per covered component."""
    path, _, query = target.partition("?")
    values = {
        "@method": method,
        "@path": path or "/",
        "@query": f"?{query}",  # an absent query is the single question mark (RFC 9421 section 2.2.7)
        "content-digest": digest,
        "counterpart-audience": audience,
    }
    lines = [f'"{name}": {values[name]}' for name in components]
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode("ascii", "strict")


def parse_signature(headers: Mapping[str, str]) -> ClaimedSignature:
    """Return what the request claims, so that the hub can look up the key; nothing is verified yet.

    `headers` may repeat a name (a multidict); a repeated signature header is refused.

    Raises:
        SignatureInvalid: absent, more than one signature, or not this profile.
    """
    claimed = _INPUT.fullmatch(_only(headers, _INPUT_HEADER))
    if claimed is None:
        raise SignatureInvalid("Signature-Input must hold exactly one signature of this profile")
    if _components_of(claimed["components"]) is None:
        raise SignatureInvalid("the signature must cover exactly " + ", ".join(COVERED))
    values = _parameters_of(claimed["rest"])
    if values["alg"] != ALGORITHM:
        raise SignatureInvalid("the signature algorithm must be ed25519")
    if values["tag"] != TAG:
        raise SignatureInvalid(f"the signature tag must be {TAG}")
    signature = _SIGNATURE.fullmatch(_only(headers, _SIGNATURE_HEADER))
    if signature is None or signature["label"] != claimed["label"]:
        raise SignatureInvalid("Signature must hold exactly one value with the label of Signature-Input")
    return ClaimedSignature(
        key_id=values["keyid"],
        nonce=values["nonce"],
        created=int(values["created"]),
        label=claimed["label"],
        parameters=claimed["parameters"],
        value=base64.b64decode(signature["value"]),
    )


def verify_request(
    public_key: str, *, method: str, target: str, headers: Mapping[str, str], body: bytes, audience: str
) -> ClaimedSignature:
    """Return the signature's claims once they are proved with `public_key` (43 characters, base64url).

    `target` is the raw path with its query as it came on the wire. The nonce is the caller's to check and to spend.

    Raises:
        SignatureInvalid: not signed, altered, for another audience, or by another key.
    """
    claimed = parse_signature(headers)
    digest = _only(headers, _CONTENT_DIGEST_HEADER)
    if not hmac.compare_digest(digest.encode(), content_digest(body).encode()):
        raise SignatureInvalid("Content-Digest does not match the body")
    if _only(headers, AUDIENCE_HEADER) != audience:
        raise SignatureInvalid("the request is signed for another audience")
    components = _components_of(claimed.parameters[1 : claimed.parameters.index(")")])
    try:
        base = signature_base(
            components or COVERED,
            method=method,
            target=target,
            digest=digest,
            audience=audience,
            parameters=claimed.parameters,
        )
    except UnicodeEncodeError as exc:
        raise SignatureInvalid("the request target must be percent-encoded ASCII") from exc
    _verify(public_key, base, claimed.value)
    return claimed


def sign_text(key: RequestSigner, data: bytes) -> str:
    """Return the signature over `data` as base64url without padding, 86 characters."""
    return base64url_text(key.sign(data))


def verify_bytes(public_key_text: str, data: bytes, signature_text: str) -> None:
    """Return when `signature_text` (of `sign_text`) is this key's signature over `data`; raises SignatureInvalid."""
    try:
        value = parse_base64url(signature_text)
    except ValueError as exc:
        raise SignatureInvalid("the signature is not base64url") from exc
    _verify(public_key_text, data, value)


def make_nonce(secret: bytes, now: datetime, random: bytes) -> str:
    """Return a nonce that any hub process with `secret` recognises; `random` is 16 fresh bytes."""
    if len(random) != NONCE_RANDOM_BYTES:
        raise ValueError(f"a nonce needs {NONCE_RANDOM_BYTES} random bytes")
    body = int(now.timestamp() * 1000).to_bytes(_NONCE_TIME_BYTES, "big") + random
    return base64url_text(body + _nonce_mac(secret, body))


def check_nonce(secret: bytes, nonce: str, now: datetime, ttl_s: float) -> None:
    """Return when this hub issued `nonce` within `ttl_s` of `now`.

    A nonce from slightly ahead counts too: another process of the hub may run on a machine whose clock is ahead.

    Raises:
        NonceInvalid: malformed, made with another secret, or too old.
    """
    try:
        raw = parse_base64url(nonce)
    except ValueError as exc:
        raise NonceInvalid("the nonce is malformed") from exc
    body, mac = raw[:-_NONCE_MAC_BYTES], raw[-_NONCE_MAC_BYTES:]
    if len(body) != _NONCE_TIME_BYTES + NONCE_RANDOM_BYTES or not hmac.compare_digest(mac, _nonce_mac(secret, body)):
        raise NonceInvalid("the nonce was not issued by this hub")
    issued = datetime.fromtimestamp(int.from_bytes(body[:_NONCE_TIME_BYTES], "big") / 1000, UTC)
    if abs((now - issued).total_seconds()) > ttl_s:
        raise NonceInvalid("the nonce has expired")


def base64url_text(data: bytes) -> str:
    """Return `data` as base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_base64url(text: str) -> bytes:
    """Return the bytes of an unpadded base64url text; raises ValueError unless it is the one canonical spelling."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise ValueError("not base64url") from exc
    if base64url_text(data) != text:
        raise ValueError("not canonical base64url")
    return data


def _nonce_mac(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, b"counterpart-nonce/1\n" + body, hashlib.sha256).digest()[:_NONCE_MAC_BYTES]


def _only(headers: Mapping[str, str], name: str) -> str:
    values = [value for key, value in headers.items() if key.lower() == name.lower()]
    if not values:
        raise SignatureInvalid(f"the header {name} is missing")
    if len(values) > 1:
        raise SignatureInvalid(f"the header {name} occurs more than once")
    return values[0].strip(" \t")


def _components_of(inner_list: str) -> tuple[str, ...] | None:
    """Return the covered components in the order of the request, or None unless each of COVERED stands there once."""
    names = tuple(part[1:-1] for part in inner_list.split(" ") if len(part) > 2 and part[0] == part[-1] == '"')
    if len(inner_list.split(" ")) != len(COVERED) or sorted(names) != sorted(COVERED):
        return None
    return names


def _parameters_of(rest: str) -> dict[str, str]:
    found = list(_PARAMETER.finditer(rest))
    names = [match["name"] for match in found]
    if "".join(match[0] for match in found) != rest or sorted(names) != sorted(_PARAMETERS):
        raise SignatureInvalid("the signature must carry " + ", ".join(_PARAMETERS) + ", each once, and nothing else")
    for match in found:
        if (match["number"] is not None) != (match["name"] == "created"):
            raise SignatureInvalid(f"the signature parameter {match['name']} has the wrong type")
    return {match["name"]: match["text"] if match["number"] is None else match["number"] for match in found}


def _public_key_bytes(text: str) -> bytes:
    try:
        raw = parse_base64url(text)
    except ValueError as exc:
        raise SignatureInvalid("the public key is not base64url") from exc
    if len(raw) != 32:
        raise SignatureInvalid("an Ed25519 public key has 32 bytes")
    return raw


def _verify(public_key_text: str, data: bytes, value: bytes) -> None:
    if len(value) != _ED25519_SIGNATURE_BYTES:
        raise SignatureInvalid("an Ed25519 signature has 64 bytes")
    try:
        Ed25519PublicKey.from_public_bytes(_public_key_bytes(public_key_text)).verify(value, data)
    except InvalidSignature as exc:
        raise SignatureInvalid("the signature does not verify with this key") from exc
