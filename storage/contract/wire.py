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
| POST /gateway/v1/orders | OrderBatch | OrdersAnswer |
| GET  /gateway/v1/orders?after=N | | OrderPage |
| GET  /gateway/v1/prior-requests?after=N | | PriorRequestPage (storage.contract.priors) |
| POST /gateway/v1/prior-requests/{id}/outcome | PriorOutcome | 204 |
| GET  /gateway/v1/accounts?known=VERSION | | AccountsAnswer |
| GET  /gateway/v1/events?since=TIME | | HubEventsAnswer |
| GET  /gateway/v1/courses | | CoursesAnswer (storage.contract.course) |
| POST /gateway/v1/site-acts | SiteActs | SiteActsAnswer |
| GET  /gateway/v1/identity-doubts | | IdentityDoubtsAnswer (storage.contract.identity_doubts) |
| POST /gateway/v1/identity-settlements | IdentitySettlements | SiteActsAnswer |
| GET  /gateway/v1/preliminary-reports?known=VERSION&wait_s=S | | PreliminariesAnswer (storage.contract.preliminary) |
| GET  /gateway/v1/reader/cases | | ReaderCases (these four are for gateways of role reader) |
| GET  /gateway/v1/reader/tasks/{id}/packs/{pack id} | | the bytes |
| POST /gateway/v1/reader/tasks/{id}/receipts | ReaderReceipt | 204 |
| POST /gateway/v1/reader/reports | ReaderReport | 204 |

