"""Who a gateway's request comes from: proved by its signature, fresh by a nonce that counts once.

Durable: spent nonces, so that a captured request cannot be replayed even after a restart; when a gateway was last heard
of and how far its clock is off. The gateway's own clock is never a reason to refuse.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.errors import NotAuthenticated
from reading_queue.services.hub import Hub
from storage.contract.signing import (
    NONCE_RANDOM_BYTES,
    ClaimedSignature,
    NonceInvalid,
    SignatureInvalid,
    base64url_text,
    check_nonce,
    make_nonce,
    parse_signature,
    verify_request,
)
from storage.contract.wire import GATEWAY_TIME_HEADER
from storage.ledger.gateways import note_seen, spend_nonce
from storage.ledger.tables import Gateway

NONCE_PURPOSE: Final = "gateway-nonce"
SEEN_EVERY: Final = timedelta(seconds=1)  # more often than this it is not written that a gateway was heard of
CLOCK_JUMP_MS: Final = 1000
CLOCK_OFFSET_MAX: Final = timedelta(days=365 * 30)  # further off is no clock but a mistake in the header


class SignatureNotAccepted(NotAuthenticated):
    """The request's signature is missing or does not hold."""

    code = "signature_invalid"


class GatewayUnknown(NotAuthenticated):
    """The hub does not know this gateway's key. Enrol it."""

    code = "gateway_unknown"


class GatewayRevoked(NotAuthenticated):
    """This gateway's key was revoked at the hub. Enrol it anew."""

    code = "gateway_revoked"


class NonceExpired(NotAuthenticated):
    """The nonce is too old or not of this hub. Repeat the request with the one in this answer."""

    code = "nonce_expired"


class NonceUsed(NotAuthenticated):
    """The nonce was used before. Repeat the request with the one in this answer."""

    code = "nonce_used"


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """Who a proved request comes from."""

    gateway_id: str
    site_id: str  # empty for a reader: it has a right to nothing of any site
    reads_for: str | None = None  # the organisation whose physicians it serves


def authenticate(hub: Hub, method: str, target: str, headers: Mapping[str, str], body: bytes) -> GatewayIdentity:
    """Return whose request this is and spend its nonce; `target` is the raw path with its query.

    Raises:
        NotAuthenticated: unsigned, altered, replayed, stale, or by a key that is unknown or revoked; each with its own
            `code`.
    """
    now = hub.clock()
    try:
        claimed = parse_signature(headers)
    except SignatureInvalid as exc:
        raise SignatureNotAccepted(str(exc)) from exc
    with hub.transaction() as session:
        gateway = _get_gateway(session, claimed.key_id)
        _verify(hub, gateway, method, target, headers, body)
        _check_fresh(hub, claimed, now)
        if not spend_nonce(session, claimed.nonce, now):
            raise NonceUsed
        offset_ms = clock_offset_ms(headers.get(GATEWAY_TIME_HEADER), now)
        if _is_news(gateway, now, offset_ms):
            note_seen(session, gateway.gateway_id, now, offset_ms)
    return GatewayIdentity(gateway.gateway_id, gateway.site_id or "", gateway.reads_for)


def fresh_nonce(hub: Hub) -> str:
    """Return a nonce for exactly one signed request."""
    return make_nonce(hub.keys.derive(NONCE_PURPOSE), hub.clock(), secrets.token_bytes(NONCE_RANDOM_BYTES))


def clock_offset_ms(gateway_time: str | None, now: datetime) -> int | None:
    """Return gateway minus hub in milliseconds; None when the gateway did not say its time, or not a usable one."""
    if gateway_time is None:
        return None
    try:
        at = datetime.fromisoformat(gateway_time)
    except ValueError:
        return None
    if at.tzinfo is None or abs(at - now) > CLOCK_OFFSET_MAX:
        return None
    return round((at - now).total_seconds() * 1000)


def _is_news(gateway: Gateway, now: datetime, offset_ms: int | None) -> bool:
    """Return whether the gateway was not heard of just now, or its clock has jumped since."""
    if gateway.last_seen_at is None or now - gateway.last_seen_at >= SEEN_EVERY:
        return True
    if offset_ms is None:
        return False
    known_ms = gateway.clock_offset_ms
    return known_ms is None or abs(offset_ms - known_ms) >= CLOCK_JUMP_MS


def _get_gateway(session: Session, gateway_id: str) -> Gateway:
    gateway = session.get(Gateway, gateway_id)
    if gateway is None:
        raise GatewayUnknown
    if gateway.revoked_at is not None:
        raise GatewayRevoked
    return gateway


def _verify(hub: Hub, gateway: Gateway, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    try:
        verify_request(
            base64url_text(gateway.public_key),
            method=method,
            target=target,
            headers=headers,
            body=body,
            audience=hub.audience,
        )
    except SignatureInvalid as exc:
        raise SignatureNotAccepted(str(exc)) from exc


def _check_fresh(hub: Hub, claimed: ClaimedSignature, now: datetime) -> None:
    try:
        check_nonce(hub.keys.derive(NONCE_PURPOSE), claimed.nonce, now, hub.policy.nonce_ttl_s)
    except NonceInvalid as exc:
        raise NonceExpired from exc
