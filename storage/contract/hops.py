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
    JOINED = "joined"  # hub: the study is read with others, as one case
    SEPARATED = "separated"  # hub: the study has a case of its own again
    IDENTITY_DOUBTED = "identity_doubted"  # hub: order and images contradict each other; the detail says in what
    IDENTITY_SETTLED = "identity_settled"  # and how that ended
    ORDER_MATCHED = "order_matched"  # hub: the order of the study was found, or changed; the detail says what differs
    ORDER_CHANGED = "order_changed"  # hub: the site changed or cancelled it; the detail names the fields
    ORDER_NOTED = "order_noted"  # hub: the site added a note after the signature
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    LATE_IMAGES = "late_images"
    RELEASED = "released"  # a claim was given back or its lease ran out
    DECLINED = "declined"
    PRELIMINARY_FETCHED = "preliminary_fetched"  # gateway: what an emergency's author has signed is at the clinic
    PRELIMINARY_ACKNOWLEDGED = "preliminary_acknowledged"  # hub: somebody there has seen it and told the clinician
    RETURNED_TO_AUTHOR = "returned_to_author"
    TAKEN_OVER = "taken_over"  # a senior colleague has the case now
    ASSIGNED = "assigned"  # a coordinator chose who is offered the case
    HELD = "held"  # the reader asks the site for something and waits
    HOLD_ENDED = "hold_ended"  # the site answered, or the reader went on without
    CONSULT_ASKED = "consult_asked"  # the reader asks a hospital up the line for its opinion, and keeps the case
    CONSULT_ACCEPTED = "consult_accepted"  # one of its physicians has taken it
    CONSULT_ANSWERED = "consult_answered"  # the opinion is written
    CONSULT_ENDED = "consult_ended"  # without one; the detail says how
    WITHDRAWAL_ASKED = "withdrawal_asked"  # the site wants the case back from its reader
    WITHDRAWAL_REFUSED = "withdrawal_refused"  # who goes on reading
    WITHDRAWN = "withdrawn"
    RETURNED_TO_SITE = "returned_to_site"  # not readable as it is
    RESUBMITTED = "resubmitted"  # the site said what was missing
    AMENDMENT_OPENED = "amendment_opened"  # a signed report is being written again; the detail says why
    AMENDMENT_CLOSED = "amendment_closed"  # there was nothing to add
    VOID_ASKED = "void_asked"  # somebody says that the signed report is about the wrong patient
    VOID_REFUSED = "void_refused"  # and somebody else that it is not
    VOIDED = "voided"  # two people have said so
    ESCALATED = "escalated"  # a stage of the limit has passed, or nobody can be asked; the detail says which
    DELIVERY_FAILED = "delivery_failed"
    UNROUTABLE = "unroutable"
    CLINIC_ACTED = "clinic_acted"  # gateway: a person paused, cancelled, hurried or completed it; the detail says which
    AT_READER = "at_reader"  # hub: the claimer's hospital has the case in its own systems, or no longer in its cache
    DAMAGED = "damaged"  # hub: stored bytes are no longer what they were; the site's gateway is asked for them again
    HEALED = "healed"  # hub: they are there again, proved
    EVIDENCE_ADDED = "evidence_added"  # hub: key images or measurements joined the study; there is nothing to read
    AMENDED = "amended"  # hub: a correction changed how the study is shown; the detail says which
    DELETED = "deleted"  # hub: two persons let it go when its time was over
    DRAFT_CAME = "draft_came"  # hub: the text came from the claimer's own workstation


ROAD: tuple[Hop, ...] = tuple(Hop)[: list(Hop).index(Hop.ACKNOWLEDGED) + 1]
