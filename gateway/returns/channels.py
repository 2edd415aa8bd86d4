"""Which channel speaks to which kind of target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.returns.channel import Channel
from gateway.returns.companions import Companions
from gateway.returns.folder import FolderChannel
from gateway.returns.his import HisChannel
from gateway.returns.pacs import PacsChannel, try_echo
from gateway.targets import FolderTarget, Hl7Target, PacsTarget, Target
from storage.tls import Credentials


@dataclass(frozen=True, slots=True)
class Sender:
    """Who delivers: the AE title and certificate that a PACS sees, the documents at hand, and the clock."""

    calling_ae_title: str
    credentials: Credentials | None
    companions: Companions
    clock: Callable[[], datetime]


def build_channel(target: Target, sender: Sender) -> Channel | None:
    """Return the target's channel; None where a person delivers, on the print page."""
    if isinstance(target, PacsTarget):
        return PacsChannel(target, sender.calling_ae_title, sender.credentials, sender.companions.find_void_of)
    if isinstance(target, Hl7Target):
        return HisChannel(target, sender.companions, sender.clock)
    if isinstance(target, FolderTarget):
        return FolderChannel(target, sender.companions)
    return None


def try_target(target: Target, sender: Sender) -> str:
    """Reach the target without delivering anything, and return in words what that showed; raises TargetUnavailable."""
    if isinstance(target, PacsTarget):
        try_echo(target, sender.calling_ae_title, sender.credentials)
        return "answers C-ECHO"
    channel = build_channel(target, sender)
    if channel is None:
        return "people open reports on the console's print page"
    channel.open(())
    channel.shut_down()
    return "takes connections" if isinstance(target, Hl7Target) else "is there"
