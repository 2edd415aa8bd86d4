"""How a gateway becomes known: a one-time code, given to the clinic by a person, against the gateway's own public key.

Durable: the hash of each code and by which key it was spent; the gateway's row. The code itself is shown once and kept
nowhere. A gateway that lost its answer asks again with the same code and the same key and gets the same answer.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Organisation, Physician
from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.access.keys import hub_key
from reading_queue.services.hub import Hub
from storage.contract.accession_numbers import mark_of
from storage.contract.identifiers import SiteId
from storage.contract.signing import SignatureInvalid, key_id_of, parse_base64url
from storage.contract.wire import EnrolmentAnswer, EnrolmentRequest
from storage.ledger.gateways import spend_enrolment
from storage.ledger.tables import AuditEvent, Enrolment, Gateway, Site

SECURITY_ALERT: Final = "110113"  # DCM
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


class OrderNumbersCollide(EnrolmentRefused):
    """Another gateway of this site gives the same order numbers. Let this one make a new key: the code stays good."""

    code = "enrolment_mark_taken"


class PublicKeyInvalid(Invalid):
    """The public key is not a raw Ed25519 key in base64url."""

    code = "public_key_invalid"


def issue_enrolment_code(hub: Hub, site_id: str, issued_by: str) -> str:
    """Return a fresh code like `7KQM-X2RD-9FHV-C4TP`, good once for a gateway of this site.

    Raises:
        NotFound: there is no such site.
    """
    with hub.transaction() as session:
        if session.get(Site, site_id) is None:
            raise NotFound(f"there is no site {site_id!r}; load the network description first")
        return _issue(session, hub, issued_by, site_id=site_id)


def issue_reader_code(hub: Hub, organisation_id: str, issued_by: str) -> str:
    """Return a fresh code for a gateway at an assisting hospital, which serves the physicians of that organisation.

    Raises:
        NotFound: there is no such organisation, or it has no physicians.
    """
    with hub.transaction() as session:
        read_for_it = or_(Physician.organisation_id == organisation_id, Physician.also_at.contains([organisation_id]))
        physicians = select(Physician.physician_id).where(read_for_it)
        if session.scalar(physicians.limit(1)) is None:
            raise NotFound(f"there is no organisation {organisation_id!r} with physicians in the network")
        return _issue(session, hub, issued_by, reads_for=organisation_id)


def _issue(
    session: Session, hub: Hub, issued_by: str, *, site_id: str | None = None, reads_for: str | None = None
) -> str:
    code = "-".join(_random_group() for _ in range(CODE_GROUPS))
    now = hub.clock()
    session.add(
        Enrolment(
            code_sha256=_digest(code),
            site_id=site_id,
            reads_for=reads_for,
            issued_by=issued_by,
            created_at=now,
            expires_at=now + timedelta(seconds=hub.policy.enrolment_ttl_s),
            used_at=None,
            used_by_gateway_id=None,
        )
    )
    session.add(
        AuditEvent(
            at=now,
            event_code=SECURITY_ALERT,
            action="C",
            account_id=None,
            object_kind="enrolment_code",
            object_id=site_id or reads_for or "",
            site_id=site_id,
            outcome="success",
            detail={"command_as": issued_by},
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
        spend_enrolment(session, digest, gateway_id, now)
        enrolment = _get_spent(session, digest, gateway_id)
        custody_through = _write_gateway(session, gateway_id, enrolment, request, now)
        place = enrolment.site_id or str(enrolment.reads_for)
        if enrolment.reads_for is None:
            name = session.get_one(Site, place).name
        else:
            name = session.get_one(Organisation, place).name
    return EnrolmentAnswer(
        gateway_id=gateway_id,
        site_id=SiteId(place),
        site_name=name,
        audience=hub.audience,
        hub_key_id=key_id,
        hub_public_key=key_text,
        hub_time=now,
        custody_through=custody_through,
        role="site" if enrolment.reads_for is None else "reader",
    )


def _get_spent(session: Session, digest: str, gateway_id: str) -> Enrolment:
    """Return the code that this very key has spent, now or before; refuse anything else."""
    enrolment = session.get(Enrolment, digest, populate_existing=True)
    if enrolment is None:
        raise EnrolmentRefused
    if enrolment.used_at is None:
        raise EnrolmentCodeExpired
    if enrolment.used_by_gateway_id != gateway_id:
        raise EnrolmentCodeUsed
    return enrolment


def _write_gateway(
    session: Session, gateway_id: str, enrolment: Enrolment, request: EnrolmentRequest, now: datetime
) -> int:
    """Write who the gateway is, and return the last custody event that the hub holds of it."""
    known = session.get(Gateway, gateway_id)
    if known is None:
        if enrolment.site_id is not None:
            _check_order_numbers(session, enrolment.site_id, gateway_id)
        session.add(
            Gateway(
                gateway_id=gateway_id,
                site_id=enrolment.site_id,
                reads_for=enrolment.reads_for,
                public_key=parse_base64url(request.public_key),
                software_version=request.software_version,
                enrolled_at=now,
                last_seen_at=now,
            )
        )
        return 0
    if (known.site_id, known.reads_for) != (enrolment.site_id, enrolment.reads_for) or known.revoked_at is not None:
        raise KeyBelongsElsewhere
    known.software_version = request.software_version
    return known.custody_through


def _check_order_numbers(session: Session, site_id: str, gateway_id: str) -> None:
    """Keep two gateways of one site, revoked ones too, from giving the same accession numbers."""
    session.get_one(Site, site_id, with_for_update=True)  # two enrolments at once wait for each other
    others = session.scalars(select(Gateway.gateway_id).where(Gateway.site_id == site_id))
    if mark_of(gateway_id) in {mark_of(other) for other in others}:
        raise OrderNumbersCollide


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
