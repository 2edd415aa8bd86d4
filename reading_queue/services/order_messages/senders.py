"""Who may send order messages to the hub: a certificate, the site whose orders it brings, how its messages are read.

Pure. The settings say it; a certificate that nobody is named for brings nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from storage.hl7.local_codes import LocalCodes


@dataclass(frozen=True, slots=True)
class OrderSender:
    """One HIS or RIS. It is known by the SHA-256 of its certificate, or by a name that its certificate bears."""

    name: str
    site_id: str
    certificate_sha256: str = ""  # lower-case hexadecimal, of the DER form
    certificate_name: str = ""  # a DNS name of the certificate, else its common name
    character_set: str = "UNICODE UTF-8"  # where MSH-18 is empty
    codes: LocalCodes = field(default_factory=LocalCodes)


def recognise(senders: Iterable[OrderSender], certificate: bytes) -> OrderSender | None:
    """Return whose certificate (DER) this is, None where it is nobody's. That a CA signed it was proved before."""
    fingerprint, names = hashlib.sha256(certificate).hexdigest(), _names_of(certificate)
    for sender in senders:
        if sender.certificate_sha256 and sender.certificate_sha256 == fingerprint:
            return sender
        if sender.certificate_name and sender.certificate_name.lower() in names:
            return sender
    return None


def _names_of(certificate: bytes) -> frozenset[str]:
    """Return the certificate's DNS names; its common name only where it has none (RFC 6125 section 6.4.4)."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        found = [str(one.value) for one in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    else:
        found = extension.value.get_values_for_type(x509.DNSName)
    return frozenset(name.lower() for name in found)
