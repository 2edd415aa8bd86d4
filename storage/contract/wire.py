"""The bodies of the gateway API (`/gateway/v1/…`), the same classes on both sides of the line.

| request | body | answer |
|---|---|---|
| POST /gateway/v1/enrolments | EnrolmentRequest | EnrolmentAnswer |
| GET  /gateway/v1/nonce | | NonceAnswer (every answer also carries the header Counterpart-Nonce) |
| POST /gateway/v1/manifests | Manifest | ManifestAnswer |
| POST /gateway/v1/transfers/{id}/grants | GrantRequest | GrantAnswer |
| POST /gateway/v1/grants/{id}/commits | CommitRequest | 202 TransferAnswer |
| GET  /gateway/v1/transfers/{id} | | TransferAnswer |
| POST /gateway/v1/custody | CustodyBatch | CustodyAnswer |
| GET  /gateway/v1/documents?after=N&wait_s=S | | DocumentPage |
| GET  /gateway/v1/documents/{id}/content | | the bytes |
| POST /gateway/v1/documents/{id}/receipts | Receipt | 204 |

Refusals answer with a Problem body (RFC 9457, `application/problem+json`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from storage.contract.hops import Hop
from storage.contract.manifest import Sha256Field, SiteIdField, UidField, WireModel

PACKS_PER_GRANT_MAX = 64
CUSTODY_EVENTS_PER_BATCH_MAX = 500
DOCUMENTS_PER_PAGE_MAX = 50
LONG_POLL_S_MAX = 50

NONCE_HEADER = "Counterpart-Nonce"
AUDIENCE_HEADER = "Counterpart-Audience"
GATEWAY_TIME_HEADER = "Counterpart-Time"  # the gateway's own clock, ISO 8601, so that the hub can measure its offset


class EnrolmentRequest(WireModel):
    """A one-time code against the gateway's public key (raw Ed25519, base64url without padding)."""

    code: str = Field(min_length=8, max_length=64)
    public_key: str = Field(min_length=43, max_length=43)
    software_version: str = Field(max_length=32)


class EnrolmentAnswer(WireModel):
    """Who the gateway is from now on, and the key with which the hub signs what it sends."""

    gateway_id: str
    site_id: SiteIdField
    site_name: str
    audience: str
    hub_key_id: str
    hub_public_key: str
    hub_time: AwareDatetime


class NonceAnswer(WireModel):
    """A nonce for exactly one signed request."""

    nonce: str


class Problem(WireModel):
    """RFC 9457 problem details; `code` is constant, `detail` is words for a person, `nonce` rides in the header."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


class ConflictingInstance(WireModel):
    """A UID that the hub holds with other bytes: the gateway quarantines its copy and shows the reason."""

    sop_instance_uid: UidField
    reason: str


class ManifestAnswer(WireModel):
    """What the hub already holds (within the site only), and what it still needs."""

    transfer_id: str
    held: tuple[UidField, ...]
    needed: tuple[UidField, ...]
    conflicting: tuple[ConflictingInstance, ...] = ()


class PackDeclaration(WireModel):
    """One pack about to be uploaded; its members in the pack's order."""

    pack_sha256: Sha256Field
    size_bytes: int = Field(ge=1024)
    sop_instance_uids: tuple[UidField, ...] = Field(min_length=1)


class GrantRequest(WireModel):
    """Ask for upload addresses for these packs of a declared transfer."""

    packs: tuple[PackDeclaration, ...] = Field(min_length=1, max_length=PACKS_PER_GRANT_MAX)


class Upload(WireModel):
    """A presigned PUT address and the headers that must be sent exactly as given."""

    pack_sha256: Sha256Field
    url: str
    headers: dict[str, str]


class GrantAnswer(WireModel):
    """Permission to upload until `expires_at` (the hub's clock)."""

    grant_id: str
    expires_at: AwareDatetime
    uploads: tuple[Upload, ...]


class CommitRequest(WireModel):
    """These packs of the grant are uploaded; verify and catalogue them."""

    pack_sha256s: tuple[Sha256Field, ...] = Field(min_length=1, max_length=PACKS_PER_GRANT_MAX)


class TransferState(StrEnum):
    """Where a transfer stands at the hub."""

    RECEIVING = "receiving"  # some instance of the manifest is not verified yet
    VERIFIED = "verified"  # object storage holds every instance, digests confirmed


class PackRefusal(WireModel):
    """A pack that did not prove; it must be built and uploaded again."""

    pack_sha256: Sha256Field
    code: str
    reason: str


class TransferAnswer(WireModel):
    """`confirmed`: instances of the manifest whose digests the hub has confirmed in object storage."""

    transfer_id: str
    state: TransferState
    confirmed: tuple[UidField, ...]
    refused: tuple[PackRefusal, ...] = ()


class CustodyEventReport(WireModel):
    """One line of the gateway's part of the ledger. `seq` counts this gateway's events without gaps."""

    seq: int = Field(ge=1)
    hop: Hop
    study_uid: UidField
    sop_instance_uid: UidField | None = None
    at: AwareDatetime
    detail: dict[str, Any] = Field(default_factory=dict)


class CustodyBatch(WireModel):
    """Events in order of `seq`; sending them again is harmless."""

    events: tuple[CustodyEventReport, ...] = Field(min_length=1, max_length=CUSTODY_EVENTS_PER_BATCH_MAX)


class CustodyAnswer(WireModel):
    """Events up to and with this number are in the ledger."""

    accepted_through: int


class DocumentKind(StrEnum):
    """What a returned document is."""

    REPORT_JSON = "report_json"  # the canonical signed JSON
    SR = "sr"  # Basic Text SR, Part 10
    PDF = "pdf"  # encapsulated PDF, Part 10


class DocumentDescriptor(WireModel):
    """What the hub says about one document; its canonical JSON (RFC 8785) is what the hub signs."""

    document_id: str
    site_id: SiteIdField
    case_id: str
    report_version: int
    study_uids: tuple[UidField, ...]
    kind: DocumentKind
    media_type: str
    sop_instance_uid: UidField | None
    sha256: Sha256Field
    size_bytes: int
    created_at: str


class SignedDescriptor(WireModel):
    """`cursor` orders the documents of a site; `signature` is base64url Ed25519 over `canonical` (UTF-8)."""

    cursor: int
    canonical: str
    hub_key_id: str
    signature: str


class DocumentPage(WireModel):
    """Documents after the asked cursor, oldest first; empty when the wait ran out."""

    documents: tuple[SignedDescriptor, ...]


class ReceiptStep(StrEnum):
    """How far a document came at the clinic."""

    FETCHED = "fetched"
    DELIVERED = "delivered"
    FAILED = "failed"


class Receipt(WireModel):
    """The gateway's word about one document and one target (`pacs:<name>`, or `spool` for FETCHED)."""

    seq: int = Field(ge=1)
    step: ReceiptStep
    target: str = Field(max_length=64)
    at: AwareDatetime
    reason: str = Field(default="", max_length=500)


class Health(WireModel):
    """The answer of GET /health."""

    status: Literal["ok", "failing"]
    checks: dict[str, str]
