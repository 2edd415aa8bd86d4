"""The gateway's side of the line to the hub: signed requests, uploads, and their errors."""

from gateway.hub.client import HubClient, SigningIdentity
from gateway.hub.errors import HubBusy, HubError, HubRefused, HubUnreachable

__all__ = [
    "HubBusy",
    "HubClient",
    "HubError",
    "HubRefused",
    "HubUnreachable",
    "SigningIdentity",
]
