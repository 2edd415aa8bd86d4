"""Who may call this gateway, from where and for what. Pure: a table and one decision, with the words for each refusal.

A device is known by its AE title (PS3.8 section 9.3.2; capitals count), by the addresses it may call from, and by what
it may do. Nothing here is durable: it all comes from the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from storage.contract.lanes import Lane

Network = IPv4Network | IPv6Network


class Permission(StrEnum):
    """What a device may ask of this gateway; C-ECHO is everybody's."""

    STORE = "store"
    COMMIT = "commit"
    QUERY = "query"
    RETRIEVE = "retrieve"
    WORKLIST = "worklist"
    MPPS = "mpps"


SCANNER: Final = (Permission.STORE, Permission.COMMIT, Permission.WORKLIST, Permission.MPPS)
READERS: Final = frozenset({Permission.QUERY, Permission.RETRIEVE})  # all that a gateway in reader mode has to give
EVERYTHING: Final = frozenset(Permission)
NO_IMAGES_HERE: Final = "A gateway in reader mode takes no images: send them to the gateway of a clinic."


@dataclass(frozen=True, slots=True)
class CallBack:
    """Where a device takes what it asked for: answers to storage commitment, and instances that are moved to it."""

    host: str
    port: int
    timeout_s: float = 30.0
    over_tls: bool = False
    tls_server_name: str | None = None  # the name its certificate must bear; None: any that the CA has signed


@dataclass(frozen=True, slots=True)
class Peer:
    """One device. Without `addresses` it may call from anywhere; `character_set` is a term of PS3.3 C.12.1.1.2.

    `withheld`: what no device may do at this gateway in its mode, whatever the configuration says; no part of `may`.
    """

    name: str
    ae_title: str
    may: frozenset[Permission] = frozenset(SCANNER)
    addresses: tuple[Network, ...] = ()
    call_back: CallBack | None = None
    character_set: str | None = None
    lane: Lane | None = None
    tls_required: bool = False
    withheld: frozenset[Permission] = frozenset()


def remedy_for(peer: Peer, permission: Permission) -> str:
    """Return what to do about a device that lacks a permission; in reader mode no setting gives it."""
    if permission not in peer.withheld:
        return f'Add "{permission}" to what peer {peer.name} may do ([[dicom.peers]], may).'
    if permission is Permission.STORE:
        return NO_IMAGES_HERE
    return "A gateway in reader mode offers query and retrieve only; ask the gateway of a clinic for the rest."


class PeerTable:
    """The devices by AE title. `anybody`: a device that is not in the table may do everything, from anywhere."""

    def __init__(self, peers: Iterable[Peer], *, anybody: bool = False) -> None:
        self._by_title = {peer.ae_title: peer for peer in peers}
        self._anybody = anybody

    def find(self, ae_title: str) -> Peer | None:
        """Return the device of this AE title."""
        peer = self._by_title.get(ae_title)
        if peer is None and self._anybody:
            return Peer(name=ae_title, ae_title=ae_title, may=EVERYTHING)
        return peer

    def find_alike(self, ae_title: str) -> Peer | None:
        """Return a device whose AE title differs in capitals only."""
        folded = ae_title.casefold()
        return next((peer for title, peer in self._by_title.items() if title.casefold() == folded), None)


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a caller before its association is answered."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    over_tls: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every caller. `required_called_ae_title` is None where any called AE title will do.

    `visitors_max`: associations of devices that may not store, so that reading never keeps a scanner waiting.
    """

    associations_max: int
    visitors_max: int
    required_called_ae_title: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How many associations are open now, and how many of those belong to devices that may not store."""

    associations: int
    visitors: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21), and what the technician is told."""

    result: int
    source: int
    diagnostic: int
    reason: str
    remedy: str


PERMANENT: Final = 1
TRANSIENT: Final = 2
BY_USER: Final = 1
BY_PRESENTATION: Final = 3
NO_REASON_GIVEN: Final = 1
CALLING_NOT_RECOGNISED: Final = 3
CALLED_NOT_RECOGNISED: Final = 7
LOCAL_LIMIT_EXCEEDED: Final = 2


def admit(call: Call, peers: PeerTable, rules: Rules, load: Load) -> Peer | Rejection:
    """Return the device that is calling, or why its association is rejected."""
    peer = peers.find(call.calling_ae_title)
    if peer is None:
        return _unknown(peers.find_alike(call.calling_ae_title))
    if peer.addresses and not _is_within(call.address, peer.addresses):
        return Rejection(
            PERMANENT,
            BY_USER,
            CALLING_NOT_RECOGNISED,
            f"{peer.ae_title} called from an address that is not one of its own",
            f"Add {call.address} to the addresses of peer {peer.name}, or find out which machine uses its AE title.",
        )
    if rules.required_called_ae_title not in (None, call.called_ae_title):
        return Rejection(
            PERMANENT,
            BY_USER,
            CALLED_NOT_RECOGNISED,
            "The called AE title is not this gateway's",
            f"Set {rules.required_called_ae_title} as the destination's AE title on the device.",
        )
    if peer.tls_required and not call.over_tls:
        return Rejection(
            PERMANENT,
            BY_USER,
            NO_REASON_GIVEN,
            f"{peer.ae_title} called without TLS",
            "Set the device to use TLS and this gateway's TLS port, or take tls_required from its peer.",
        )
    return _too_many(peer, rules, load) or peer


def _unknown(alike: Peer | None) -> Rejection:
    remedy = "Add a [[dicom.peers]] with the device's AE title (or name it in allowed_calling_ae_titles)"
    if alike is not None:
        remedy = f"Capitals count: this gateway knows {alike.ae_title}. Correct it on the device, or add a peer"
    return Rejection(
        PERMANENT,
        BY_USER,
        CALLING_NOT_RECOGNISED,
        "The calling AE title is not on this gateway's list",
        f"{remedy}; then start the gateway anew.",
    )


def _too_many(peer: Peer, rules: Rules, load: Load) -> Rejection | None:
    remedy = "The device tries again by itself; raise {} if this happens often."
    if load.associations >= rules.associations_max:
        return Rejection(
            TRANSIENT,
            BY_PRESENTATION,
            LOCAL_LIMIT_EXCEEDED,
            "Too many associations are open at once",
            remedy.format("associations_max"),
        )
    if is_visitor(peer) and load.visitors >= rules.visitors_max:
        return Rejection(
            TRANSIENT,
            BY_PRESENTATION,
            LOCAL_LIMIT_EXCEEDED,
            "Too many associations of devices that only read are open at once; the others are kept for scanners",
            remedy.format("associations_max"),
        )
    return None


def is_visitor(peer: Peer) -> bool:
    """Return whether the device never brings anything."""
    return Permission.STORE not in peer.may


def _is_within(address: str, networks: Iterable[Network]) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
