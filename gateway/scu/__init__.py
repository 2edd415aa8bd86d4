"""The gateway as the one who calls: associations with devices, instances sent to them, and their refusals in words."""

from gateway.scu.association import Destination, PeerUnavailable, associated, echo
from gateway.scu.storing import Offer, StoreOutcome, contexts_for, store_instance

__all__ = [
    "Destination",
    "Offer",
    "PeerUnavailable",
    "StoreOutcome",
    "associated",
    "contexts_for",
    "echo",
    "store_instance",
]
