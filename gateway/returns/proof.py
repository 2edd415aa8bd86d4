"""Whether a document is what the hub signed for this site. Pure."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from gateway.journal.identity import Identity
from storage.contract.delivery import DeliveryFailure, DeliveryFault
from storage.contract.signing import SignatureInvalid, verify_bytes
from storage.contract.wire import DocumentDescriptor, SignedDescriptor


class DocumentUntrusted(Exception):
    """The announcement or the bytes do not prove; the message is words for the technician."""


class DocumentAltered(DocumentUntrusted):
    """The bytes are not those of the descriptor."""

    def __init__(self, failure: DeliveryFailure) -> None:
        super().__init__(failure.words())
        self.failure = failure


def verify_announcement(signed: SignedDescriptor, identity: Identity) -> DocumentDescriptor:
    """Return what the hub says about the document, once its signature and its site are proved.

    Raises:
        DocumentUntrusted: another key, a wrong signature, not a descriptor, or not for this site.
    """
    if signed.hub_key_id != identity.hub_key_id:
        raise DocumentUntrusted("the document is signed with a key that is not this hub's")
    try:
        verify_bytes(identity.hub_public_key, signed.canonical.encode(), signed.signature)
    except SignatureInvalid as exc:
        raise DocumentUntrusted("the hub's signature over the document does not verify") from exc
    try:
        descriptor = DocumentDescriptor.model_validate_json(signed.canonical)
    except ValidationError as exc:
        raise DocumentUntrusted("the signed text is not the description of a document") from exc
    if descriptor.site_id != identity.site_id:
        raise DocumentUntrusted("the document is addressed to another site")
    return descriptor


def verify_content(descriptor: DocumentDescriptor, content: bytes) -> None:
    """Return when the bytes are those of the descriptor.

    Raises:
        DocumentAltered: other length or digest.
    """
    if len(content) != descriptor.size_bytes:
        fault = DeliveryFault.DOCUMENT_OTHER_LENGTH
        raise DocumentAltered(DeliveryFailure.of(fault, bytes=len(content), signed=descriptor.size_bytes))
    if hashlib.sha256(content).hexdigest() != descriptor.sha256:
        raise DocumentAltered(DeliveryFailure.of(DeliveryFault.DOCUMENT_OTHER_DIGEST))
