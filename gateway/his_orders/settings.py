"""The `[hl7]` section: from where orders are taken."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, IPvAnyNetwork

from gateway.targets import Section
from storage.hl7.local_codes import LocalCodesSection

MIB: Final = 1024**2


class Hl7Settings(LocalCodesSection, Section):
    """Where the clinic's HIS or RIS sends orders (HL7 OMI^O23 and ORM^O01 over MLLP). Not in mode `reader`.

    `addresses` may connect, nobody when empty. `character_set` counts where a message names none in MSH-18, the
    console's time zone where a time has no offset. A message that has begun must end in `message_s`. What the clinic's
    own codes mean is in `modalities`, `urgencies`, `green_channels` and `consents`. `tls` takes orders over TLS alone,
    with the certificate, CA and demands of [dicom.tls].
    """

    enabled: bool = False
    host: str = "0.0.0.0"  # noqa: S104 -- the HIS calls from the clinic's network
    port: int = Field(default=2576, ge=0, le=65535)
    port_file: Path | None = None
    addresses: tuple[IPvAnyNetwork, ...] = ()
    character_set: Literal["UNICODE UTF-8", "GB18030"] = "UNICODE UTF-8"
    message_bytes_max: int = Field(default=MIB, ge=1024, le=16 * MIB)
    message_s: int = Field(default=60, ge=1, le=3600)
    tls: bool = False

    def admits(self, address: str) -> bool:
        """Return whether whoever calls from this address may connect."""
        caller = ip_address(address)
        return any(caller in network for network in self.addresses)
