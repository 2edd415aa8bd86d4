"""From the spool to the hub: declares, packs, uploads, commits, and waits for the hub's word."""

from gateway.forwarder.forwarder import Forwarder

__all__ = ["Forwarder"]
