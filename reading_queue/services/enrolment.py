"""How a gateway becomes known: a one-time code, given to the clinic by a person, against the gateway's own public key.

Durable: the hash of each code and by which key it was spent; the gateway's row. The code itself is shown once and kept
nowhere. A gateway that lost its answer asks again with the same code and the same key and gets the same answer.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.hub import Hub
from reading_queue.services.keys import hub_key
from storage.contract.identifiers import SiteId
from storage.contract.signing import SignatureInvalid, key_id_of, parse_base64url
from storage.contract.wire import EnrolmentAnswer, EnrolmentRequest
from storage.ledger.gateways import spend_enrolment
from storage.ledger.tables import Enrolment, Gateway, Site

CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that is misread: no 0 O, 1 I L, U
CODE_GROUPS: Final = 4
CODE_GROUP_CHARACTERS: Final = 4  # 16 characters, 78 bits: guessing is hopeless without any limit on tries


class EnrolmentRefused(Forbidden):
    """This enrolment code is not valid. Check it character by character, or ask the hub for a new one."""

    code = "enrolment_code_wrong"


class EnrolmentCodeUsed(EnrolmentRefused):
    """This enrolment code has been used already. Ask the hub for a new one."""

    code = "enrolment_code_used"


class EnrolmentCodeExpired(EnrolmentRefused):
    """This enrolment code has expired. Ask the hub for a new one."""

    code = "enrolment_code_expired"


class KeyBelongsElsewhere(EnrolmentRefused):
    """This gateway's key was enrolled for another site, or was revoked. Let the gateway make a new key."""

    code = "enrolment_key_known"


class PublicKeyInvalid(Invalid):
    """The public key is not a raw Ed25519 key in base64url."""

    code = "public_key_invalid"


def issue_enrolment_code(hub: Hub, site_id: str, issued_by: str) -> str:
    """Return a fresh code like `7KQM-X2RD-9FHV-C4TP`, good once for a gateway of this site.

    Raises:
        NotFound: there is no such site.
    """
    code = "-".join(_random_group() for _ in range(CODE_GROUPS))
    now = hub.clock()
    with hub.transaction() as session:
        if session.get(Site, site_id) is None:
            raise NotFound(f"there is no site {site_id!r}; load the network description first")
        session.add(
            Enrolment(
                code_sha256=_digest(code),
                site_id=site_id,
                issued_by=issued_by,
                created_at=now,
                expires_at=now + timedelta(seconds=hub.policy.enrolment_ttl_s),
                used_at=None,
                used_by_gateway_id=None,
            )
        )
    return code


def enrol(hub: Hub, request: EnrolmentRequest) -> EnrolmentAnswer:
    """Spend the code and return who the gateway is from now on; its id is the thumbprint of its key.

    Raises:
        EnrolmentRefused: the code is wrong, used by another key or expired; each with its own `code`.
        PublicKeyInvalid: the key has another form.
    """
    gateway_id = _gateway_id(request.public_key)
    digest = _digest(request.code)
    now = hub.clock()
    key_id, key_text = hub_key(hub)
    with hub.transaction() as session:
        site_id = spend_enrolment(session, digest, gateway_id, now)
        if site_id is None:
            site_id = _site_of_repeated(session, digest, gateway_id)
        _write_gateway(session, gateway_id, site_id, request, now)
        site = session.get_one(Site, site_id)
    return EnrolmentAnswer(
        gateway_id=gateway_id,
        site_id=SiteId(site_id),
        site_name=site.name,
        audience=hub.audience,
        hub_key_id=key_id,
        hub_public_key=key_text,
        hub_time=now,
    )


def _site_of_repeated(session: Session, digest: str, gateway_id: str) -> str:
    """Return the site of a code that this very key has spent before; refuse anything else."""
    enrolment = session.get(Enrolment, digest)
    if enrolment is None:
        raise EnrolmentRefused
    if enrolment.used_at is None:
        raise EnrolmentCodeExpired
    if enrolment.used_by_gateway_id != gateway_id:
        raise EnrolmentCodeUsed
    return enrolment.site_id


def _write_gateway(session: Session, gateway_id: str, site_id: str, request: EnrolmentRequest, now: datetime) -> None:
    known = session.get(Gateway, gateway_id)
    if known is None:
        session.add(
            Gateway(
                gateway_id=gateway_id,
                site_id=site_id,
                public_key=parse_base64url(request.public_key),
                software_version=request.software_version,
                enrolled_at=now,
                last_seen_at=now,
            )
        )
    elif known.site_id != site_id or known.revoked_at is not None:
        raise KeyBelongsElsewhere
    else:
        known.software_version = request.software_version


def _digest(code: str) -> str:
    """Return the hash under which a code is kept: case, hyphens and spaces do not count."""
    typed = "".join(character for character in code.upper() if character.isalnum())
    return hashlib.sha256(typed.encode()).hexdigest()


def _random_group() -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_GROUP_CHARACTERS))


def _gateway_id(public_key: str) -> str:
    try:
        return key_id_of(public_key)
    except SignatureInvalid as exc:
        raise PublicKeyInvalid from exc
