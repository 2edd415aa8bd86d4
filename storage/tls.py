"""TLS for DICOM (PS3.15 annex B, BCP 195) and for HL7: contexts for both directions, and certificate trouble in words.

Never below TLS 1.2, only ciphers with forward secrecy. A device's certificate is proved by the configured CA. Its host
name is compared only where a name is configured: clinics address their devices by number.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from storage.configuration import stamp_of

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL"
HANDSHAKE_S_MAX: Final = 5.0
EXPIRES_SOON: Final = timedelta(days=30)

_SLOW: Final = "it did not finish the TLS handshake in time"
_BROKEN_OFF: Final = "it broke off the TLS handshake; perhaps it does not speak TLS"
_UNKNOWN: Final = "the TLS handshake failed"
# What OpenSSL calls it, the most particular first.
_TROUBLES: Final = (
    ("PEER_DID_NOT_RETURN", "it showed no certificate"),
    ("CERTIFICATE_REQUIRED", "it asks for a certificate of ours"),
    ("UNKNOWN_CA", "it does not trust our certificate"),
    ("HAS EXPIRED", "its certificate has expired"),
    ("NOT YET VALID", "its certificate is not valid yet"),
    ("CERTIFICATE_EXPIRED", "it says that our certificate has expired"),
    ("HOSTNAME MISMATCH", "its certificate bears another name"),
    ("IP ADDRESS MISMATCH", "its certificate bears another name"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the configured CA"),
    ("UNSUPPORTED_PROTOCOL", "it speaks only TLS below 1.2"),
    ("PROTOCOL_VERSION", "it speaks only TLS below 1.2"),
    ("NO_SHARED_CIPHER", "it has no cipher in common with us"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("HTTP_REQUEST", "it speaks HTTP"),
)
HANDSHAKE_WORDS: Final = frozenset({_SLOW, _BROKEN_OFF, _UNKNOWN, *(words for _, words in _TROUBLES)})


class CertificateUnusable(Exception):
    """A certificate, key or CA file cannot be used; the message says why in words."""


class CredentialFiles(Protocol):
    """A section of the settings that names the files."""

    @property
    def certificate_file(self) -> Path:
        """Our certificate, with its chain."""

    @property
    def key_file(self) -> Path:
        """Its key."""

    @property
    def ca_file(self) -> Path | None:
        """The CA that signs the others' certificates."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files: our own certificate (with its chain) and key, and the CA that signs the others' ones."""

    certificate_file: Path
    key_file: Path
    ca_file: Path | None = None

    @classmethod
    def of(cls, settings: CredentialFiles) -> Credentials:
        """Return the configured files."""
        return cls(settings.certificate_file, settings.key_file, settings.ca_file)


def server_context(credentials: Credentials, *, require_client_certificate: bool) -> ssl.SSLContext:
    """Return the context of a listener. Raises CertificateUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _fit_out(context, credentials)
    if credentials.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED if require_client_certificate else ssl.CERT_OPTIONAL
    return context


class WatchedContext:
    """The context of a listener that lets nobody in without a certificate, made anew when its files have changed.

    Nothing is durable. Files that cannot be used leave the context as it is: a certificate whose key is still to come.
    """

    def __init__(self, credentials: Credentials) -> None:
        """Read the files. Raises CertificateUnusable."""
        self._credentials = credentials
        self._seen = self._look()
        self.context = server_context(credentials, require_client_certificate=True)

    def read_again(self) -> bool:
        """Return whether the files have changed and count from now on.

        Raises:
            CertificateUnusable: they have changed and cannot be used; said once of each change.
        """
        found = self._look()
        if found == self._seen:
            return False
        self._seen = found
        self.context = server_context(self._credentials, require_client_certificate=True)
        return True

    def _look(self) -> list[tuple[int, int, int] | None]:
        files = (self._credentials.certificate_file, self._credentials.key_file, self._credentials.ca_file)
        return [stamp_of(path) for path in files if path is not None]


def client_context(credentials: Credentials, *, check_server_name: bool) -> ssl.SSLContext:
    """Return the context for calling a device; without a CA file the system's certificates are trusted.

    Raises CertificateUnusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_server_name
    if credentials.ca_file is None:
        context.load_default_certs()
    _fit_out(context, credentials)
    return context


def receiver_context(ca_file: Path | None, own: Credentials | None) -> ssl.SSLContext:
    """Return the context for calling a receiver that is no DICOM device, and whose name is always compared.

    Without `ca_file` the system's certificates are trusted; `own` is shown to a receiver that asks for it. Raises
    CertificateUnusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    if ca_file is None:
        context.load_default_certs()
    else:
        _trust(context, ca_file)
    if own is not None:
        _show(context, own)
    return context


def explain_credentials(credentials: Credentials, now: datetime) -> str:
    """Return until when the certificate is good, in words.

    Raises:
        CertificateUnusable: a file cannot be read, is no PEM, does not belong to the other, or the time is not right.
    """
    certificate = _load_certificate(credentials.certificate_file)
    _compare_key(certificate, credentials)
    if now < certificate.not_valid_before_utc:
        raise CertificateUnusable(
            f"{credentials.certificate_file} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateUnusable(
            f"{credentials.certificate_file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
    if credentials.ca_file is not None:
        _load_certificate(credentials.ca_file)
    return f"certificate is good until {certificate.not_valid_after_utc:%Y-%m-%d}"


def find_expiry(credentials: Credentials) -> datetime:
    """Return when the certificate ends. Raises CertificateUnusable."""
    return _load_certificate(credentials.certificate_file).not_valid_after_utc


def explain_handshake(problem: OSError) -> str:
    """Return in words why a TLS handshake failed, one of `HANDSHAKE_WORDS`. Pure."""
    if isinstance(problem, TimeoutError):
        return _SLOW
    if isinstance(problem, ConnectionError | ssl.SSLEOFError):
        return _BROKEN_OFF
    text = str(problem).upper()
    return next((words for mark, words in _TROUBLES if mark in text), _UNKNOWN)


def _fit_out(context: ssl.SSLContext, credentials: Credentials) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    _show(context, credentials)
    if credentials.ca_file is not None:
        _trust(context, credentials.ca_file)


def _show(context: ssl.SSLContext, credentials: Credentials) -> None:
    certificate = _load_certificate(credentials.certificate_file)
    _compare_key(certificate, credentials)
    try:
        context.load_cert_chain(credentials.certificate_file, credentials.key_file)
    except (ssl.SSLError, OSError) as exc:
        raise CertificateUnusable(f"the TLS files cannot be used ({type(exc).__name__})") from exc


def _trust(context: ssl.SSLContext, ca_file: Path) -> None:
    _load_certificate(ca_file)
    try:
        context.load_verify_locations(ca_file)
    except (ssl.SSLError, OSError) as exc:
        raise CertificateUnusable(f"the TLS files cannot be used ({type(exc).__name__})") from exc


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as exc:
        raise CertificateUnusable(f"{path} cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise CertificateUnusable(f"{path} holds no certificate in PEM form") from exc


def _compare_key(certificate: x509.Certificate, credentials: Credentials) -> None:
    path = credentials.key_file
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise CertificateUnusable(f"{path} cannot be read ({exc.strerror})") from exc
    except TypeError as exc:
        raise CertificateUnusable(f"{path} is locked by a password; store the key without one") from exc
    except ValueError as exc:
        raise CertificateUnusable(f"{path} holds no private key in PEM form") from exc
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise CertificateUnusable(f"{path} is not the key of the certificate {credentials.certificate_file}")
