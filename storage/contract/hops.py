"""The hops of a study's road, in order: the names that custody events carry."""

from __future__ import annotations

from enum import StrEnum


class Hop(StrEnum):
    """One hop; the order of the members is the order of the road."""

    RECEIVED = "received"  # gateway: instances of one association are durable in the spool
    COMPLETED = "completed"  # gateway: the study was judged complete
    DECLARED = "declared"  # hub: the manifest was accepted
    UPLOADED = "uploaded"  # gateway: every pack of the transfer was PUT
    COMMITTED = "committed"  # hub: the commit of the transfer's packs was accepted
    VERIFIED = "verified"  # hub: the SHA-256 of everything in object storage was confirmed
    CATALOGUED = "catalogued"  # hub: the study is in the catalogue and its case is ready
    CONFIRMED = "confirmed"  # gateway: it learnt that the hub holds every instance
    OFFERED = "offered"  # hub: shown to a physician for interpretation
    CLAIMED = "claimed"  # a physician took the interpretation
    SUBMITTED = "submitted"  # the author signed
    REVIEW_OFFERED = "review_offered"  # hub: shown to a second physician
    REVIEW_CLAIMED = "review_claimed"  # the second physician took the verification
    SIGNED = "signed"  # the verifier signed; the report is final
    RENDERED = "rendered"  # hub: SR and PDF are stored
    FETCHED = "fetched"  # gateway: the documents are durable in the clinic
    DELIVERED = "delivered"  # gateway: the clinic's PACS has stored them
    ACKNOWLEDGED = "acknowledged"  # hub: the clinic's confirmation of delivery is recorded
    # Events that are not on the straight road.
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    LATE_IMAGES = "late_images"
    RELEASED = "released"  # a claim was given back or its lease ran out
    DECLINED = "declined"
    RETURNED_TO_AUTHOR = "returned_to_author"
    DELIVERY_FAILED = "delivery_failed"
    UNROUTABLE = "unroutable"


ROAD: tuple[Hop, ...] = tuple(Hop)[: list(Hop).index(Hop.ACKNOWLEDGED) + 1]
