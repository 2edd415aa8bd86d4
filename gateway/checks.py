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
from gateway.peers import Permission
from gateway.reader.places import Places
from gateway.returns.channel import TargetUnavailable
from gateway.returns.channels import Sender, try_target
from gateway.returns.companions import Companions
from gateway.returns.store import DocumentStore
from gateway.scu import Destination, PeerUnavailable
from gateway.scu import echo as call_device
from gateway.settings import GatewaySettings
from gateway.spool.durable import RealFiles
from gateway.spool.spool import Spool
from gateway.targets import Target
from storage.tls import (
    EXPIRES_SOON,
    CertificateUnusable,
    Credentials,
    explain_credentials,
    find_expiry,
    server_context,
)

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
    yield from _check_dicom_tls(settings)
    tls = settings.dicom.tls
    sender = Sender(
        calling_ae_title=settings.dicom.ae_title,
        credentials=Credentials.of(tls) if tls is not None else None,
        companions=Companions(journal, DocumentStore(settings.spool_dir, RealFiles())),
        clock=utc_now,
    )
    yield from _check_reader(settings)
    yield from _check_hl7(settings)
    for target in settings.delivery_targets:
        yield _check_target(target, sender)
    yield from _check_peers(settings)
    yield from _check_prior_source(settings)


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


def _check_dicom_tls(settings: GatewaySettings) -> Iterator[Check]:
    """Say whether the DICOM certificate can be used, and for how long."""
    if settings.dicom.tls is None:
        return
    credentials = Credentials.of(settings.dicom.tls)
    now = utc_now()
    try:
        detail = explain_credentials(credentials, now)
        server_context(credentials, require_client_certificate=settings.dicom.tls.require_client_certificate)
    except CertificateUnusable as exc:
        remedy = "Ask whoever issues the clinic's certificates for a new pair, and name its files in [dicom.tls]."
        yield Check("dicom tls", ok=False, detail=str(exc), remedy=remedy)
        return
    soon = find_expiry(credentials) - now < EXPIRES_SOON
    remedy = "Ask for its successor now: after that day devices refuse this gateway." if soon else ""
    yield Check("dicom tls", ok=not soon, detail=detail, remedy=remedy)


def _check_peers(settings: GatewaySettings) -> Iterator[Check]:
    """Call every device that this gateway may have to call."""
    dicom = settings.dicom
    credentials = Credentials.of(dicom.tls) if dicom.tls is not None else None
    for peer in settings.peers:
        if peer.call_back is None:
            continue
        try:
            call_device(Destination.of(peer.ae_title, peer.call_back, credentials), dicom.ae_title)
        except PeerUnavailable as exc:
            remedy = f"Check host, port and AE title of this peer, and that it knows {dicom.ae_title}."
            yield Check(f"peer {peer.name}", ok=False, detail=str(exc), remedy=remedy)
        else:
            yield Check(f"peer {peer.name}", ok=True, detail="answers C-ECHO")


def _check_prior_source(settings: GatewaySettings) -> Iterator[Check]:
    """Say whether the PACS that earlier studies come from may store here."""
    source = settings.prior_source
    if source is None:
        return
    own = settings.dicom.ae_title
    if Permission.STORE in source.may:
        yield Check("priors", ok=True, detail=f"from {source.name}, which must know {own} as a place to send to")
        return
    remedy = f'Add "store" to `may` of peer {source.name}: what it is asked for it sends by C-STORE.'
    yield Check("priors", ok=False, detail=f"{source.ae_title} may not store here", remedy=remedy)


def _check_reader(settings: GatewaySettings) -> Iterator[Check]:
    """Say where claimed cases go in reader mode."""
    if settings.mode != "reader":
        return
    places = Places.of(settings)
    remedy = "" if places.has_any else "Name the hospital's PACS in [[targets]], with host, port and AE title."
    yield Check("reader", ok=places.has_any, detail=places.words(), remedy=remedy)
    idle = [peer.name for peer in settings.peers if not peer.may]
    if idle:
        detail = f"in reader mode only query and retrieve count, and these peers may do neither: {', '.join(idle)}"
        remedy = 'Give them may = ["query", "retrieve"], or take them out; nobody can store here.'
        yield Check("reader peers", ok=False, detail=detail, remedy=remedy)


def _check_hl7(settings: GatewaySettings) -> Iterator[Check]:
    """Say from where orders are taken by HL7."""
    hl7 = settings.hl7
    if not hl7.enabled:
        return
    if settings.mode != "site":
        remedy = "Take [hl7] out: nothing of a clinic's orders would ever leave a gateway in reader mode."
        yield Check("hl7", ok=False, detail="no orders are taken in reader mode", remedy=remedy)
        return
    if not hl7.addresses:
        remedy = "Name the HIS's address in addresses of [hl7]: an empty list admits nobody."
        yield Check("hl7", ok=False, detail="nobody may send orders", remedy=remedy)
        return
    yield Check("hl7", ok=True, detail=f"orders are taken on port {hl7.port} from {len(hl7.addresses)} addresses")


def _check_target(target: Target, sender: Sender) -> Check:
    try:
        detail = try_target(target, sender)
    except TargetUnavailable as exc:
        remedy = _REMEDIES[target.kind].format(calling=sender.calling_ae_title)
        return Check(target.target, ok=False, detail=str(exc), remedy=remedy)
    return Check(target.target, ok=True, detail=detail)


_REMEDIES: Final = {
    "pacs": "Check host, port and AE title of this target, and that it knows {calling}.",
    "hl7": "Check host, port and tls of this target, and that the HIS listens there for results.",
    "folder": "Check path and marker of this target, and that this user may write there.",
}
