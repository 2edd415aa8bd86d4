"""Whether a gateway can do its work here: each thing it depends on, tried once, with the remedy when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gateway.clock import utc_now
from gateway.errors import SpoolFull
from gateway.hub import HubError
from gateway.identity import IdentityKeyUnusable, load_signing_identity
from gateway.journal.database import Journal
from gateway.link import build_client
from gateway.returns.pacs import PacsUnavailable, echo
from gateway.settings import GatewaySettings, TargetSettings
from gateway.spool.durable import RealFiles
from gateway.spool.spool import Spool

CLOCK_OFFSET_MAX: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `remedy` is empty when all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def run_checks(settings: GatewaySettings, open_journal: Callable[[GatewaySettings], Journal]) -> Iterator[Check]:
    """Yield the findings one after the other, as each is known."""
    spool = _check_spool(settings)
    yield spool
    if not spool.ok:
        return
    journal = open_journal(settings)
    yield _check_enrolment(settings, journal)
    yield from _check_hub(settings)
    for target in settings.targets:
        yield _check_target(settings, target)


def _check_spool(settings: GatewaySettings) -> Check:
    try:
        spool = Spool(settings.spool_dir, RealFiles())
        probe = spool.begin()
        probe.write(b"probe")
        probe.seal()
        probe.discard()
        free = spool.free_bytes()
    except (OSError, SpoolFull) as exc:
        remedy = f"Make {settings.spool_dir} a directory that this user can write, with free space."
        return Check("spool", ok=False, detail=f"cannot be written ({type(exc).__name__})", remedy=remedy)
    floor = settings.dicom.disk_floor_bytes
    detail = f"{free // 1024**2} MiB free"
    if free < floor:
        return Check(
            "spool", ok=False, detail=detail, remedy=f"Free the disk: below {floor} bytes nothing is accepted."
        )
    return Check("spool", ok=True, detail=detail)


def _check_enrolment(settings: GatewaySettings, journal: Journal) -> Check:
    try:
        loaded = load_signing_identity(journal, settings.spool_dir)
    except IdentityKeyUnusable as exc:
        return Check("enrolment", ok=False, detail=str(exc), remedy="Restore the key file or enrol this gateway anew.")
    if loaded is None:
        remedy = "Ask the hub's administrator for a code and run: counterpart-gateway enrol --code CODE"
        return Check("enrolment", ok=False, detail="this gateway is not enrolled", remedy=remedy)
    identity, _ = loaded
    return Check("enrolment", ok=True, detail=f"site {identity.site_id}, gateway {identity.gateway_id}")


def _check_hub(settings: GatewaySettings) -> Iterator[Check]:
    client = build_client(settings, None)
    try:
        health = client.fetch_health()
    except HubError as exc:
        remedy = f"Check the network, and that {settings.hub.url} is the hub's address."
        yield Check("hub", ok=False, detail=str(exc), remedy=remedy)
        return
    finally:
        hub_time = client.hub_time
        client.close()
    yield Check("hub", ok=health.status == "ok", detail=f"{settings.hub.url} answers: {health.status}")
    if hub_time is not None:
        offset = utc_now() - hub_time
        detail = f"{offset.total_seconds():+.0f} s against the hub"
        fine = abs(offset) <= CLOCK_OFFSET_MAX
        remedy = "" if fine else "Set this machine's clock; times in the ledger are corrected by the hub until then."
        yield Check("clock", ok=fine, detail=detail, remedy=remedy)


def _check_target(settings: GatewaySettings, target: TargetSettings) -> Check:
    try:
        echo(target, settings.dicom.ae_title)
    except PacsUnavailable as exc:
        remedy = f"Check host, port and AE title of this target, and that it knows {settings.dicom.ae_title}."
        return Check(target.target, ok=False, detail=str(exc), remedy=remedy)
    return Check(target.target, ok=True, detail="answers C-ECHO")
