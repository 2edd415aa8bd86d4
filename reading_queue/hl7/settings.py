"""The `[hl7]` section: who may send orders to the hub, and by which certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reading_queue.services.order_messages.senders import OrderSender
from storage.contract.manifest import SiteIdField
from storage.hl7.local_codes import LocalCodesSection

MIB: Final = 1024**2
FINGERPRINT_CHARACTERS: Final = 64  # of SHA-256 in hexadecimal


def _fingerprint(text: str) -> str:
    """Let through a SHA-256 as `openssl x509 -fingerprint -sha256` prints it, or without its colons."""
    digits = text.replace(":", "").strip().lower()
    if digits and (len(digits) != FINGERPRINT_CHARACTERS or set(digits) - set("0123456789abcdef")):
        raise ValueError("the SHA-256 of a certificate has 64 hexadecimal digits, with or without colons")
    return digits


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SenderSettings(LocalCodesSection, _Section):
    """One HIS or RIS: its certificate, the site whose orders it sends, and what its own codes mean."""

    site: SiteIdField
    certificate_sha256: Annotated[str, AfterValidator(_fingerprint)] = ""
    certificate_name: Annotated[str, StringConstraints(max_length=253)] = ""
    character_set: Literal["UNICODE UTF-8", "GB18030"] = "UNICODE UTF-8"

    @model_validator(mode="after")
    def _is_known_by_one_thing(self) -> Self:
        if bool(self.certificate_sha256) == bool(self.certificate_name):
            raise ValueError("a sender is known by certificate_sha256 or by certificate_name: give one of them")
        return self

    def sender(self, name: str) -> OrderSender:
        """Return it as the listener knows it."""
        return OrderSender(
            name=name,
            site_id=self.site,
            certificate_sha256=self.certificate_sha256,
            certificate_name=self.certificate_name,
            character_set=self.character_set,
            codes=self.codes,
        )


class Hl7Settings(_Section):
    """Orders by HL7 (OMI^O23, ORM^O01) over MLLP, over TLS with a certificate on both sides and never without.

    `ca_file` signs the senders' certificates. `idle_s` ends a silent connection, `message_s` one whose message does not
    end. Port 0 takes a free port; it is written to data_dir/run/hl7.port.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = Field(default=2576, ge=0, le=65535)
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    message_bytes_max: int = Field(default=MIB, ge=1024, le=16 * MIB)
    connections_max: int = Field(default=200, ge=1, le=10_000)
    connections_per_sender_max: int = Field(default=8, ge=1, le=1000)
    idle_s: int = Field(default=600, ge=1, le=86_400)
    message_s: int = Field(default=60, ge=1, le=3600)
    senders: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")], SenderSettings] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _never_without_tls(self) -> Self:
        if not self.enabled:
            return self
        missing = [name for name in ("certificate_file", "key_file", "ca_file") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"orders are taken over mutual TLS alone: {', '.join(missing)} missing")
        if not self.senders:
            raise ValueError("nobody may send orders: name at least one sender, [hl7.senders.NAME]")
        return self

    @model_validator(mode="after")
    def _a_certificate_is_of_one_sender(self) -> Self:
        known_by = [one.certificate_sha256 or one.certificate_name.lower() for one in self.senders.values()]
        if len(set(known_by)) < len(known_by):
            raise ValueError("two senders are known by the same certificate")
        return self

    def order_senders(self) -> dict[str, OrderSender]:
        """Return who may send, by name."""
        return {name: one.sender(name) for name, one in self.senders.items()}