Refusals answer with a Problem body (RFC 9457, `application/problem+json`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from storage.contract.delivery import PARAMETER_CHARACTERS_MAX
from storage.contract.hops import Hop
from storage.contract.manifest import Sha256Field, SiteIdField, UidField, WireModel
from storage.contract.orders import Order

PACKS_PER_GRANT_MAX = 64
UPLOADS_PER_GRANT_MAX = 64  # addresses: whole packs, and parts of large ones
PARTS_PER_PACK_MAX = 2_000  # 8 GiB in the smallest parts
CUSTODY_EVENTS_PER_BATCH_MAX = 500
DOCUMENTS_PER_PAGE_MAX = 50
LONG_POLL_S_MAX = 50
ORDERS_PER_BATCH_MAX = 100
ACCOUNTS_PER_SITE_MAX = 500
HUB_EVENTS_PER_ANSWER_MAX = 1000
PARAMETERS_MAX = 8

NONCE_HEADER = "Counterpart-Nonce"
AUDIENCE_HEADER = "Counterpart-Audience"
GATEWAY_TIME_HEADER = "Counterpart-Time"  # the gateway's own clock, ISO 8601, so that the hub can measure its offset


class EnrolmentRequest(WireModel):
    """A one-time code against the gateway's public key (raw Ed25519, base64url without padding)."""

    code: str = Field(min_length=8, max_length=64)
    public_key: str = Field(min_length=43, max_length=43)
    software_version: str = Field(max_length=32)


class EnrolmentAnswer(WireModel):
    """Who the gateway is from now on, and the key with which the hub signs what it sends.

    `custody_through`: the last custody event that the hub holds of this very key, 0 when the key is new.
    """

    gateway_id: str
    site_id: SiteIdField  # of a reader: the organisation whose physicians it serves
    site_name: str
    audience: str
    hub_key_id: str
    hub_public_key: str
    hub_time: AwareDatetime
    custody_through: int = 0
    role: Literal["site", "reader"] = "site"


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


class PartDeclaration(WireModel):
    """One numbered part of a pack that is too large for one upload; parts are counted from 1."""

    number: int = Field(ge=1, le=PARTS_PER_PACK_MAX)
    size_bytes: int = Field(ge=1)
    sha256: Sha256Field


class PackDeclaration(WireModel):
    """One pack about to be uploaded; its members in the pack's order.

    `parts` are all parts of a large pack in order, empty for a pack that is uploaded whole. `parts_wanted` numbers
    those for which addresses are asked; the others were uploaded under an earlier grant of the same transfer.
    """

    pack_sha256: Sha256Field
    size_bytes: int = Field(ge=1024)
    sop_instance_uids: tuple[UidField, ...] = Field(min_length=1)
    parts: tuple[PartDeclaration, ...] = Field(default=(), max_length=PARTS_PER_PACK_MAX)
    parts_wanted: tuple[int, ...] = Field(default=(), max_length=UPLOADS_PER_GRANT_MAX)


class GrantRequest(WireModel):
    """Ask for upload addresses for these packs of a declared transfer."""

    packs: tuple[PackDeclaration, ...] = Field(min_length=1, max_length=PACKS_PER_GRANT_MAX)


class Upload(WireModel):
    """A presigned PUT address and the headers that must be sent exactly as given.

    `part` is the number of the part that it takes, None for a whole pack.
    """

    pack_sha256: Sha256Field
    part: int | None = None
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
    """A pack that did not prove; it must be uploaded again, of a large one only the `parts` where any are named."""

    pack_sha256: Sha256Field
    code: str
    reason: str
    parts: tuple[int, ...] = ()


class TransferAnswer(WireModel):
    """`confirmed`: instances of the manifest whose digests the hub has confirmed in object storage.

    Told when nothing of the transfer waits to be proved, or a pack of it was refused; empty until then.
    """

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
    """The gateway's word about one document and one target (`pacs:<name>`, or `spool` for FETCHED).

    `takes`: every kind of document that this target is given; the report is at home there when all of them are
    delivered. Empty from gateways that did not say so yet. `code` and `params` are a `storage.contract.delivery.
    DeliveryFailure`, for pages in the reader's language; `reason` is the same in English. A code may be newer than the
    reader.
    """

    seq: int = Field(ge=1)
    step: ReceiptStep
    target: str = Field(max_length=64)
    at: AwareDatetime
    reason: str = Field(default="", max_length=500)
    code: str = Field(default="", max_length=64, pattern=r"^[a-z0-9_]*$")
    params: dict[str, Annotated[str, Field(max_length=PARAMETER_CHARACTERS_MAX)]] = Field(
        default_factory=dict, max_length=PARAMETERS_MAX
    )
    takes: tuple[DocumentKind, ...] = ()


class AccountRecord(WireModel):
    """A named person of the site's own organisation, who may use the clinic's console with the line down."""

    account_id: str = Field(max_length=64)
    login: str = Field(min_length=1, max_length=64)
    display_name: str = Field(max_length=200)
    role: Literal["technician", "physician", "coordinator"]
    language: str = Field(max_length=8)
    password_hash: str = Field(max_length=512)  # argon2, with its parameters
    disabled: bool = False


class AccountsAnswer(WireModel):
    """The accounts, and a digest of all of them; `accounts` is None when the gateway named that digest as known."""

    version: str = Field(max_length=64)
    accounts: tuple[AccountRecord, ...] | None = Field(default=None, max_length=ACCOUNTS_PER_SITE_MAX)


class HubEvent(WireModel):
    """One custody event of the hub's own about a study of the site. `at` is the hub's clock."""

    event_id: int
    study_uid: UidField
    hop: str = Field(max_length=64)  # a newer hub may know hops that this gateway does not
    at: AwareDatetime
    actor_name: str = Field(default="", max_length=200)
    detail: dict[str, Any] = Field(default_factory=dict)


class HubEventsAnswer(WireModel):
    """The oldest events of the site after the asked time, by the hub's clock; events may come again in a later answer.

    `through`: ask from here next time. `more`: there are more already.
    """

    events: tuple[HubEvent, ...] = Field(max_length=HUB_EVENTS_PER_ANSWER_MAX)
    through: AwareDatetime
    more: bool = False


class OrderBatch(WireModel):
    """Versions of orders, oldest first; sending them again is harmless."""

    orders: tuple[Order, ...] = Field(min_length=1, max_length=ORDERS_PER_BATCH_MAX)


class OrderRefusal(WireModel):
    """An order that the hub does not take; a person must mend it."""

    order_id: str
    version: int
    code: str
    reason: str


class OrdersAnswer(WireModel):
    """`accepted`: ids of the orders that the hub holds now, in this version or a later one."""

    accepted: tuple[str, ...]
    refused: tuple[OrderRefusal, ...] = ()


class OrderPage(WireModel):
    """Orders of the site that changed at the hub after the asked number, oldest change first."""

    orders: tuple[Order, ...]
    through: int


class ReaderPack(WireModel):
    """One verified pack of a study."""

    pack_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    pack_sha256: Sha256Field
    size_bytes: int = Field(ge=1)


class ReaderStudy(WireModel):
    """One study that the claimer may see; `prior`: an earlier one of the same patient."""

    study_uid: UidField
    accession_number: str
    prior: bool
    packs: tuple[ReaderPack, ...]


class ReaderCase(WireModel):
    """A reading task that a physician of the organisation holds now."""

    reading_task_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    case_id: str
    phase: str
    studies: tuple[ReaderStudy, ...]


class ReaderCases(WireModel):
    """Everything that is held now: what is no longer in it was released, has run out or is done."""

    cases: tuple[ReaderCase, ...]


class ReaderReceipt(WireModel):
    """What became of a claimed case at the hospital's own systems."""

    step: Literal["delivered", "failed", "withdrawn"]
    target: str = Field(max_length=64)
    at: AwareDatetime
    code: str = Field(default="", max_length=64, pattern=r"^[a-z0-9_]*$")


class ReaderReport(WireModel):
    """A report text that a workstation sent by ORU^R01: it becomes the draft of the case that its writer holds.

    The case is found by its study, else by its accession number. `physician`: licence number or login of who wrote it.
    """

    message_id: str = Field(max_length=199)
    study_uid: UidField | None = None
    accession_number: str = Field(default="", max_length=64)
    physician: str = Field(min_length=1, max_length=64)
    findings: str = Field(max_length=100_000)
    impression: str = Field(max_length=100_000)
    recommendation: str = Field(default="", max_length=100_000)


class Health(WireModel):
    """The answer of GET /health."""

    status: Literal["ok", "failing"]
    checks: dict[str, str]
