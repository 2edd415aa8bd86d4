"""A certificate authority for tests, and what it signs; made anew for every test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    certificate_file: Path
    key_file: Path


class Authority:
    """Signs certificates; its own lies in `ca_file`."""

    def __init__(self, directory: Path, name: str = "Clinic CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = _builder(self._name, self._name, self._key.public_key(), timedelta(days=-1), timedelta(days=365))
        signed = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            self._key, SHA256()
        )
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(signed.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, *, begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=90)
    ) -> Issued:
        """Return the files of a certificate for `name`; `begins` and `ends` count from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key.public_key(), begins, ends)
        signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(
            self._key, SHA256()
        )
        issued = Issued(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        issued.certificate_file.write_bytes(signed.public_bytes(Encoding.PEM))
        issued.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issued


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
